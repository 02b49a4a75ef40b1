"""What a run's supervisor knows and writes: who is finished, who died over what, and the failures that follow."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from time import time

from boxmill.store.contents import Contents
from boxmill.store.journal import Entry, Journal, recover
from boxmill.store.manifest import Manifest
from boxmill.store.projections import JsonFiles
from boxmill.store.records import Attempt
from boxmill.store.states import FAILED, OPEN, States
from boxmill.types import Failure, Outcome

__all__ = ["RunLedger"]


class RunLedger:
    """The journal as the supervisor of one epoch sees it; for one thread, under the run's lock.

    The supervisor writes as writer 0; `next_writer` gives out the numbers of its workers: at each place (a device where
    there are several) one works at a time.
    """

    def __init__(
        self, directory: str | os.PathLike[str], epoch: int, states: States, files: JsonFiles | None = None
    ) -> None:
        """`states`: loaded before this epoch wrote anything, and kept up to date here; `files`: where JSON is kept."""
        self._directory = directory
        self._epoch = epoch
        self._states = states
        self._files = files
        self._journal = Journal(directory, epoch, 0)
        self._writers = 0  # numbers given out
        self._unread: dict[int, int] = {}  # place -> its worker, whose records are not in `states` yet
        self._counts: tuple[int, int] | None = None  # None: to be counted again; asked ten times a second

    def next_writer(self, place: int = 0) -> int:
        """The number for a worker that is about to start; the place's last one was taken in by `refresh`."""
        assert place not in self._unread, "the last worker's records have been read"
        self._writers += 1
        self._unread[place] = self._writers
        return self._writers

    def refresh(self, place: int = 0) -> None:
        """Takes in what the place's last worker left; it must have ended.

        Raises:
            OutputError: its segments cannot be read or sealed; nothing acknowledged is lost.
        """
        if place in self._unread:
            writer = self._unread[place]
            recover(self._directory, (self._epoch, writer))
            self._states.absorb(self._directory, self._epoch, writer)
            del self._unread[place]
            self._counts = None

    def refresh_all(self) -> None:
        """`refresh` for every place. Raises OutputError."""
        for place in sorted(self._unread):
            self.refresh(place)

    def durable(self, kept: Callable[[int], int]) -> dict[int, float]:
        """By writer, how many of its outcomes are on the disk, as `Tail.outcomes` takes it.

        Args:
            kept: the same of a place's worker that has not been taken in.
        """
        whole = dict.fromkeys(range(self._writers + 1), math.inf)
        return whole | {writer: kept(place) for place, writer in self._unread.items()}

    def counts(self) -> tuple[int, int]:
        """Inputs that have an outcome, and how many of those have failed."""
        if self._counts is None:  # milliseconds for a million inputs
            self._counts = self._states.finished(), self._states.status.count(FAILED)
        return self._counts

    def finished(self, index: int) -> bool:
        """Whether an input has its outcome."""
        return self._states.status[index] != OPEN

    def attempts(self, index: int) -> int:
        """How often a worker has died while it worked on this input alone."""
        return self._states.attempts.get(index, 0)

    def record_attempt(self, index: int, cause: str) -> None:
        """Records one more such death, durably. Raises OutputError."""
        attempt = Attempt(index, self._key(index), self.attempts(index) + 1, cause)
        contents = Contents()
        contents.add_attempt(attempt)
        self._record(Entry.of(attempt), contents)

    def record_failure(self, index: int, code: str, message: str) -> None:
        """Ends an input as failed, durably. Raises OutputError."""
        key = self._key(index)
        outcome = Outcome(key, index, Failure(key, "worker", code, message))
        if self._files is not None:
            self._files.write(outcome)
        contents = Contents()
        contents.add_outcome(outcome)
        self._record(Entry.of(outcome, max(1, self.attempts(index)), at=time()), contents)

    def close(self) -> None:
        """Seals what the supervisor wrote. Raises OutputError."""
        self._journal.close()

    def _record(self, entry: Entry, contents: Contents) -> None:
        self._journal.commit([entry])
        self._states.merge(contents)
        self._counts = None

    def _key(self, index: int) -> str:
        # the manifest is read up to there: a death is rare, and keys are not worth holding in memory for it
        return Manifest(self._directory).input(index).key
