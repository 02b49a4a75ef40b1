"""The zip archive that torch.save writes, read strictly: anything that it never writes is refused.

The format is PKWARE's APPNOTE. torch.save stores its members uncompressed, under one folder, once each; so two programs
cannot read two different things from an archive that passes here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from boxmill.errors import ModelError

__all__ = ["Archive", "Member", "parse_archive", "read_archive"]

_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_MAX_NAME = 512
_ZIP64_END = 76  # bytes of the second, longer end that torch.save writes before the plain one; it says the same
_MAX_FILE = 4 << 30  # beyond it a zip archive has another layout; a checkpoint has 5 MB to 2 GB
_DAMAGED = "the archive is damaged or cut short: {}; copy or download it again"


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the archive: its bytes are `start` to `stop` of the archive."""

    start: int
    stop: int
    crc: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Archive:
    """The bytes of a whole file and where its members lie; their names stand without the folder that holds all."""

    data: memoryview  # bytes, read-only
    members: Mapping[str, Member]

    def read(self, name: str, limit: int) -> bytes:
        """A copy of one member.

        Raises:
            ModelError: there is none of this name, it has more than `limit` bytes, or its checksum is wrong.
        """
        member = self.checked(name)
        if member.size > limit:
            raise ModelError(f"{name} has {member.size} bytes, expected at most {limit}")
        return bytes(self.data[member.start : member.stop])

    def checked(self, name: str) -> Member:
        """The member of this name; its bytes fit its checksum.

        Raises:
            ModelError: there is none, or they do not.
        """
        member = self.members.get(name)
        if member is None:
            raise ModelError(_DAMAGED.format(f"{name} is missing"))
        if zlib.crc32(self.data[member.start : member.stop]) != member.crc:
            raise ModelError(_DAMAGED.format(f"the checksum of {name} is wrong"))
        return member


def read_archive(path: Path) -> Archive:
    """Reads a file into memory, once; arrays made of it later are views.

    Raises:
        ModelError: it is no archive as torch.save writes it.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > _MAX_FILE:
        raise ModelError(f"the file has {size} bytes, expected at most {_MAX_FILE}")
    with path.open("rb") as file:
        return parse_archive(file.read(size))


def parse_archive(raw: bytes) -> Archive:
    """See `read_archive`.

    Raises:
        ModelError: these bytes are no archive as torch.save writes it.
    """
    data = memoryview(raw)
    start = len(data) - _END.size
    if start < 0:
        raise ModelError(_DAMAGED.format("it has no directory"))
    mark, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(data, start)
    if mark != b"PK\x05\x06":
        raise ModelError(_DAMAGED.format("it does not end with a directory"))
    if not count or disk or first_disk or here != count or comment or start - offset - size not in (0, _ZIP64_END):
        raise ModelError(_DAMAGED.format("its end does not fit its directory"))
    members: dict[str, Member] = {}
    extents = []
    for name, header, member in _directory(data, offset, offset + size, count):
        if name in members:
            raise ModelError(f"the archive holds {name} twice, which torch.save never writes")
        members[name] = member
        extents.append((header, member.stop))
    extents.sort()
    if any(stop > following for (_, stop), (following, _) in zip(extents, [*extents[1:], (offset, 0)], strict=True)):
        raise ModelError("members of the archive overlap, which torch.save never writes")
    return Archive(data, _without_folder(members))


def _directory(data: memoryview, position: int, end: int, count: int) -> Iterator[tuple[str, int, Member]]:
    """Name, offset of the local header and place of each member."""
    for _ in range(count):
        if position + _CENTRAL.size > end:
            raise ModelError(_DAMAGED.format("its directory ends too early"))
        entry = _CENTRAL.unpack_from(data, position)
        mark, flags, method, header = entry[0], entry[3], entry[4], entry[16]
        crc, packed, size, length, extra, comment = entry[7:13]
        position += _CENTRAL.size
        if mark != b"PK\x01\x02" or position + length + extra + comment > end:
            raise ModelError(_DAMAGED.format("its directory is not one"))
        raw = bytes(data[position : position + length])
        position += length + extra + comment
        name = _name(raw)
        if name.partition("/")[2].startswith(("code/", "constants.pkl")):  # before the code, which is compressed
            raise ModelError("it is a TorchScript program; give the checkpoint (.pt) that it was made from")
        if flags & _ENCRYPTED:
            raise ModelError(f"{name} is encrypted; give the checkpoint as torch.save wrote it")
        if method or packed != size:
            raise ModelError(f"{name} is compressed, which torch.save never does; give the file as it wrote it")
        yield name, header, _member(data, raw, header, size, crc)
    if position != end:
        raise ModelError(_DAMAGED.format("its directory does not fill its place"))


def _member(data: memoryview, raw: bytes, header: int, size: int, crc: int) -> Member:
    if header + _LOCAL.size > len(data):
        raise ModelError(_DAMAGED.format("a member lies outside"))
    entry = _LOCAL.unpack_from(data, header)
    mark, flags, method, length, extra = entry[0], entry[2], entry[3], entry[9], entry[10]
    start = header + _LOCAL.size + length + extra
    same = data[header + _LOCAL.size : start - extra] == raw
    if mark != b"PK\x03\x04" or method or flags & _ENCRYPTED or not same or start + size > len(data):
        raise ModelError(_DAMAGED.format("a member does not fit the directory"))
    return Member(start, start + size, crc)


def _name(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise ModelError("a name in the archive is no UTF-8") from None
    parts = name.split("/")
    if (
        len(name) > _MAX_NAME
        or not name.isprintable()
        or "\\" in name
        or not all(parts)
        or "." in parts
        or ".." in parts
    ):
        raise ModelError(f"the archive holds {name[:_MAX_NAME]!r}, which is no name that torch.save gives")
    return name


def _without_folder(members: Mapping[str, Member]) -> dict[str, Member]:
    folders = {name.partition("/")[0] for name in members}
    if len(folders) != 1 or not all("/" in name for name in members):
        raise ModelError("the archive holds more than one folder, or files outside it, which torch.save never writes")
    return {name.partition("/")[2]: member for name, member in members.items()}
