"""Outcomes of many threads into one journal: one frame and one synchronisation for a group of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import monotonic, time

from boxmill.store.journal import Entry, Journal
from boxmill.types import Outcome

__all__ = ["JournalWriter"]

MAX_PENDING = 64  # outcomes handed over and not yet durable: what a kill can cost besides those in flight
GROUP = 32  # committed at once when there are so many: the other half fills while this one is synchronised
MAX_DELAY = 1.0  # seconds after which a smaller group is committed


class JournalWriter:
    """Keeps outcomes durably. `add` may be called from several threads at once."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        epoch: int,
        writer: int,
        kept: Callable[[int], None] = lambda n: None,
        conf: float | None = None,
    ) -> None:
        """Begins a writer's part of the journal.

        Args:
            directory: the run's.
            epoch: of this start of the run.
            writer: number of this writer.
            kept: called as `kept(n)` from the writing thread whenever n more outcomes are on the disk.
            conf: where more is kept than shown, the score above which objects are shown and counted.
        """
        self._conf = conf
        self._journal = Journal(directory, epoch, writer)
        self._kept = kept
        self._pending: list[Entry] = []
        self._committing = 0
        self._closing = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()  # guards the four above
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def add(self, outcome: Outcome, attempt: int = 1) -> None:
        """Hands over one outcome; waits while 64 others are not durable yet.

        Raises:
            OutputError: the journal cannot be written (disk full, ...); the outcomes not yet reported by `kept` may be
                lost, and the run must stop.
        """
        entry = Entry.of(outcome, attempt, self._conf, time())
        with self._changed:
            self._changed.wait_for(lambda: self._error or len(self._pending) + self._committing < MAX_PENDING)
            self._raise()
            if self._closing:
                raise ValueError("expected no outcome after close()")
            self._pending.append(entry)
            if len(self._pending) in (1, GROUP):
                self._changed.notify_all()

    def close(self) -> None:
        """Commits what is pending and seals the segment.

        Raises:
            OutputError: as for `add`.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._journal.close()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while group := self._next_group():
                self._journal.commit(group)
                self._kept(len(group))
                with self._changed:
                    self._committing = 0
                    self._changed.notify_all()
        except BaseException as error:  # a full disk, or a defect: `add` must raise it, not wait for ever
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next_group(self) -> list[Entry]:
        """Waits for a group; an empty one means that all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing)
            deadline = monotonic() + MAX_DELAY
            while len(self._pending) < GROUP and not self._closing and (left := deadline - monotonic()) > 0:
                self._changed.wait(left)
            group, self._pending = self._pending, []
            self._committing = len(group)
            return group
