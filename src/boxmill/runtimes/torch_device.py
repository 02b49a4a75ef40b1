"""A network on a device of PyTorch's behind the seam of devices: letterbox, network and selection there.

    pinned uint8 → copy (a stream of its own) → letterbox → network → selection → copy of the small result → pinned

Everything after the copy is queued in one stream, in order, and nothing waits for the device before `TorchFlight.land`.
What computes the network is a function of tensors: PyTorch's (`torch.py`) or ONNX Runtime's (`onnxruntime.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from boxmill.images import preprocess, tensor_shape
from boxmill.images.device import DeviceLetterbox, fits_device
from boxmill.runtimes.base import RawOutput
from boxmill.runtimes.cuda import Forward, GraphedForward, Lanes, Lap, translated
from boxmill.runtimes.device import Landed
from boxmill.types import Detections, Float32, Frame, Geometry, ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["MOST_IMAGES", "DeviceNetwork", "DeviceSelect", "TorchDevice", "TorchFlight"]

T = TypeVar("T")
MOST_IMAGES = 256  # in a batch, where nothing else limits it


@dataclass(frozen=True, slots=True)
class DeviceSelect:
    """Post-processing on the device, in two parts: queued there, and unpacked here from one array."""

    pack: Callable[[Sequence[Tensor], tuple[int, int], Sequence[Geometry]], Tensor]  # outputs, network h and w
    unpack: Callable[[npt.NDArray[Any]], list[Detections]]


@dataclass(frozen=True, slots=True)
class DeviceNetwork:
    """What computes, and its name."""

    forward: Forward
    name: str
    version: str
    precision: str
    dtype: torch.dtype  # of its input
    graphs: bool = False  # whether a CUDA graph can be made of it
    channels_last: bool = False
    batch: int | None = None  # images that it always takes; None: as many as there are
    most_images: int = MOST_IMAGES  # that it takes, where `batch` is None


class TorchDevice:
    """Implements `DeviceRuntime`.

    Args:
        spec: of the model.
        network: of tensors on the device of `lanes`.
        lanes: where it is queued.
        select: post-processing there; None: the outputs come back, and the processor selects.
    """

    def __init__(self, spec: ModelSpec, network: DeviceNetwork, lanes: Lanes, select: DeviceSelect | None) -> None:
        self.spec, self._network, self._lanes, self._select = spec, network, lanes, select
        self.name, self.version, self.precision = network.name, network.version, network.precision
        self.device, self.hardware, self.uuid = str(lanes.device), lanes.hardware, lanes.uuid
        self._inferring = threading.Lock()  # all use one stream
        self.most_images = network.batch or network.most_images
        self._letterbox = DeviceLetterbox(spec.input, lanes.device) if fits_device(spec.input) else None
        self._graphed = GraphedForward(network.forward, lanes) if network.graphs else None

    def hold(self, frame: Frame) -> Tensor:
        """See DeviceRuntime."""
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(frame.pixels))
        return _translating(lambda: self._lanes.host(pixels.shape, pixels.dtype).copy_(pixels))

    def launch(self, images: Sequence[Tensor], geometries: Sequence[Geometry]) -> TorchFlight:
        """See DeviceRuntime."""
        return _translating(lambda: self._launch(images, geometries))

    def infer(self, tensor: Float32) -> list[RawOutput]:
        """See Runtime: of images that are letterboxed already; waits for the device."""
        return _translating(lambda: self._infer(tensor))

    def free_memory(self) -> int:
        """See DeviceRuntime."""
        return self._lanes.free_memory()

    def release_memory(self) -> None:
        """See DeviceRuntime."""
        if self._graphed is not None:
            self._graphed.release()
        self._lanes.release_memory()

    def close(self) -> None:
        """Frees the network."""
        self.release_memory()
        del self._network, self._graphed

    def _launch(self, images: Sequence[Tensor], geometries: Sequence[Geometry]) -> TorchFlight:
        with self._lanes.copying():
            sources = [image.to(self._lanes.device, non_blocking=True) for image in self._sources(images, geometries)]
        with self._lanes.computing(sources) as lap:
            outputs = [output[: len(images)] for output in self._forward(sources, geometries)]
            if self._select is None:
                parts = [_as_float32(output) for output in outputs]
            else:
                parts = [self._select.pack(outputs, geometries[0].network, geometries)]
            home = [self._lanes.host(part.shape, part.dtype).copy_(part, non_blocking=True) for part in parts]
        return TorchFlight(lap, home, self._select)

    def _sources(self, images: Sequence[Tensor], geometries: Sequence[Geometry]) -> Iterable[Tensor]:
        """Pixels, or where only the processor can resize them, what the network takes."""
        import torch

        if self._letterbox is not None:
            return images
        frames = (Frame("", image.numpy(), place.source) for image, place in zip(images, geometries, strict=True))
        made = (preprocess(frame, place, self.spec.input) for frame, place in zip(frames, geometries, strict=True))
        return (torch.from_numpy(one) for one in made)

    def _forward(self, sources: Sequence[Tensor], geometries: Sequence[Geometry]) -> Sequence[Tensor]:
        shape = (self._network.batch or len(sources), *tensor_shape(geometries[0].network, self.spec.input))
        batch = self._empty(shape) if self._graphed is None else self._graphed.input(shape, self._empty)
        if self._letterbox is None:
            for slot, source in zip(batch, sources, strict=False):  # a fixed batch may be larger
                slot.copy_(source)
        else:
            self._letterbox(sources, geometries, batch[: len(sources)])
        return self._network.forward(batch) if self._graphed is None else self._graphed(batch)

    def _infer(self, tensor: Float32) -> list[RawOutput]:
        import torch

        with self._inferring, self._lanes.computing([]):
            images = self._empty((self._network.batch or len(tensor), *tensor.shape[1:]))
            images[: len(tensor)].copy_(torch.from_numpy(tensor))
            return [_as_float32(output[: len(tensor)]).cpu().numpy() for output in self._network.forward(images)]

    def _empty(self, shape: tuple[int, ...]) -> Tensor:
        """A batch to be filled; what a fixed batch has beyond its images is 0."""
        import torch

        layout = torch.channels_last if self._network.channels_last else torch.contiguous_format
        make = torch.zeros if self._network.batch else torch.empty
        return make(shape, dtype=self._network.dtype, device=self._lanes.device).contiguous(memory_format=layout)


@dataclass(frozen=True, slots=True)
class TorchFlight:
    """Implements `Flight`."""

    lap: Lap
    home: list[Tensor]  # host memory that the device writes to
    select: DeviceSelect | None

    def land(self) -> Landed:
        """See Flight."""
        seconds = _translating(self.lap.wait)
        arrays = [part.numpy() for part in self.home]
        if self.select is None:
            return Landed(arrays, None, seconds)
        return Landed(None, partial(self.select.unpack, arrays[0]), seconds)


def _translating(work: Callable[[], T]) -> T:
    """`work` without gradients; RuntimeErrors are raised as what they mean, when what their frames held is free."""
    import torch

    try:
        with torch.inference_mode():
            return work()
    except RuntimeError as raised:
        error = translated(raised)
    raise error


def _as_float32(output: Tensor) -> Tensor:
    return output.float() if output.is_floating_point() else output
