"""The records that count, in the order of the listing, whatever order they were written in."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator

from boxmill.errors import OutputError
from boxmill.store.journal import scan, segments
from boxmill.store.records import Record, decode
from boxmill.store.states import FAILED, OK

__all__ = ["replay"]

_OFFSET_BITS = 40  # of a position: the segment's place above, the record's offset in it below
_LINE = 8192  # bytes read at first for a record
_MAX_OPEN = 64  # segments


def replay(directory: str | os.PathLike[str], total: int, wanted: bytes | bytearray | None = None) -> Iterator[Record]:
    """The record of each finished input, by ascending index; those behind damage are left out.

    Takes 9 bytes an input: the journal is gone through once to find the records, then they are read where they stand.

    Args:
        directory: the run's.
        total: inputs.
        wanted: (total,) bytes; 0: leave that input out.

    Raises:
        OutputError: the journal cannot be read.
    """
    paths = [segment.path for segment in segments(directory)]
    positions = _positions(paths, total, wanted)
    with _Lines(paths) as lines:
        for position in positions:
            if position >= 0:
                yield lines.record(position)


def _positions(paths: list[str], total: int, wanted: bytes | bytearray | None) -> array[int]:
    positions = array("q", [-1]) * total
    status = bytearray(total)
    for place, path in enumerate(paths):
        with scan(path) as records:
            for offset, record in records:
                index = record.i
                if index >= total or record.status == "attempt" or (wanted is not None and not wanted[index]):
                    continue
                if status[index] != OK:
                    status[index] = OK if record.status == "ok" else FAILED
                    positions[index] = place << _OFFSET_BITS | offset
    return positions


class _Lines:
    """Reads single lines of segments; keeps the files open, but not too many of them."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths
        self._descriptors: dict[int, int] = {}

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def record(self, position: int) -> Record:
        place, offset = position >> _OFFSET_BITS, position & ((1 << _OFFSET_BITS) - 1)
        if place not in self._descriptors:
            if len(self._descriptors) == _MAX_OPEN:
                self._close()
            self._descriptors[place] = os.open(self._paths[place], os.O_RDONLY | os.O_CLOEXEC)
        size, end, data = _LINE, -1, b""
        while end < 0:
            data = os.pread(self._descriptors[place], size, offset)
            end = data.find(b"\n")
            if end < 0 and len(data) < size:
                raise OutputError(f"{self._paths[place]} has changed while it was read; is another process writing?")
            size *= 4
        return decode(data[:end])
