"""What one segment of the journal holds, small enough to stand in its footer: a resume reads nothing else of it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from boxmill.store.records import Attempt, Record
from boxmill.store.summary import MAX_LISTED_FAILURES, Counts
from boxmill.store.views import seen
from boxmill.types import Failure, Outcome, Tags

__all__ = ["Contents", "Footer"]

Int64 = npt.NDArray[np.int64]


class Footer(msgspec.Struct, frozen=True):
    """The last frame of a sealed segment."""

    footer: int  # version of this layout
    count: int  # records
    sha256: str  # of the bytes before this frame
    # first index, number of consecutive indices, state; state 0 is ok, k is failed with codes[k - 1]
    runs: list[int]
    codes: list[str]
    attempts: list[tuple[int, int]]  # index, how often its process died, since it last failed
    counts: Counts
    failures: list[tuple[int, str, str, str, str]]  # the first ones: index, key, stage, code, message


@dataclass(slots=True)
class Contents:
    """The states that a segment's records amount to; of several for one index the last counts."""

    count: int = 0  # records
    indices: array[int] = field(default_factory=lambda: array("q"))
    states: array[int] = field(default_factory=lambda: array("H"))  # as in Footer.runs
    codes: list[str] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    failures: dict[int, Failure] = field(default_factory=dict)  # the first MAX_LISTED_FAILURES

    def add_outcome(self, outcome: Outcome, conf: float | None = None) -> None:
        """Takes account of an outcome that was written; only what scores above `conf` is counted."""
        result = seen(outcome, conf).result
        if isinstance(result, Failure):
            self._add_failure(outcome.index, result)
        elif isinstance(result, Tags):
            self._add_result(outcome.index, result.classes.tolist(), truncated=False, nan=result.nan)
        else:
            self._add_result(outcome.index, result.classes.tolist(), truncated=result.cut is not None, nan=result.nan)

    def add_attempt(self, attempt: Attempt) -> None:
        """Takes account of a death that was written."""
        self.count += 1
        self.attempts[attempt.index] = attempt.attempt

    def add_record(self, record: Record) -> None:
        """Takes account of a record that was read."""
        if record.status == "attempt":
            self.add_attempt(Attempt(record.i, record.key, record.attempt, record.cause))
        elif record.status == "failed":
            self._add_failure(record.i, record.failure())
        elif record.conf is not None:
            self.add_outcome(record.outcome(), record.conf)
        else:
            classes = [row[5] for row in record.det] if record.tags is None else [tag[0] for tag in record.tags]
            self._add_result(record.i, classes, truncated=record.cut is not None, nan=record.nan)

    def _add_result(self, index: int, classes: list[int], *, truncated: bool, nan: int) -> None:
        self._add_state(index, 0)
        self.counts.add_result(classes, truncated=truncated, nan=nan)
        self.failures.pop(index, None)

    def _add_failure(self, index: int, failure: Failure) -> None:
        if failure.code not in self.codes:
            self.codes.append(failure.code)
        self._add_state(index, self.codes.index(failure.code) + 1)
        self.attempts.pop(index, None)  # a later retry starts to count anew
        if len(self.failures) < MAX_LISTED_FAILURES:
            self.failures[index] = failure

    def _add_state(self, index: int, state: int) -> None:
        self.count += 1
        self.indices.append(index)
        self.states.append(state)

    def final(self) -> tuple[Int64, Int64]:
        """Sorted indices (N,) int64 and the state of each (N,) int64, as in `Footer.runs`."""
        indices = np.array(self.indices, np.int64)[::-1]  # reversed: np.unique keeps the first of equals
        unique, position = np.unique(indices, return_index=True)
        return unique, np.array(self.states, np.int64)[::-1][position]

    def footer(self, sha256: str) -> Footer:
        """The footer of a segment with these contents whose bytes have this SHA-256."""
        failures = [(i, f.key, f.stage, f.code, f.message) for i, f in self.failures.items()]
        attempts, runs = list(self.attempts.items()), _runs(*self.final())
        return Footer(1, self.count, sha256, runs, self.codes, attempts, self.counts, failures)

    @classmethod
    def of(cls, footer: Footer) -> Contents:
        """The contents that a footer tells of."""
        indices, states = _expand(footer.runs)
        return cls(
            count=footer.count,
            indices=array("q", indices.tobytes()),
            states=array("H", states.astype(np.uint16).tobytes()),
            codes=list(footer.codes),
            attempts=dict(footer.attempts),
            counts=footer.counts,
            failures={i: Failure(key, stage, code, text) for i, key, stage, code, text in footer.failures},
        )


def _runs(indices: Int64, states: Int64) -> list[int]:
    """Run lengths of sorted indices with equal states, as one flat list of (first, count, state)."""
    if not len(indices):
        return []
    starts = np.flatnonzero((np.diff(indices, prepend=-2) != 1) | (np.diff(states, prepend=-1) != 0))
    counts = np.diff(starts, append=len(indices))
    return np.stack([indices[starts], counts, states[starts]], axis=1).ravel().tolist()


def _expand(runs: list[int]) -> tuple[Int64, Int64]:
    first, counts, states = np.array(runs, np.int64).reshape(-1, 3).T
    offsets = np.repeat(first - np.cumsum(counts) + counts, counts)  # of each run: its first index less its position
    return offsets + np.arange(len(offsets)), np.repeat(states, counts)
