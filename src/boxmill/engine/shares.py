"""Which worker has which input where several work at once: one byte an input, in the supervisor.

Nothing is divided beforehand: inputs are handed out a few at a time, so that a faster worker gets more of them. Every
input has at most one owner, and what a worker that died has not finished is free again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = ["Shares"]

_FREE, _ENDED = 0, 255


class Shares:
    """For one thread.

    Args:
        total: inputs of the run.
        finished: whether an input has its outcome; asked once for each, now.
        places: workers at the same time; at most 254.
    """

    def __init__(self, total: int, finished: Callable[[int], bool], places: int) -> None:
        assert places < _ENDED, "one byte names the owner"
        self.places = places
        self._owner = bytearray(_ENDED if finished(index) else _FREE for index in range(total))  # else 1 + its place
        self._next = 0  # nothing below is free
        self.free = self._owner.count(_FREE)  # inputs that nobody has

    def claim(self, place: int, indices: Iterable[int]) -> None:
        """Those inputs, which are free, are that place's."""
        for index in indices:
            assert self._owner[index] == _FREE, "an input has one owner"
            self._owner[index] = 1 + place
            self.free -= 1

    def take(self, place: int, most: int) -> list[int]:
        """The first inputs that are free, ascending; they are that place's from now on."""
        taken: list[int] = []
        while len(taken) < most and (index := self._owner.find(_FREE, self._next)) >= 0:
            self.claim(place, (index,))
            taken.append(index)
            self._next = index + 1
        return taken

    def give_back(self, place: int, finished: Callable[[int], bool], keep: Collection[int]) -> None:
        """Frees what the place has not finished, but for what it keeps."""
        for index in list(self._of(place)):
            if finished(index):
                self._owner[index] = _ENDED
            elif index not in keep:
                self._owner[index] = _FREE
                self._next = min(self._next, index)
                self.free += 1

    def _of(self, place: int) -> Iterator[int]:
        index = -1
        while (index := self._owner.find(1 + place, index + 1)) >= 0:
            yield index
