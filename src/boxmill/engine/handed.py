"""A worker's inputs where several workers divide them: a supervisor hands them out while the run goes on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

__all__ = ["Handed"]


class Handed(Iterator[int]):
    """Indices of inputs, in the order in which they were handed out; waits for more. Any thread may call anything.

    Args:
        first: what the worker begins with.
    """

    def __init__(self, first: Iterable[int]) -> None:
        self._change = threading.Condition()  # guards the four below
        self._waiting = deque(first)
        self._reserved = 0  # of those that wait: promised to threads that are about to take them
        self._closed = False
        self._listener: Callable[[], None] = lambda: None

    def add(self, indices: Iterable[int]) -> None:
        """More inputs."""
        with self._change:
            self._waiting.extend(indices)
        self._tell()

    def close(self) -> None:
        """There will be no more: whoever waits ends when the rest has been taken."""
        with self._change:
            self._closed = True
        self._tell()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` from now on, from any thread, when there is more or there will be no more."""
        with self._change:
            self._listener = listener

    def reserve(self) -> bool:
        """Whether the caller's `next` does not have to wait: an input is kept for it, or there will be no more.

        A thread that has other work besides takes no input before this is True.
        """
        with self._change:
            if not self._closed and self._reserved >= len(self._waiting):
                return False
            self._reserved += 1
            return True

    def __next__(self) -> int:
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closed)
            self._reserved = max(0, self._reserved - 1)
            if not self._waiting:
                raise StopIteration
            return self._waiting.popleft()

    def _tell(self) -> None:
        with self._change:
            self._change.notify_all()
            listener = self._listener
        listener()  # without the lock: it may hold one of its own, under which it asks `reserve`
