"""The seam between the engine and a device with memory of its own: work is handed over, and its results come later.

A device fails in two ways that a processor does not. It may have too little memory for this batch at this moment: then
a smaller one, or a later one, succeeds. Or it faults: after that nothing it says can be believed and no call on it need
return, so that only another process can go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from boxmill.runtimes.base import RawOutput, Runtime
from boxmill.types import Detections, Frame, Geometry

__all__ = ["DeviceFault", "DeviceRuntime", "Flight", "Landed", "OutOfDeviceMemory"]


class OutOfDeviceMemory(Exception):
    """The device has too little memory for this batch at this moment. It goes on working."""


class DeviceFault(Exception):
    """The device failed: an illegal access, a lost device, a hardware error. This process cannot use it any more."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What a batch brought back."""

    raw: list[RawOutput] | None  # as `Runtime.infer` gives them; None where the device has selected
    found: Callable[[], list[Detections]] | None  # unpacks what it selected, one an image; None where it has not
    seconds: float  # that the device worked at this batch and at no other


class Flight(Protocol):
    """A batch that the device is working at."""

    def land(self) -> Landed:
        """Waits for the device. Called once, by the thread that launched it, in the order of launching.

        Raises:
            OutOfDeviceMemory, DeviceFault: see there.
            ModelError: the network cannot run on these images.
        """


@runtime_checkable
class DeviceRuntime(Runtime, Protocol):
    """A network on a device. `hold` may be called from several threads at once; the rest from one at a time."""

    device: str  # "cuda:0"
    hardware: str  # its name: "NVIDIA H200"
    uuid: str  # as its driver writes it; empty where it has none
    most_images: int  # that a launch may hold

    def hold(self, frame: Frame) -> Any:
        """A copy of the pixels, (H, W, 3) uint8, where the device fetches them from without the processor's help.

        Raises:
            DeviceFault: the device has failed; no image's doing.
        """

    def launch(self, images: Sequence[Any], geometries: Sequence[Geometry]) -> Flight:
        """Hands a batch over and returns: copy, letterbox, network, perhaps selection, and the way back.

        Args:
            images: what `hold` gave; not used after this by the caller.
            geometries: of each; all have one network shape.

        Raises:
            OutOfDeviceMemory, DeviceFault, ModelError: as `Flight.land`, where it is known at once.
        """

    def free_memory(self) -> int:
        """Bytes that a launch could take."""

    def release_memory(self) -> None:
        """Gives back what is kept for later batches; called when nothing is in flight."""
