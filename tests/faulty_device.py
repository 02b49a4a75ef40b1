"""A device that is none: `FakeRuntime` behind the seam of devices, with a memory of its own, and faults from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from boxmill.images import preprocess
from boxmill.runtimes.device import DeviceFault, Landed, OutOfDeviceMemory
from boxmill.runtimes.fake import FakeRuntime
from boxmill.types import Frame, Geometry, ModelSpec

__all__ = ["Faults", "FaultyDevice"]


@dataclass(slots=True)
class Faults:
    """What goes wrong: shares of the launches; each fault comes at once, or when the batch is waited for.

    `capacity`: pixels of network input that may be on the device; at each launch between half and all of it is free.
    None: as many as there are.
    """

    seed: int = 0
    memory: float = 0.0
    fault: float = 0.0
    capacity: int | None = None
    rng: random.Random = field(init=False)
    out_of_memory: int = 0  # how often it has happened
    faults: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def draw(self, pixels: int) -> Exception | None:
        """Whether and how a launch that brings so many pixels onto the device fails."""
        if self.rng.random() < self.fault:
            self.faults += 1
            return DeviceFault("an illegal memory access was encountered")
        free = None if self.capacity is None else self.capacity * self.rng.uniform(0.5, 1)
        if self.rng.random() < self.memory or (free is not None and pixels > free):
            self.out_of_memory += 1
            return OutOfDeviceMemory(f"tried to allocate {pixels} pixels")
        return None


class FaultyDevice(FakeRuntime):
    """Implements `DeviceRuntime`; `lost` after a fault, as a poisoned context is."""

    device = "fake:0"
    hardware, uuid = "none", ""
    precision = "fp32"

    def __init__(self, spec: ModelSpec, faults: Faults | None = None, most_images: int = 64) -> None:
        super().__init__(spec)
        self.faults = faults or Faults()
        self.most_images = most_images
        self.on_device = 0  # pixels
        self.launches: list[int] = []  # images in each
        self.released = 0
        self.lost = False

    def hold(self, frame: Frame) -> Frame:
        if self.lost:  # seen by a thread that decodes before the one that feeds has ended the run
            raise DeviceFault("an earlier illegal memory access")
        return frame

    def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> FakeFlight:
        self.check()
        assert len({place.network for place in geometries}) == 1, "a batch has one shape"
        assert 1 <= len(images) <= self.most_images
        height, width = geometries[0].network
        pixels = len(images) * height * width
        problem = self.faults.draw(self.on_device + pixels)
        if problem is not None and self.faults.rng.random() < 0.5:
            self.fail(problem)
        self.launches.append(len(images))
        self.on_device += pixels
        return FakeFlight(self, images, geometries, problem)

    def check(self) -> None:
        assert not self.lost, "nothing may be asked of a device that has faulted"

    def fail(self, problem: Exception) -> None:
        self.lost = isinstance(problem, DeviceFault)
        raise problem

    def free_memory(self) -> int:
        self.check()
        return 1 << 30

    def release_memory(self) -> None:
        self.check()
        assert self.on_device == 0, "memory is released when nothing is in flight"
        self.released += 1


@dataclass(slots=True)
class FakeFlight:
    """A batch of the fake device: computed when it is waited for."""

    device: FaultyDevice
    images: Sequence[Frame]
    geometries: Sequence[Geometry]
    problem: Exception | None
    landed: bool = False

    def land(self) -> Landed:
        assert not self.landed, "a batch is waited for once"
        self.landed = True
        self.device.check()
        height, width = self.geometries[0].network
        self.device.on_device -= len(self.images) * height * width
        if self.problem is not None:
            self.device.fail(self.problem)
        spec = self.device.spec.input
        tensor = np.stack(
            [preprocess(frame, place, spec) for frame, place in zip(self.images, self.geometries, strict=True)]
        )
        return Landed(self.device.infer(tensor), None, 1e-4 * (4 + len(self.images)))
