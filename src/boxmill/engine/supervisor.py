"""Keeps one worker process at work until every input has ended, whatever a single input does to it.

A worker that crashes, hangs or eats the memory ends; the next one goes on from the journal. Inputs that were under way
are suspects: the next worker takes them one at a time before all else. An input whose workers die three times while it
is alone in them has failed for that reason, so a process that is killed from outside never blames an innocent image.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from boxmill.engine.clock import TimeTable, combined
from boxmill.engine.pipeline import Progress
from boxmill.engine.process import WorkerProcess
from boxmill.engine.protocol import STOP
from boxmill.engine.watch import Limits, Watch
from boxmill.errors import BoxmillError

__all__ = ["Ending", "Ledger", "Supervisor"]

_STEP = 0.1  # seconds between two looks at the worker; its reports wait in the pipe, 25,000 images/s fit
_DEATHS_ALONE = 3  # until an input has failed
_DEATHS_WITHOUT_SUSPECT = 3  # in a row, nothing kept and no input to blame: restarting does not help
_DEATHS_WITHOUT_RESULT = 100  # in a row, nothing kept: it is not the inputs

_MESSAGES = {
    "crashed": "the worker process crashed on this image, alone, three times",
    "timeout": "this image, alone, was not finished in time, three times",
    "memory": "this image, alone, took more memory than allowed, three times",
    "device": "the device failed on this image, alone, three times",
}


class Ledger(Protocol):
    """What the journal says of each input. An error that it raises ends the run."""

    def refresh(self) -> None:
        """Reads again what is durable; called when a worker has died and another may start."""

    def counts(self) -> tuple[int, int]:
        """Inputs that have ended, and how many of those have failed."""

    def finished(self, index: int) -> bool:
        """Whether the input has ended, by a worker's journal or by `record_failure`."""

    def attempts(self, index: int) -> int:
        """How many workers have died while they had only this input, ever."""

    def record_attempt(self, index: int, cause: str) -> None:
        """One more did, of `cause`; durable when it returns."""

    def record_failure(self, index: int, code: str, message: str) -> None:
        """The input has failed; durable when it returns."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, and what it took."""

    interrupted: bool  # by `stop`, before every input had ended
    wall: float  # seconds, with the starts of workers
    table: TimeTable  # of all workers together; what one that died did last is missing
    restarts: int
    deaths: Mapping[str, int]  # by cause: crashed, timeout, memory, device
    peak_memory: int  # bytes resident, the largest worker's, as seen every 100 ms


def _ignore(_: object) -> None:
    pass


class Supervisor:
    """Supervises one run.

    Args:
        spawn: starts a worker that takes the given suspects alone first, and then whatever else has not ended.
        ledger: the journal.
        total: number of inputs of the run.
        limits: what a worker may take.
    """

    def __init__(
        self,
        spawn: Callable[[list[int]], WorkerProcess],
        ledger: Ledger,
        total: int,
        limits: Limits | None = None,
    ) -> None:
        self._spawn, self._ledger, self._total = spawn, ledger, total
        self._limits = limits or Limits()
        self._stops = 0
        self._tables: list[TimeTable] = []
        self._before = (0, 0)  # ended and failed when this execution began
        self._base = (0, 0)  # the same when the present worker began
        self._began = 0.0
        self._deaths: Counter[str] = Counter()
        self._started = self._peak_memory = 0
        self._without_result = self._without_suspect = 0  # deaths in a row

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
        self._before = self._base = self._ledger.counts()
        pending = list(suspects)
        while not self._stops and self._base[0] < self._total:
            watch = Watch(self._spawn(pending), pending, self._limits, on_ready)
            self._attend(watch, observe)
            if watch.gone is not None:
                done = self._base[0] + watch.ended
                break
            pending = self._bury(watch, pending)
        else:
            done = self._base[0]
        interrupted = bool(self._stops) and done < self._total
        wall = perf_counter() - self._began
        restarts = max(self._started - 1, 0)
        return Ending(interrupted, wall, combined(self._tables), restarts, dict(self._deaths), self._peak_memory)

    def _attend(self, watch: Watch, observe: Callable[[Progress], None]) -> None:
        """Until the worker has exited; raises the error that it reported."""
        self._started += 1
        told = False
        try:
            while watch.step(_STEP):
                if self._stops and not told:
                    watch.process.order(STOP)
                    told = True
                if self._stops > 1 and watch.verdict is None:
                    watch.kill("stopped")
                observe(self._progress(watch))
        finally:
            watch.process.close()
        observe(self._progress(watch))
        self._peak_memory = max(self._peak_memory, watch.peak_memory)
        if watch.table is not None:
            self._tables.append(watch.table)
        if watch.gone is not None and watch.gone[0] is not None:
            raise watch.gone[0]

    def _progress(self, watch: Watch) -> Progress:
        seconds = perf_counter() - self._began
        ended, failed = self._base
        return Progress(ended + watch.durable, failed + watch.failed, self._total, seconds, self._before[0])

    def _bury(self, watch: Watch, pending: Sequence[int]) -> list[int]:
        """After a death: who may be to blame, and what the next worker has to take alone."""
        self._ledger.refresh()
        under_way = [index for index in watch.running if not self._ledger.finished(index)]
        if watch.verdict != "stopped":
            self._deaths[watch.cause] += 1
            for index in under_way:
                if index in watch.suspects:
                    self._blame(index, watch.cause)
            self._consider_giving_up(watch, under_way)
        self._base = self._ledger.counts()
        fresh = [index for index in under_way if index not in watch.suspects]
        return [index for index in (*pending, *fresh) if not self._ledger.finished(index)]

    def _blame(self, index: int, cause: str) -> None:
        self._ledger.record_attempt(index, cause)
        if self._ledger.attempts(index) >= _DEATHS_ALONE:
            self._ledger.record_failure(index, cause, _MESSAGES[cause])

    def _consider_giving_up(self, watch: Watch, under_way: Sequence[int]) -> None:
        """Every death must bring the run forward: results kept, or an input suspected or blamed; but not for ever."""
        self._without_result = 0 if watch.durable else self._without_result + 1
        self._without_suspect = 0 if watch.durable or under_way else self._without_suspect + 1
        if not (watch.begun or under_way) and watch.cause == "memory":
            raise BoxmillError(
                f"the worker took {watch.peak_memory / 2**20:.0f} MiB before its first image; "
                f"at most {self._limits.memory / 2**20:.0f} MiB are allowed: use fewer workers or a smaller model"
            )
        deaths = max(self._without_suspect, self._without_result)
        if self._without_suspect >= _DEATHS_WITHOUT_SUSPECT or self._without_result >= _DEATHS_WITHOUT_RESULT:
            when = "after loading the network" if watch.begun else "before the network was loaded"
            raise BoxmillError(
                f"the worker process ended {deaths} times in a row without a result, the last time {when} "
                f"({watch.cause}, {_status(watch.process.returncode)}); "
                "everything kept so far is safe, and the same command resumes"
            )


def _status(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"signal {-returncode}, {signal.strsignal(-returncode)}"
    return f"exit code {returncode}"
