"""What a batch does on a GPU beside being computed: streams, events, pinned memory, CUDA graphs, and its errors.

`CpuLanes` does the same on a processor, one thing after the other: with it, everything around a GPU runs without one.
"""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from boxmill.errors import ModelError
from boxmill.runtimes.device import DeviceFault, OutOfDeviceMemory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["CpuLanes", "CudaLanes", "Forward", "GraphedForward", "Lanes", "Lap", "lanes_of", "translated"]

Forward = Callable[["Tensor"], Sequence["Tensor"]]  # (B, 3, h, w) or (B, h, w, 3) to the head's outputs, on the device

_NO_MEMORY = ("out of memory", "ALLOC_FAILED", "Failed to allocate memory", "BFCArena")
_FAULT = ("CUDA error", "CUDA failure", "CUDNN_STATUS", "CUBLAS_STATUS", "device-side assert", "cudaError")
_USES_BEFORE_CAPTURE = 8  # of a size: a search for the best passes through sizes that are used four times
_GRAPHS = 4  # kept; each holds the memory of a whole forward


def translated(error: Exception) -> Exception:
    """What an error of PyTorch's or of ONNX Runtime's means: OutOfDeviceMemory, DeviceFault or ModelError."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if type(error).__name__ == "OutOfMemoryError" or any(mark in str(error) for mark in _NO_MEMORY):
        return OutOfDeviceMemory(text)
    if type(error).__name__ == "AcceleratorError" or any(mark in str(error) for mark in _FAULT):
        return DeviceFault(text)
    return ModelError(f"the network cannot run on the device: {text}")


class Lap(Protocol):
    """One batch's time on the device."""

    def wait(self) -> float:
        """Waits until the device has done with the batch; returns the seconds that it worked at it."""


class Lanes(Protocol):
    """Where copies and computations are queued."""

    device: torch.device
    hardware: str  # the device's name
    uuid: str  # as NVIDIA's driver writes it; empty: it has none

    def copying(self) -> AbstractContextManager[object]:
        """What is queued inside runs beside computations."""

    def computing(self, sources: Sequence[Tensor]) -> AbstractContextManager[Lap]:
        """What is queued inside runs after the copies so far, in order; `sources` are what they made."""

    def host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory of the processor's that copies reach without its help."""

    def free_memory(self) -> int:
        """Bytes."""

    def release_memory(self) -> None:
        """Gives what is kept for later back to the device."""


def lanes_of(device: str) -> Lanes:
    """Those of `cpu` or `cuda:N`."""
    return CpuLanes() if device == "cpu" else CudaLanes(device)


class CpuLanes:
    """Implements `Lanes` on a processor: nothing is queued, everything is done at once."""

    def __init__(self) -> None:
        import torch

        self.device = torch.device("cpu")
        self.hardware, self.uuid = platform.processor() or platform.machine(), ""

    def copying(self) -> AbstractContextManager[object]:
        """See Lanes."""
        return nullcontext()

    @contextmanager
    def computing(self, sources: Sequence[Tensor]) -> Iterator[Lap]:
        """See Lanes."""
        lap = _CpuLap()
        start = perf_counter()
        yield lap
        lap.seconds = perf_counter() - start

    def host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """See Lanes."""
        import torch

        return torch.empty(tuple(shape), dtype=dtype)

    def free_memory(self) -> int:
        """See Lanes."""
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def release_memory(self) -> None:
        """Nothing is kept."""


class _CpuLap:
    seconds = 0.0

    def wait(self) -> float:
        return self.seconds


class CudaLanes:
    """Implements `Lanes` on a GPU with two streams. Batches are computed one after the other, in one stream."""

    def __init__(self, device: str) -> None:
        import torch

        self.device = torch.device(device)
        facts = torch.cuda.get_device_properties(self.device)
        self.hardware = str(facts.name)
        self.uuid = f"GPU-{facts.uuid}"
        make: Any = torch.cuda.Stream
        self._copy, self.compute = make(self.device), make(self.device)

    def copying(self) -> AbstractContextManager[object]:
        """See Lanes."""
        import torch

        return torch.cuda.stream(self._copy)

    @contextmanager
    def computing(self, sources: Sequence[Tensor]) -> Iterator[Lap]:
        """See Lanes."""
        import torch

        self.compute.wait_stream(self._copy)
        with torch.cuda.stream(self.compute):
            for source in sources:
                source.record_stream(self.compute)  # their memory may be used anew only after this
            lap = _CudaLap()
            lap.start.record()
            yield lap
            lap.end.record()

    def host(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """See Lanes; PyTorch keeps pinned memory for the next time once no copy needs it any more."""
        import torch

        try:
            return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
        except RuntimeError as error:
            if not isinstance(translated(error), OutOfDeviceMemory):
                raise
        return torch.empty(tuple(shape), dtype=dtype)  # as much is pinned as may be: these copies take longer

    def free_memory(self) -> int:
        """See Lanes: what the driver has, and what PyTorch keeps unused."""
        import torch

        free, _ = torch.cuda.mem_get_info(self.device)
        return int(free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device))

    def release_memory(self) -> None:
        """See Lanes."""
        import torch

        torch.cuda.empty_cache()


class _CudaLap:
    def __init__(self) -> None:
        import torch

        make: Any = torch.cuda.Event
        self.start, self.end = make(enable_timing=True), make(enable_timing=True)

    def wait(self) -> float:
        self.end.synchronize()
        return float(self.start.elapsed_time(self.end)) / 1e3


class GraphedForward:
    """A forward that replays CUDA graphs of the sizes that come again and again; elsewhere the forward itself.

    A detector's forward is some hundred kernels of a few microseconds, which the processor launches more slowly than a
    GPU runs them. A graph is one launch. Its input and outputs always lie in the same memory: they may be written and
    read only in the stream in which it is replayed, in order.
    """

    def __init__(self, forward: Forward, lanes: Lanes) -> None:
        self._forward, self._lanes = forward, lanes
        self._uses: dict[tuple[int, ...], int] = {}
        self._graphs: dict[tuple[int, ...], _Graph] = {}
        self._possible = isinstance(lanes, CudaLanes)

    def input(self, shape: tuple[int, ...], make: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """Where the next batch of that shape goes: its graph's input, or what `make` makes."""
        graph = self._graphs.get(shape)
        return make(shape) if graph is None else graph.images

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """The outputs for what `input` gave."""
        shape = tuple(images.shape)
        if (graph := self._graphs.get(shape)) is not None:
            graph.graph.replay()
            return graph.outputs
        self._uses[shape] = self._uses.get(shape, 0) + 1
        if self._possible and self._uses[shape] >= _USES_BEFORE_CAPTURE and len(self._graphs) < _GRAPHS:
            self._capture(images)
        return self._forward(images)

    def release(self) -> None:
        """Forgets all graphs and the memory that they hold."""
        self._graphs.clear()
        self._uses.clear()

    def _capture(self, images: Tensor) -> None:
        """Records a forward for the next time; this time nothing is computed by it."""
        import torch

        graph, static = torch.cuda.CUDAGraph(), torch.empty_like(images)
        try:
            # thread_local: other threads take pinned memory meanwhile
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                outputs = self._forward(static)
        except RuntimeError as error:
            if isinstance(translated(error), DeviceFault) and "captur" not in str(error):
                raise
            self._possible = False
            warnings.warn(f"no CUDA graphs: the network was not captured: {error}", stacklevel=2)
            return
        self._graphs[tuple(images.shape)] = _Graph(graph, static, outputs)


class _Graph:
    def __init__(self, graph: torch.cuda.CUDAGraph, images: Tensor, outputs: Sequence[Tensor]) -> None:
        self.graph, self.images, self.outputs = graph, images, outputs
