"""What NVIDIA's management library says of GPUs meanwhile; nothing where it is not installed, or says nothing.

The package is nvidia-ml-py (extra `gpu`). It is asked from outside, by a process that holds no context on the device.
"""

from __future__ import annotations

from importlib import import_module
from statistics import mean, median
from time import monotonic
from types import ModuleType
from typing import Any

__all__ = ["Gauges"]


class Gauges:
    """Samples one GPU, or all.

    Args:
        uuid: of the GPU, as the driver writes it: GPU-…; None: all GPUs, of which the busiest counts at each look, and
            only its utilisation, for memory and clocks of several are no one number.
        interval: seconds between samples, at least.
    """

    def __init__(self, uuid: str | None = None, interval: float = 1.0) -> None:
        self._interval = interval
        self._last = float("-inf")
        self._single = uuid is not None
        self._utilizations: list[float] = []  # percent
        self._memory: list[int] = []  # bytes in use
        self._clocks: list[int] = []  # MHz
        self._handles: list[Any] = []
        self._library = _initialized()
        if self._library is None:
            return
        try:
            self._handles = _handles(self._library, uuid)
        except self._library.NVMLError:
            self._handles = []

    def sample(self) -> None:
        """Looks, unless the last look was just now."""
        if self._library is None or not self._handles or monotonic() - self._last < self._interval:
            return
        self._last = monotonic()
        try:
            self._look(self._library)
        except self._library.NVMLError:
            return

    def summary(self) -> dict[str, float]:
        """Mean utilisation (share of the time in which a kernel ran), most bytes in use, median clock in MHz."""
        if not self._utilizations:
            return {}
        said = {"utilization": mean(self._utilizations) / 100}
        if self._single:
            said |= {"peak_memory": max(self._memory), "sm_clock_mhz": median(self._clocks)}
        return said

    def close(self) -> None:
        """Gives the library back; what was sampled stays."""
        if self._library is not None:
            self._library.nvmlShutdown()
        self._library = None

    def _look(self, nvml: ModuleType) -> None:
        """One sample, whole or not at all."""
        utilization = max(float(nvml.nvmlDeviceGetUtilizationRates(one).gpu) for one in self._handles)
        if self._single:
            memory = int(nvml.nvmlDeviceGetMemoryInfo(self._handles[0]).used)
            clock = int(nvml.nvmlDeviceGetClockInfo(self._handles[0], nvml.NVML_CLOCK_SM))
            self._memory.append(memory)
            self._clocks.append(clock)
        self._utilizations.append(utilization)


def _initialized() -> ModuleType | None:
    """The library; None where it is not installed or finds no driver."""
    try:
        library = import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
    except library.NVMLError:
        return None
    return library


def _handles(nvml: ModuleType, uuid: str | None) -> list[Any]:
    if uuid is not None:
        return [nvml.nvmlDeviceGetHandleByUUID(uuid)]
    return [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
