"""What NVIDIA's management library says of a GPU while a run works; nothing where it is not installed, or says nothing.

The package is nvidia-ml-py (extra `gpu`). It is asked by the supervisor, which holds no context on the device.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from statistics import mean, median
from time import monotonic
from types import ModuleType
from typing import Any

__all__ = ["Gauges"]

_INTERVAL = 1.0  # seconds between samples


class Gauges:
    """Samples one GPU.

    Args:
        uuid: of the GPU, as the driver writes it: GPU-…
    """

    def __init__(self, uuid: str) -> None:
        self._library = _library()
        self._handle: Any = None
        self._last = float("-inf")
        self._samples: list[tuple[float, int, int]] = []  # utilisation in percent, bytes in use, MHz
        if self._library is None:
            return
        try:
            self._library.nvmlInit()
            self._handle = self._library.nvmlDeviceGetHandleByUUID(uuid)
        except self._library.NVMLError:
            self._handle = None

    def sample(self) -> None:
        """Looks, at most once a second."""
        if self._handle is None or self._library is None or monotonic() - self._last < _INTERVAL:
            return
        self._last = monotonic()
        nvml, handle = self._library, self._handle
        try:
            used = nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            memory = nvml.nvmlDeviceGetMemoryInfo(handle).used
            clock = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
        except nvml.NVMLError:
            return
        self._samples.append((float(used), int(memory), int(clock)))

    def summary(self) -> dict[str, float]:
        """Mean utilisation (share of the time in which a kernel ran), most bytes in use, median clock in MHz."""
        if not self._samples:
            return {}
        used, memory, clocks = zip(*self._samples, strict=True)
        return {"utilization": mean(used) / 100, "peak_memory": max(memory), "sm_clock_mhz": median(clocks)}


def _library() -> ModuleType | None:
    return None if find_spec("pynvml") is None else import_module("pynvml")
