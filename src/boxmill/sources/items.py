"""Inputs that were listed and frozen, as items to read: files, members of archives, and what can only be refused."""

from __future__ import annotations

from typing import Protocol

from boxmill.sources.listing import read_file
from boxmill.sources.members import ArchiveReader, refused_item
from boxmill.types import Archive, EncodedItem

__all__ = ["ItemReader"]


class _Frozen(Protocol):
    """What was noted of an input; `boxmill.store.Input` is one."""

    @property
    def index(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def path(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def archive(self) -> Archive | None: ...
    @property
    def member(self) -> str: ...
    @property
    def refused(self) -> tuple[str, str] | None: ...


class ItemReader:
    """Makes items; opens each archive once.

    Args:
        max_bytes: of one input.
        moved: the source lies elsewhere than when it was listed. Copying a file may give it another time, so that only
            its size then tells whether it is the same.
    """

    def __init__(self, max_bytes: int, *, moved: bool) -> None:
        self._max_bytes, self._moved = max_bytes, moved
        self._archives: dict[Archive, ArchiveReader] = {}

    def item(self, one: _Frozen) -> EncodedItem:
        """The input, which is not read yet."""
        if one.refused is not None:
            return refused_item(one.index, one.key, *one.refused)
        if one.archive is not None:
            if one.archive not in self._archives:
                self._archives[one.archive] = ArchiveReader(one.archive, self._max_bytes)
            return self._archives[one.archive].item(one.index, one.key, one.member, one.size)
        path, size, mtime_ns = one.path, one.size, -1 if self._moved else one.mtime_ns
        return EncodedItem(one.index, one.key, lambda: read_file(path, size, mtime_ns, self._max_bytes))
