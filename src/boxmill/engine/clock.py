"""Where the time goes: every stage and every wait of every worker, measured where it happens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType

__all__ = ["STAGES", "WAITS", "Clock", "Lap", "TimeTable", "combined", "side_by_side", "time_table"]

STAGES = ("read", "decode", "preprocess", "model", "postprocess", "write")
WAITS = ("next input", "last worker")  # for the shared feed; at the end, for workers that still have an image
NO_WORKER = "no worker"  # of several devices: before its worker was ready, between two, after its last
DEVICE_WAITS = ("images", "device")  # of the thread that feeds a device: for something to launch; for what is launched


class Lap:
    """Times one `with` block; `seconds` is there after it."""

    __slots__ = ("_name", "_start", "_totals", "seconds")

    def __init__(self, totals: dict[str, float], name: str) -> None:
        self._totals, self._name = totals, name
        self.seconds = 0.0

    def __enter__(self) -> Lap:
        self._start = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = perf_counter() - self._start
        self._totals[self._name] += self.seconds


@dataclass(slots=True)
class Clock:
    """One worker's totals in seconds; used by that worker's thread only."""

    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    waits: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WAITS, 0.0))

    def stage(self, name: str) -> Lap:
        """Times work; one of STAGES."""
        return Lap(self.stages, name)

    def wait(self, name: str) -> Lap:
        """Times idleness; one of WAITS, or of those the clock was made with."""
        return Lap(self.waits, name)

    @classmethod
    def beside_a_device(cls) -> Clock:
        """One that knows DEVICE_WAITS too."""
        return cls(waits=dict.fromkeys((*WAITS, *DEVICE_WAITS), 0.0))


@dataclass(frozen=True, slots=True)
class TimeTable:
    """Seconds of all workers together. stages + waits + unexplained = workers * wall."""

    workers: int
    wall: float
    cpu: float  # of the whole process, all its threads
    stages: dict[str, float]
    waits: dict[str, float]
    unexplained: float  # the only figure that is a difference
    device_busy: float | None = None  # seconds that a device worked, beside the workers; None: there is none


def time_table(clocks: Iterable[Clock], wall: float, cpu: float, device_busy: float | None = None) -> TimeTable:
    """Adds up the workers' clocks over a run of `wall` seconds that used `cpu` seconds of processor time."""
    every = list(clocks)
    stages = {name: sum(clock.stages[name] for clock in every) for name in STAGES}
    waits = _sums(clock.waits for clock in every)
    unexplained = len(every) * wall - sum(stages.values()) - sum(waits.values())
    return TimeTable(len(every), wall, cpu, stages, waits, unexplained, device_busy)


def combined(tables: Iterable[TimeTable]) -> TimeTable:
    """One table for processes that ran one after the other; workers is the most that any of them had.

    wall is chosen such that stages + waits + unexplained = workers * wall still holds.
    """
    every = list(tables)
    workers = max((table.workers for table in every), default=0)
    wall = sum(table.workers * table.wall for table in every) / max(workers, 1)
    stages = {name: sum(table.stages[name] for table in every) for name in STAGES}
    waits = {**dict.fromkeys(WAITS, 0.0), **_sums(table.waits for table in every)}
    cpu, unexplained = sum(table.cpu for table in every), sum(table.unexplained for table in every)
    busy = [table.device_busy for table in every if table.device_busy is not None]
    return TimeTable(workers, wall, cpu, stages, waits, unexplained, sum(busy) if busy else None)


def side_by_side(tables: Iterable[TimeTable]) -> TimeTable:
    """One table for processes that ran at the same time, which is what `combined` made of each device's.

    wall is that of the device that worked longest; by how much others worked less is a wait, NO_WORKER, so that
    stages + waits + unexplained = workers * wall holds here too.
    """
    every = list(tables)
    if len(every) == 1:
        return every[0]
    wall = max((table.wall for table in every), default=0.0)
    stages = {**dict.fromkeys(STAGES, 0.0), **_sums(table.stages for table in every)}
    waits = {**dict.fromkeys(WAITS, 0.0), **_sums(table.waits for table in every)}
    waits[NO_WORKER] = sum(table.workers * (wall - table.wall) for table in every)
    cpu, unexplained = sum(table.cpu for table in every), sum(table.unexplained for table in every)
    busy = [table.device_busy for table in every if table.device_busy is not None]
    workers = sum(table.workers for table in every)
    return TimeTable(workers, wall, cpu, stages, waits, unexplained, sum(busy) if busy else None)


def _sums(several: Iterable[dict[str, float]]) -> dict[str, float]:
    """Name by name, in order of first appearance."""
    sums: dict[str, float] = {}
    for one in several:
        for name, seconds in one.items():
            sums[name] = sums.get(name, 0.0) + seconds
    return sums
