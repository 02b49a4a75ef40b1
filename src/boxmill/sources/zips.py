"""The zip format: the central directory, read as a stream, and the data of one member (PKWARE APPNOTE 6.3.10)."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from boxmill.errors import SourceError
from boxmill.sources.inflate import Damage, expand

__all__ = ["METHODS", "ZipEntry", "check_local", "read_directory", "read_member"]

METHODS = (0, 8, 12, 14)  # stored, deflate, bzip2, LZMA
_END = struct.Struct("<4s4H2LH")  # end of central directory
_END64_PLACE = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s2B5H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONG, _MOST_COMMENT = 0xFFFFFFFF, 0xFFFF
_BLOCK = 1 << 20  # bytes of the directory read at once
_UNIX = (3, 19)  # systems whose attributes hold a Unix mode: Unix, macOS


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One line of the central directory."""

    name: bytes
    unicode_path: bytes | None  # the Info-ZIP field 0x7075, where its checksum is that of `name`
    flags: int
    method: int
    crc: int
    packed: int  # bytes in the archive
    size: int  # bytes, as declared
    offset: int  # of its local header in the file
    end: int  # its data reach at least to here
    system: int  # where it was made
    mode: int  # Unix type and permissions; 0: unknown

    @property
    def encrypted(self) -> bool:
        """Bits 0, 6 and 13; method 99 is AES."""
        return bool(self.flags & 0x2041) or self.method == 99

    @property
    def special(self) -> bool:
        """A device, a pipe or a socket."""
        kind = stat.S_IFMT(self.mode)
        return kind not in (0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR)


@dataclass(frozen=True, slots=True)
class _Directory:
    start: int  # in the file
    size: int
    shift: int  # what was put before the archive: offsets do not count it


def read_directory(path: str, descriptor: int, length: int) -> tuple[int, Iterator[ZipEntry]]:
    """Where the central directory begins, and lazily what is in it.

    Args:
        path: for messages.
        descriptor: the open file.
        length: its size in bytes.

    Raises:
        SourceError: it has no end of central directory, is one of several volumes, or (while entries are taken) its
            directory is damaged.
    """
    directory = _find(path, descriptor, length)
    return directory.start, _entries(path, descriptor, directory)


def _find(path: str, descriptor: int, length: int) -> _Directory:
    begin = max(0, length - _END.size - _MOST_COMMENT)
    tail = os.pread(descriptor, length - begin, begin)
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail) and _END.unpack_from(tail, at)[7] <= len(tail) - at - _END.size:
            return _directory(path, descriptor, begin + at, _END.unpack_from(tail, at))
        at = tail.rfind(b"PK\5\6", 0, at)
    raise SourceError(
        f"{path!r} has no central directory: it is cut off, or no zip archive; transfer it again (unzip -t checks it)"
    )


def _directory(path: str, descriptor: int, at: int, end: tuple[int, ...]) -> _Directory:
    disk, first_disk, size, offset, behind = end[1], end[2], end[5], end[6], at
    place = os.pread(descriptor, _END64_PLACE.size, at - _END64_PLACE.size) if at >= _END64_PLACE.size else b""
    if place.startswith(b"PK\6\7") and (0xFFFF in end[1:5] or _LONG in (size, offset)):
        record = b""
        # the place it names does not count what was put before the archive, so it may also stand just before
        for behind in (_END64_PLACE.unpack(place)[2], at - _END64_PLACE.size - _END64.size):
            record = os.pread(descriptor, _END64.size, behind) if 0 <= behind < at else b""
            if record.startswith(b"PK\6\6") and len(record) == _END64.size:
                break
        else:
            raise SourceError(f"{path!r}: its zip64 directory is damaged; transfer it again (unzip -t checks it)")
        disk, first_disk, size, offset = (_END64.unpack(record)[field] for field in (4, 5, 8, 9))
    if disk or first_disk:
        raise SourceError(f"{path!r} is one of several volumes; join them first (zip -s 0 volumes.zip --out whole.zip)")
    shift = behind - size - offset
    if shift < 0:
        raise SourceError(f"{path!r}: its central directory does not fit into it; it is cut off or damaged")
    return _Directory(offset + shift, size, shift)


def _entries(path: str, descriptor: int, directory: _Directory) -> Iterator[ZipEntry]:
    at, stop, buffer = directory.start, directory.start + directory.size, b""
    while True:
        if len(buffer) < _CENTRAL.size + 3 * 0xFFFF and at + len(buffer) < stop:
            buffer += os.pread(descriptor, min(_BLOCK, stop - at - len(buffer)), at + len(buffer))
        used = 0
        # as many as are surely whole, so that the buffer is cut once and not for each of them
        while len(buffer) - used >= _CENTRAL.size + 3 * 0xFFFF or (at + len(buffer) >= stop and len(buffer) > used):
            entry, length = _entry(path, buffer, used, at, directory.shift)
            used += length
            if entry is not None:
                yield entry
        if not used:
            if at < stop:
                raise _damaged(path, at)
            return
        at, buffer = at + used, buffer[used:]


def _damaged(path: str, at: int) -> SourceError:
    return SourceError(f"{path!r}: its central directory is damaged at byte {at}; transfer it again, or try zip -FF")


def _entry(path: str, buffer: bytes, at: int, start: int, shift: int) -> tuple[ZipEntry | None, int]:
    """The entry that begins at `at` of a buffer, itself at `start` of the file, and its length; None: a signature."""
    if buffer[at : at + 4] == b"PK\5\5" and at + 6 <= len(buffer):
        return None, 6 + int.from_bytes(buffer[at + 4 : at + 6], "little")
    if buffer[at : at + 4] != b"PK\1\2" or at + _CENTRAL.size > len(buffer):
        raise _damaged(path, start + at)
    fields = _CENTRAL.unpack_from(buffer, at)
    system, flags, method, crc, packed, size = fields[2], fields[4], fields[5], *fields[8:11]
    name_length, extra_length, comment_length, attributes, offset = *fields[11:14], fields[16], fields[17]
    name_at = at + _CENTRAL.size
    length = _CENTRAL.size + name_length + extra_length + comment_length
    if at + length > len(buffer):
        raise _damaged(path, start + at)
    name = buffer[name_at : name_at + name_length]
    extra = _extras(buffer[name_at + name_length : name_at + name_length + extra_length])
    longs = iter(
        struct.unpack(f"<{len(extra.get(1, b'')) // 8}Q", extra.get(1, b"")[: len(extra.get(1, b"")) // 8 * 8])
    )
    size = next(longs, size) if size == _LONG else size
    packed = next(longs, packed) if packed == _LONG else packed
    offset = (next(longs, offset) if offset == _LONG else offset) + shift
    end = offset + _LOCAL.size + packed  # the name in the local header may be another, even none
    mode = attributes >> 16 if system in _UNIX else 0
    unicode_path = _unicode_path(name, extra.get(0x7075, b""))
    return ZipEntry(name, unicode_path, flags, method, crc, packed, size, offset, end, system, mode), length


def _extras(data: bytes) -> dict[int, bytes]:
    """The extra fields by number; the first of each counts."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        number, length = struct.unpack_from("<HH", data, at)
        fields.setdefault(number, data[at + 4 : at + 4 + length])
        at += 4 + length
    return fields


def _unicode_path(name: bytes, field: bytes) -> bytes | None:
    """APPNOTE 4.6.9: version 1, CRC-32 of the name that it replaces, UTF-8."""
    if len(field) < 6 or field[0] != 1 or int.from_bytes(field[1:5], "little") != zlib.crc32(name):
        return None
    return field[5:]


def check_local(descriptor: int, offset: int) -> int:
    """Where the data of the member begin whose local header is at `offset`. Raises Damage: `corrupt`, there is none."""
    header = os.pread(descriptor, _LOCAL.size, offset)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
        raise Damage("corrupt", f"expected its local header at byte {offset} of the archive, found something else")
    fields = _LOCAL.unpack(header)
    return offset + _LOCAL.size + int(fields[9]) + int(fields[10])


def read_member(descriptor: int, where: tuple[int, int, int, int], size: int) -> bytes:
    """The data of one member, its checksum verified; safe from several threads.

    Args:
        descriptor: the open archive.
        where: offset of the local header, bytes in the archive, method, CRC-32.
        size: bytes, as declared.

    Raises:
        Damage: `corrupt`.
        OSError: it cannot be read.
    """
    offset, packed, method, crc = where
    at = check_local(descriptor, offset)
    left = packed

    def read(most: int) -> bytes:
        nonlocal at, left
        data = os.pread(descriptor, min(most, left), at)
        at, left = at + len(data), left - len(data)
        return data

    data = expand(read, method, size)
    if zlib.crc32(data) != crc:
        raise Damage("corrupt", f"its data have the CRC-32 {zlib.crc32(data):08x}, its header says {crc:08x}")
    return data
