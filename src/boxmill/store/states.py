"""Where every input of a run stands, from the journal: footers of sealed segments, scans of the others."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from boxmill.store.contents import Contents
from boxmill.store.frames import Damaged
from boxmill.store.journal import Segment, read_footer, scan, segments
from boxmill.store.summary import MAX_LISTED_FAILURES, Counts, Tally
from boxmill.types import Failure

__all__ = ["FAILED", "OK", "OPEN", "States", "load"]

OPEN, OK, FAILED = 0, 1, 2


@dataclass(slots=True)
class States:
    """3 bytes an input. Later records supersede earlier ones, but a result is never superseded."""

    status: bytearray  # by index: OPEN, OK or FAILED
    failure: npt.NDArray[np.uint16]  # by index; where FAILED: place in `codes`
    codes: list[str] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)  # deaths while worked on alone, since it last failed
    counts: Counts = field(default_factory=Counts)  # of the OK ones
    failures: dict[int, Failure] = field(default_factory=dict)  # the first of each segment, superseded ones included
    damage: list[str] = field(default_factory=list)  # what in the journal is not as it was written

    @classmethod
    def empty(cls, total: int) -> States:
        """All open."""
        return cls(bytearray(total), np.zeros(total, np.uint16))

    def finished(self) -> int:
        """How many inputs are not open."""
        return len(self.status) - self.status.count(OPEN)

    def reopen_failed(self) -> int:
        """Opens the failed ones for another try; returns how many."""
        count = self.status.count(FAILED)
        self.status[:] = self.status.translate(bytes.maketrans(bytes([FAILED]), bytes([OPEN])))
        return count

    def tally(self) -> Tally:
        """The counts of the whole run, without `results`."""
        tally = Tally(results_dropped=True)
        tally.merge(self.counts)
        failed = np.flatnonzero(np.frombuffer(self.status, np.uint8) == FAILED)
        tally.failed = len(failed)
        for place, count in enumerate(np.bincount(self.failure[failed], minlength=len(self.codes)).tolist()):
            if count:
                tally.by_code[self.codes[place]] = count
        alive = [(i, f) for i, f in sorted(self.failures.items()) if self.status[i] == FAILED]
        tally.failures = alive[:MAX_LISTED_FAILURES]
        return tally

    def absorb(self, directory: str | os.PathLike[str], epoch: int, writer: int) -> None:
        """Takes in what one writer left that has died since the states were loaded; `recover` it before.

        Raises:
            OutputError: a segment cannot be read.
        """
        for segment in segments(directory):
            if (segment.epoch, segment.writer) == (epoch, writer):
                self._take(segment)

    def _take(self, segment: Segment) -> None:
        contents, problem = _contents(segment)
        if problem is not None:
            self.damage.append(f"{os.path.basename(segment.path)}: {problem}")
        self.merge(contents, os.path.basename(segment.path))

    def merge(self, contents: Contents, name: str = "journal") -> None:
        """Takes in what was recorded after everything that is known; `name` is for what is said of damage."""
        indices, states = contents.final()
        if contents.counts.processed != (own := int(np.count_nonzero(states == 0))):
            self.damage.append(f"{name}: {contents.counts.processed} results for {own} inputs")
        if len(indices) and indices[-1] >= len(self.status):
            self.damage.append(f"{name}: records of input {indices[-1]}, but there are {len(self.status)} inputs")
            known = indices < len(self.status)
            indices, states = indices[known], states[known]
        status = np.frombuffer(self.status, np.uint8)
        done = status[indices] == OK
        if twice := int(np.count_nonzero(done & (states == 0))):
            self.damage.append(f"{name}: {twice} inputs have a result already, such as {indices[done][0]}")
        indices, states = indices[~done], states[~done]
        failed = indices[states > 0]
        status[indices] = np.where(states > 0, FAILED, OK)
        self.failure[failed] = self._places(contents.codes)[states[states > 0] - 1]
        again = set(self.attempts).intersection(failed.tolist()) if self.attempts else set()
        for index in again:
            del self.attempts[index]
        self.attempts.update(contents.attempts)
        self.counts.merge(contents.counts)
        self.failures.update(contents.failures)

    def _places(self, codes: list[str]) -> npt.NDArray[np.uint16]:
        self.codes.extend(code for code in codes if code not in self.codes)
        return np.array([self.codes.index(code) for code in codes], np.uint16)


def load(directory: str | os.PathLike[str], total: int, *, retry_before: int = 0) -> States:
    """Reads the journal of a run with `total` inputs; changes nothing on disk.

    Inputs that failed in an epoch before `retry_before`, and have not ended since, are open again. Damage costs the
    records behind it in the same segment: their inputs are open again, and `damage` says so.

    Raises:
        OutputError: the journal cannot be read.
    """
    states = States.empty(total)
    reopened = retry_before == 0
    for segment in segments(directory):
        if not reopened and segment.epoch >= retry_before:
            states.reopen_failed()
            reopened = True
        states._take(segment)
    if not reopened:
        states.reopen_failed()
    return states


def _contents(segment: Segment) -> tuple[Contents, str | None]:
    """What a segment holds, and what is wrong with it."""
    problem = None
    if segment.sealed:
        try:
            return Contents.of(read_footer(segment.path)), None
        except Damaged as error:
            problem = str(error)
    contents = Contents()
    with scan(segment.path) as records:
        for _, record in records:
            contents.add_record(record)
    return contents, problem
