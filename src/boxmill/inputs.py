"""What a worker reads: inputs of a run's frozen manifest as items, those that are open or those that it is handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from boxmill.engine import Handed
from boxmill.sources import ItemReader
from boxmill.store import Input, Manifest, load
from boxmill.types import EncodedItem

__all__ = ["HandedInputs", "Inputs", "OpenInputs", "Origin"]


class Origin(NamedTuple):
    """Where a run's inputs are."""

    directory: Path  # of the run
    root: bytes | None  # where the source lies now, if it has moved
    max_bytes: int  # of one input


class Inputs(ABC):
    """Inputs as items, each made shortly before it is read; an archive is opened once."""

    untried: bool  # no input of the run has a result yet

    def __init__(self, origin: Origin, suspects: Collection[int]) -> None:
        """`suspects`: inputs that have to be alone."""
        self._manifest = Manifest(origin.directory, origin.root)
        self.total = self._manifest.total
        self._suspects = frozenset(suspects)
        self._reader = ItemReader(origin.max_bytes, moved=origin.root is not None)

    @abstractmethod
    def open(self) -> Iterator[EncodedItem]:
        """Those to work on, without the suspects; once."""

    @abstractmethod
    def first(self) -> Iterator[EncodedItem]:
        """The first of those, to look at; what `open` yields stays as it is."""

    def suspects(self) -> list[EncodedItem]:
        """Those that have to be alone."""
        return [self._reader.item(one) for one in self._manifest.some(self._suspects)] if self._suspects else []


class OpenInputs(Inputs):
    """Whatever has no outcome, in order; for a worker that is alone."""

    def __init__(self, origin: Origin, suspects: Collection[int], retry_before: int) -> None:
        """`retry_before`: inputs that failed in an epoch before it are open again."""
        super().__init__(origin, suspects)
        states = load(origin.directory, self.total, retry_before=retry_before)
        self._status, self.untried = states.status, not states.counts.processed

    def open(self) -> Iterator[EncodedItem]:
        """See Inputs."""
        open_inputs = self._manifest.open_inputs(self._status)
        return (self._reader.item(one) for one in open_inputs if one.index not in self._suspects)

    def first(self) -> Iterator[EncodedItem]:
        """See Inputs."""
        return self.open()


class HandedInputs(Inputs):
    """What a supervisor hands out, as it comes. Each time that an index lies behind, the manifest is read anew."""

    def __init__(self, origin: Origin, suspects: Collection[int], share: Collection[int], handed: Handed) -> None:
        """`share`: what the worker begins with; `handed` has it too."""
        super().__init__(origin, suspects)
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
            yield self._reader.item(next(ahead))
            without[index], reached = 1, index

    def first(self) -> Iterator[EncodedItem]:
        """See Inputs."""
        return map(self._reader.item, self._manifest.some(self._share))
