"""Reading the members of an archive, for several threads at once: at random where its format allows it, or forwards."""

from __future__ import annotations

import os
import stat
import threading
import zlib
from io import FileIO
from typing import Protocol

from boxmill.errors import ImageError
from boxmill.sources.inflate import Damage, Inflated
from boxmill.sources.tars import BLOCK
from boxmill.sources.zips import read_member
from boxmill.types import Archive, EncodedItem

__all__ = ["ArchiveReader", "refused_item"]

_MOST_KEPT = 1024  # members, more than are ever under way at a time


def refused_item(index: int, key: str, code: str, message: str) -> EncodedItem:
    """An input of which the listing has already found out that it cannot be used; reading it says why."""

    def read() -> bytes:
        raise ImageError(code, message)

    return EncodedItem(index, key, read)


class _Access(Protocol):
    """How one kind of archive is read; `where` is what the listing noted of a member, `size` what it declares."""

    def read(self, where: tuple[int, ...], size: int) -> bytes:
        """The member's data; safe from several threads. Raises Damage and OSError."""


class ArchiveReader:
    """Opens an archive once, when its first member is read, and gives its members as items."""

    def __init__(self, archive: Archive, max_bytes: int) -> None:
        """`max_bytes`: of one member; larger ones are refused before anything is read."""
        self._max_bytes = max_bytes
        self._file = _File(archive)
        self._forward: _ForwardTar | None = None
        self._access: _Access
        if archive.kind == "zip":
            self._access = _ZipAccess(self._file)
        elif archive.kind == "tar":
            self._access = _TarAccess(self._file)
        else:
            self._access = self._forward = _ForwardTar(self._file, archive.kind.removeprefix("tar."))

    def item(self, index: int, key: str, where: str, size: int) -> EncodedItem:
        """One member as an input. Create those of a compressed archive in its order, shortly before they are read.

        `read` raises ImageError: `too_large`, `changed` (the archive is another one now), `corrupt`, `truncated`,
        `unsupported`; and OSError.
        """
        if size > self._max_bytes:
            message = f"it has {size} bytes; the limit is {self._max_bytes}: raise it or shrink the image"
            return refused_item(index, key, "too_large", message)
        place = tuple(int(number) for number in where.split(","))
        forward = self._forward
        if forward is None:
            return EncodedItem(index, key, lambda: self._read(place, size))
        forward.announce(place, size)
        return EncodedItem(index, key, lambda: self._read(place, size), lambda: forward.fetch(place, size))

    def _read(self, place: tuple[int, ...], size: int) -> bytes:
        try:
            return self._access.read(place, size)
        except Damage as damage:
            if not self._file.changed:
                raise damage.image_error() from damage
            message = f"the archive has changed since it was listed ({damage}); start a new run for it"
            raise ImageError("changed", message) from damage


class _File:
    """The archive's file, opened when it is first needed and closed with its last user."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self.changed = False  # since it was listed, as its size or time say; known once it is open

    @property
    def descriptor(self) -> int:
        """Raises OSError, and ImageError where something else has taken its place."""
        with self._lock:
            if self._file is None:
                file = open(self._archive.path, "rb", buffering=0, opener=_opener)  # noqa: SIM115
                now = os.fstat(file.fileno())
                if not stat.S_ISREG(now.st_mode):
                    file.close()
                    raise ImageError("changed", "expected an archive, found a pipe, a socket or a device in its place")
                self.changed = (now.st_size, now.st_mtime_ns) != (self._archive.size, self._archive.mtime_ns)
                self._file = file
            return self._file.fileno()


def _opener(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # without it, a named pipe is waited for until somebody writes


class _ZipAccess:
    """Any member at any time; its CRC-32 proves that it is the one that was listed."""

    def __init__(self, file: _File) -> None:
        self._file = file

    def read(self, where: tuple[int, ...], size: int) -> bytes:
        """See _Access."""
        offset, packed, method, crc = where
        return read_member(self._file.descriptor, (offset, packed, method, crc), size)


class _TarAccess:
    """Any member at any time. Its header (name, size, time) is compared: as much as is known of a file in a folder."""

    def __init__(self, file: _File) -> None:
        self._file = file

    def read(self, where: tuple[int, ...], size: int) -> bytes:
        """See _Access."""
        offset, check = where
        descriptor = self._file.descriptor
        _check_header(os.pread(descriptor, BLOCK, offset - BLOCK), check)
        return _whole(os.pread(descriptor, size, offset), size)


def _check_header(block: bytes, check: int) -> None:
    if zlib.crc32(block) != check:
        raise Damage("corrupt", "expected its header before its data in the archive, found something else")


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise Damage("truncated", f"the archive ends after {len(data)} of its {size} bytes")
    return data


class _ForwardTar:
    """A compressed tar, inflated once from front to back while its members are wanted in their order.

    Threads take inputs in order but reach them in any: what one passes over on its way and another has announced is
    kept for it. So it keeps at most what is under way, and goes back to the beginning only for what lies behind, as
    after a worker's death, where its successor begins with the inputs that were under way.
    """

    def __init__(self, file: _File, compression: str) -> None:
        self._file, self._compression = file, compression
        self._lock = threading.Lock()  # guards all below
        self._stream: Inflated | None = None
        self._announced: dict[int, tuple[int, int]] = {}  # offset -> CRC-32 of the header, size
        self._kept: dict[int, bytes | Damage | OSError | ImageError] = {}  # by offset, until it is read
        self._broken: tuple[int, Damage] | None = None  # from where on there are no data, and why

    def announce(self, where: tuple[int, ...], size: int) -> None:
        """This member will be wanted soon."""
        offset, check = where
        with self._lock:
            self._announced[offset] = check, size

    def fetch(self, where: tuple[int, ...], size: int) -> None:
        """Returns when the member's data, or the reason why there are none, are at hand; may take a long way."""
        offset, check = where
        with self._lock:
            self._fetch(offset, check, size)

    def read(self, where: tuple[int, ...], size: int) -> bytes:
        """See _Access; gives what was fetched away, so that it is not kept any longer."""
        offset, check = where
        with self._lock:
            self._fetch(offset, check, size)
            found = self._kept.pop(offset)
        if isinstance(found, Exception):
            raise found
        return found

    def _fetch(self, offset: int, check: int, size: int) -> None:
        if offset in self._kept:
            return
        self._announced.pop(offset, None)
        if self._stream is not None and offset - BLOCK < self._stream.position:
            self._stream = None
        position = 0 if self._stream is None else self._stream.position
        for before in sorted(one for one in self._announced if position <= one - BLOCK < offset):
            if len(self._kept) < _MOST_KEPT:
                self._keep(before, *self._announced.pop(before))
        self._keep(offset, check, size)

    def _keep(self, offset: int, check: int, size: int) -> None:
        try:
            self._kept[offset] = self._take(offset, check, size)
        except (Damage, OSError, ImageError) as error:
            self._kept[offset] = error

    def _take(self, offset: int, check: int, size: int) -> bytes:
        if self._broken is not None and offset + size > self._broken[0]:  # not inflating up to there once more
            raise self._broken[1]
        if self._stream is None:
            self._stream = Inflated(self._file.descriptor, self._compression)
        stream = self._stream
        try:
            stream.skip(offset - BLOCK - stream.position)
            header = stream.read(BLOCK)
            data = _whole(stream.read(size), size)
        except Damage as damage:
            self._broken = stream.position, damage
            raise
        _check_header(header, check)
        return data
