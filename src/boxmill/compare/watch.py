"""A process seen from outside: how long it took, the most memory that it and its children held, the GPU meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from boxmill.engine import Gauges
from boxmill.errors import UsageError

__all__ = ["Watched", "check_psutil", "watch"]

_INTERVAL = 0.1  # seconds between two looks; what is shorter goes unseen
_PATIENCE = 10.0  # seconds that a process has to end when it is told to


@dataclass(frozen=True, slots=True)
class Watched:
    """One process, from its start to its end."""

    code: int
    wall: float  # seconds
    peak_memory: int  # bytes, resident, of it and its children together; what they share counts for each
    gpu: float | None  # mean share of time in which the busiest GPU computed, 0 to 1; None: no NVML
    output: str
    errors: str


def check_psutil() -> ModuleType:
    """The package psutil.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise UsageError(
            "boxmill compare measures memory with psutil, which is not installed: pip install 'boxmill[compare]'"
        ) from error
    found: ModuleType = psutil
    return found


def watch(command: Sequence[str], folder: Path) -> Watched:
    """Runs a command to its end, its output in files of `folder`.

    Raises:
        UsageError: psutil is not installed.
    """
    psutil = check_psutil()
    output, errors = folder / "stdout.txt", folder / "stderr.txt"
    with closing(Gauges(interval=0.0)) as gpus, output.open("wb") as out, errors.open("wb") as err:
        began = perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            peak = _follow(process, psutil, gpus)
        finally:
            _end(process)
        wall = perf_counter() - began
        gpu = gpus.summary().get("utilization")
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (output, errors)]
    return Watched(process.returncode, wall, peak, gpu, *texts)


def _follow(process: subprocess.Popen[bytes], psutil: ModuleType, gpus: Gauges) -> int:
    """The most memory until the process has ended; the GPUs are looked at as often."""
    peak = 0
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, _resident(seen, psutil))
        gpus.sample()
        try:
            process.wait(_INTERVAL)
        except subprocess.TimeoutExpired:
            continue
    return peak


def _resident(process: Any, psutil: ModuleType) -> int:
    """Bytes that a process and its children hold; of one that has just ended, none."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in family:
        try:
            total += int(member.memory_info().rss)
        except psutil.Error:
            continue
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever happened, nothing goes on behind it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
