"""What a worker reads: inputs of a run's frozen manifest as items, those that are open or those that it is handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from boxmill.engine import Handed
from boxmill.sources import ArchiveReader, read_file, refused_item
from boxmill.store import Input, Manifest, load
from boxmill.types import Archive, EncodedItem

__all__ = ["HandedInputs", "Inputs", "OpenInputs", "Place"]


class Place(NamedTuple):
    """Where a run's inputs are."""

    directory: Path  # of the run
    root: bytes | None  # where the source lies now, if it has moved
    max_bytes: int  # of one input


class Inputs(ABC):
    """Inputs as items, each made shortly before it is read; an archive is opened once."""

    untried: bool  # no input of the run has a result yet

    def __init__(self, place: Place, suspects: Collection[int]) -> None:
        """`suspects`: inputs that have to be alone."""
        self._manifest = Manifest(place.directory, place.root)
        self.total = self._manifest.total
        self._suspects = frozenset(suspects)
        self._max_bytes, self._moved = place.max_bytes, place.root is not None
        self._readers: dict[Archive, ArchiveReader] = {}

    @abstractmethod
    def open(self) -> Iterator[EncodedItem]:
        """Those to work on, without the suspects; once."""

    @abstractmethod
    def first(self) -> Iterator[EncodedItem]:
        """The first of those, to look at; what `open` yields stays as it is."""

    def suspects(self) -> list[EncodedItem]:
        """Those that have to be alone."""
        return list(self._some(self._suspects)) if self._suspects else []

    def _some(self, indices: Collection[int]) -> Iterator[EncodedItem]:
        """Those inputs, in order."""
        without = bytearray(b"\1") * self.total
        for index in indices:
            without[index] = 0
        return (self._item(one) for one in self._manifest.open_inputs(without))

    def _item(self, one: Input) -> EncodedItem:
        if one.refused is not None:
            return refused_item(one.index, one.key, *one.refused)
        if one.archive is not None:
            if one.archive not in self._readers:
                self._readers[one.archive] = ArchiveReader(one.archive, self._max_bytes)
            return self._readers[one.archive].item(one.index, one.key, one.member, one.size)
        # copying a file may give it another time, so that only its size tells whether it is the same
        mtime_ns = -1 if self._moved else one.mtime_ns
        return EncodedItem(one.index, one.key, lambda: read_file(one.path, one.size, mtime_ns, self._max_bytes))


class OpenInputs(Inputs):
    """Whatever has no outcome, in order; for a worker that is alone."""

    def __init__(self, place: Place, suspects: Collection[int], retry_before: int) -> None:
        """`retry_before`: inputs that failed in an epoch before it are open again."""
        super().__init__(place, suspects)
        states = load(place.directory, self.total, retry_before=retry_before)
        self._status, self.untried = states.status, not states.counts.processed

    def open(self) -> Iterator[EncodedItem]:
        """See Inputs."""
        open_inputs = self._manifest.open_inputs(self._status)
        return (self._item(one) for one in open_inputs if one.index not in self._suspects)

    def first(self) -> Iterator[EncodedItem]:
        """See Inputs."""
        return self.open()


class HandedInputs(Inputs):
    """What a supervisor hands out, as it comes. Each time that an index lies behind, the manifest is read anew."""

    def __init__(self, place: Place, suspects: Collection[int], share: Collection[int], handed: Handed) -> None:
        """`share`: what the worker begins with; `handed` has it too."""
        super().__init__(place, suspects)
        self._share, self._handed = share, handed
        self.untried = True

    def open(self) -> Iterator[EncodedItem]:
        """See Inputs; waits for more."""
        without = bytearray(b"\1") * self.total
        ahead: Iterator[Input] = iter(())
        reached = self.total
        for index in self._handed:
            without[index] = 0  # asked for when it is reached, see `open_inputs`
            if index <= reached:
                ahead = self._manifest.open_inputs(without)
            yield self._item(next(ahead))
            without[index], reached = 1, index

    def first(self) -> Iterator[EncodedItem]:
        """See Inputs."""
        return self._some(self._share)
