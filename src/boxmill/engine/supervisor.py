"""Keeps worker processes at work until every input has ended, whatever a single input does to them.

A worker that crashes, hangs or eats the memory ends; the next one goes on from the journal. Inputs that were under way
are suspects: the next worker takes them one at a time before all else. An input whose workers die three times while it
is alone in them has failed for that reason, so a process that is killed from outside never blames an innocent image.

There is one worker at a time, or one at each of several devices. Then no worker looks for inputs itself: the supervisor
hands them out (`shares.py`), so that each has one owner and whoever is faster gets more. A worker that dies is replaced
at its own device (`seat.py`); none takes a device's place silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from boxmill.engine.clock import TimeTable, side_by_side
from boxmill.engine.pipeline import Progress
from boxmill.engine.process import WorkerProcess
from boxmill.engine.seat import Hands, Ledger, Part, Seat, Start
from boxmill.engine.shares import Shares
from boxmill.engine.watch import Limits, Watch

__all__ = ["Ending", "Supervisor"]

_STEP = 0.1  # seconds between two looks at a worker; its reports wait in the pipe, 25,000 images/s fit


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, and what it took."""

    interrupted: bool  # by `stop`, before every input had ended
    wall: float  # seconds, with the starts of workers
    table: TimeTable  # of all workers together; what one that died did last is missing
    restarts: int
    deaths: Mapping[str, int]  # by cause: crashed, timeout, memory, device
    peak_memory: int  # bytes resident, of the workers at one time, as seen every 100 ms
    parts: tuple[Part, ...]  # by device; one where there is one worker at a time


def _ignore(_: object) -> None:
    pass


class Supervisor:
    """Supervises one run.

    Args:
        spawn: starts a worker that takes the given suspects alone first; then the share that it begins with and what is
            handed to it, or, without a share, whatever else has not ended.
        ledger: the journal.
        total: number of inputs of the run.
        limits: what a worker may take.
        devices: their names, where there are several: one worker for each, at the same time.
    """

    def __init__(
        self,
        spawn: Callable[[Start], WorkerProcess],
        ledger: Ledger,
        total: int,
        limits: Limits | None = None,
        devices: Sequence[str] = (),
    ) -> None:
        self._spawn, self._ledger, self._total = spawn, ledger, total
        self._limits, self._devices = limits or Limits(), tuple(devices)
        self._stops = 0
        self._seats: list[Seat] = []
        self._before = (0, 0)  # ended and failed when this execution began
        self._began = 0.0
        self._peak_memory = 0

    def stop(self) -> None:
        """First: finish what is under way, then end. Second: end now. May be called by a signal handler."""
        self._stops += 1

    def execute(
        self,
        suspects: Sequence[int] = (),
        observe: Callable[[Progress], None] = _ignore,
        on_ready: Callable[[Mapping[str, Any]], None] = _ignore,
    ) -> Ending:
        """Works until every input has ended, or until `stop`. Call it from the thread that lives longest.

        Args:
            suspects: inputs to take alone from the beginning.
            observe: is told the progress some ten times a second.
            on_ready: is told the facts of each worker that has loaded the network.

        Raises:
            BoxmillError: what a worker reported (OutputError, ModelError, …), or workers die and no input is to blame.
        """
        self._began = perf_counter()
        self._before = self._ledger.counts()
        self._seats = self._seated(suspects, on_ready)
        try:
            while self._turn():
                observe(self._progress())
        finally:
            for seat in self._seats:
                seat.close()
        return self._ending()

    def kept(self, place: int) -> int:
        """Outcomes that are durable of the worker at a place, if the ledger has not taken them in; for `observe`."""
        seat = self._seats[place]
        watch = seat.watch or seat.left
        return 0 if watch is None else watch.durable

    def _seated(self, suspects: Sequence[int], on_ready: Callable[[Mapping[str, Any]], None]) -> list[Seat]:
        shares = None
        if len(self._devices) > 1:
            shares = Shares(self._total, self._ledger.finished, len(self._devices))
            shares.claim(0, suspects)
        hands = Hands(self._spawn, self._ledger, self._total, self._limits, on_ready, shares)
        names = self._devices if shares is not None else ("",)
        seats = [Seat(place, name, hands) for place, name in enumerate(names)]
        seats[0].pending = list(suspects)
        return seats

    def _turn(self) -> bool:
        """Looks at every worker once, after starting those that are missing; False when nobody works any more."""
        for seat in self._seats:
            if not self._stops and seat.waits:
                seat.begin()
        working = [(seat, seat.watch) for seat in self._seats if seat.watch is not None]
        for seat, watch in working:
            seat.step(_STEP / len(working), self._stops)
            self._peak_memory = max(self._peak_memory, watch.peak_memory)
        self._peak_memory = max(self._peak_memory, sum(watch.resident for _, watch in working))
        return bool(working)

    def _progress(self) -> Progress:
        seconds = perf_counter() - self._began
        ended, failed = self._ledger.counts()
        watches = self._not_in_ledger()
        ended, failed = ended + sum(w.durable for w in watches), failed + sum(w.failed for w in watches)
        return Progress(ended, failed, self._total, seconds, self._before[0])

    def _not_in_ledger(self) -> list[Watch]:
        """The workers of which the ledger has not taken in what they did."""
        return [watch for seat in self._seats for watch in (seat.watch, seat.left) if watch is not None]

    def _ending(self) -> Ending:
        done = self._ledger.counts()[0] + sum(watch.ended for watch in self._not_in_ledger())
        parts = tuple(seat.part for seat in self._seats)
        return Ending(
            interrupted=bool(self._stops) and done < self._total,
            wall=perf_counter() - self._began,
            table=side_by_side([part.table for part in parts]),
            restarts=sum(max(seat.started - 1, 0) for seat in self._seats),
            deaths=dict(sum((seat.deaths for seat in self._seats), Counter())),
            peak_memory=self._peak_memory,
            parts=parts,
        )
