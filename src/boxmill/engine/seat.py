"""The workers of one place, one after another: what each begins with, what it is handed, and what its death means."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from boxmill.engine.clock import TimeTable, combined
from boxmill.engine.process import WorkerProcess
from boxmill.engine.protocol import LAST, STOP, take_lines
from boxmill.engine.shares import Shares
from boxmill.engine.watch import Limits, Watch
from boxmill.errors import BoxmillError, OutputError

__all__ = ["Hands", "Ledger", "Part", "Seat", "Start"]

_DEATHS_ALONE = 3  # until an input has failed
_DEATHS_WITHOUT_SUSPECT = 3  # in a row, nothing kept and no input to blame: restarting does not help
_DEATHS_WITHOUT_RESULT = 100  # in a row, nothing kept: it is not the inputs

_LEAST = 64  # inputs that a worker has before its speed is known: two batches and what is decoded meanwhile
_AHEAD = 2.0  # seconds of its work that a worker has: enough for full batches, and how much longer the slowest may take
_FEWEST = 16  # inputs that a worker has when hardly any are left
_PACE = 1.0  # seconds over which a worker's speed is measured

_MESSAGES = {
    "crashed": "the worker process crashed on this image, alone, three times",
    "timeout": "this image, alone, was not finished in time, three times",
    "memory": "this image, alone, took more memory than allowed, three times",
    "device": "the device failed on this image, alone, three times",
}


class Ledger(Protocol):
    """What the journal says of each input. An error that it raises ends the run."""

    def refresh(self, place: int = 0) -> None:
        """Reads again what is durable; called when that place's worker has died and another may start."""

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
class Start:
    """What a worker begins with."""

    suspects: list[int]  # inputs to take alone, before all else
    place: int = 0
    share: list[int] | None = None  # its first inputs, more are handed to it; None: whatever has not ended


@dataclass(frozen=True, slots=True)
class Part:
    """What one place did of a run."""

    device: str  # as it was named; empty where there is one place only
    table: TimeTable  # of its workers, one after another
    kept: int  # inputs that they ended


@dataclass(frozen=True, slots=True)
class Hands:
    """What all seats have in common."""

    spawn: Callable[[Start], WorkerProcess]
    ledger: Ledger
    total: int
    limits: Limits
    on_ready: Callable[[Mapping[str, Any]], None]
    shares: Shares | None  # None: there is one seat, and its worker finds its inputs by itself


class Seat:
    """One place at which a worker works; for the supervisor's thread.

    Args:
        place: its number.
        device: how messages name it; empty where there is no other.
    """

    def __init__(self, place: int, device: str, hands: Hands) -> None:
        self.place, self.device = place, device
        self.watch: Watch | None = None  # of the worker that lives
        self.left: Watch | None = None  # of the one that said bye: the place's work is done
        self.pending: list[int] = []  # suspects for the next worker
        self.deaths: Counter[str] = Counter()
        self.started = 0
        self._hands = hands
        self._tables: list[TimeTable] = []
        self._kept = 0
        self._told = self._told_last = False
        self._handed = 0  # inputs of the present worker
        self._pace = _Pace()
        self._without_result = self._without_suspect = 0  # deaths in a row

    @property
    def part(self) -> Part:
        """What it did; what a worker that died did last is missing in the table."""
        return Part(self.device, combined(self._tables), self._kept)

    @property
    def waits(self) -> bool:
        """Whether a worker should start here."""
        if self.watch is not None or self.left is not None:
            return False
        hands = self._hands
        return (
            hands.ledger.counts()[0] < hands.total if hands.shares is None else bool(self.pending or hands.shares.free)
        )

    def begin(self) -> None:
        """Starts a worker. Raises OSError."""
        shares = self._hands.shares
        share = None if shares is None else shares.take(self.place, self._wanted(shares, 0.0))
        self._handed = len(self.pending) + len(share or ())
        self._told = self._told_last = False
        self._pace = _Pace()
        process = self._hands.spawn(Start(self.pending, self.place, share))
        self.watch = Watch(process, self.pending, self._hands.limits, self._hands.on_ready)
        self.started += 1

    def step(self, seconds: float, stops: int) -> None:
        """Watches the worker for up to so long; `stops`: how often the run was told to stop.

        Raises:
            BoxmillError: what the worker reported, or workers die and no input is to blame.
        """
        watch = self.watch
        assert watch is not None, "there is a worker"
        alive = watch.step(seconds)
        if stops and not self._told:
            watch.process.order(STOP)
            self._told = True
        if stops > 1 and watch.verdict is None:
            watch.kill("stopped")
        if not alive:
            self._part(watch)
        elif not self._told and self._hands.shares is not None:
            self._hand_out(watch, self._hands.shares)

    def close(self) -> None:
        """Ends the worker, if there is one."""
        if self.watch is not None:
            self.watch.process.close()
            self.watch = None

    def _hand_out(self, watch: Watch, shares: Shares) -> None:
        if self._told_last:
            return
        missing = self._wanted(shares, self._pace.of(watch.ended)) - (self._handed - watch.ended)
        taken = shares.take(self.place, missing)
        self._handed += len(taken)
        for line in take_lines(taken):
            watch.process.order(line)
        if shares.free == 0:
            watch.process.order(LAST)
            self._told_last = True

    def _wanted(self, shares: Shares, speed: float) -> int:
        """Inputs that the worker should have and not have ended; fewer towards the end, so that all end together."""
        enough = max(_LEAST, round(speed * _AHEAD))
        fair = max(shares.free // (2 * shares.places), min(_FEWEST, -(-shares.free // shares.places)))
        return min(enough, fair)

    def _part(self, watch: Watch) -> None:
        """After the worker's exit."""
        self.close()
        if watch.table is not None:
            self._tables.append(watch.table)
        if watch.gone is None:
            self._bury(watch)
            return
        self._kept += watch.durable
        self.left = watch
        if watch.gone[0] is not None:
            raise self._named(watch.gone[0])

    def _named(self, error: BoxmillError) -> BoxmillError:
        """The error with the device's name, where there are others and it may be the device's doing."""
        if self.device in str(error) or isinstance(error, OutputError):
            return error
        return type(error)(f"{self.device}: {error}")

    def _bury(self, watch: Watch) -> None:
        """After a death: who may be to blame, and what the next worker has to take alone."""
        ledger, pending = self._hands.ledger, self.pending
        before = ledger.counts()[0]
        ledger.refresh(self.place)
        self._kept += ledger.counts()[0] - before
        under_way = [index for index in watch.running if not ledger.finished(index)]
        if watch.verdict != "stopped":
            self.deaths[watch.cause] += 1
            for index in under_way:
                if index in watch.suspects:
                    self._blame(index, watch.cause)
            self._consider_giving_up(watch, under_way)
        fresh = [index for index in under_way if index not in watch.suspects]
        self.pending = [index for index in (*pending, *fresh) if not ledger.finished(index)]
        if self._hands.shares is not None:
            self._hands.shares.give_back(self.place, ledger.finished, frozenset(self.pending))

    def _blame(self, index: int, cause: str) -> None:
        ledger = self._hands.ledger
        ledger.record_attempt(index, cause)
        if ledger.attempts(index) >= _DEATHS_ALONE:
            ledger.record_failure(index, cause, _MESSAGES[cause])

    def _consider_giving_up(self, watch: Watch, under_way: Collection[int]) -> None:
        """Every death must bring the run forward: results kept, or an input suspected or blamed; but not for ever."""
        self._without_result = 0 if watch.durable else self._without_result + 1
        self._without_suspect = 0 if watch.durable or under_way else self._without_suspect + 1
        process = f"the worker process of {self.device}" if self.device else "the worker process"
        if not (watch.begun or under_way) and watch.cause == "memory":
            raise BoxmillError(
                f"{process} took {watch.peak_memory / 2**20:.0f} MiB before its first image; "
                f"at most {self._hands.limits.memory / 2**20:.0f} MiB are allowed: use fewer workers or a smaller model"
            )
        deaths = max(self._without_suspect, self._without_result)
        if self._without_suspect >= _DEATHS_WITHOUT_SUSPECT or self._without_result >= _DEATHS_WITHOUT_RESULT:
            when = "after loading the network" if watch.begun else "before the network was loaded"
            raise BoxmillError(
                f"{process} ended {deaths} times in a row without a result, the last time {when} "
                f"({watch.cause}, {_status(watch.process.returncode)}); "
                "everything kept so far is safe, and the same command resumes"
            )


class _Pace:
    """How many inputs a worker ends in a second: the better of two measurements, because batches come in bursts."""

    def __init__(self) -> None:
        self._since, self._ended = monotonic(), 0
        self._measured: Sequence[float] = (0.0, 0.0)

    def of(self, ended: int) -> float:
        """Given how many it has ended by now."""
        seconds = monotonic() - self._since
        if seconds >= _PACE:
            self._measured = (self._measured[1], (ended - self._ended) / seconds)
            self._since, self._ended = monotonic(), ended
        return max(self._measured)


def _status(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"signal {-returncode}, {signal.strsignal(-returncode)}"
    return f"exit code {returncode}"
