"""What is in an archive: its images as inputs, in its own order, so that reading it goes forwards.

Nothing is extracted. What cannot be used (a link, an encrypted member, a name that leads out, …) stays an input and
fails with its reason; archives within archives are passed over.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from boxmill.errors import SourceError
from boxmill.sources.inflate import COMPRESSIONS, Damage, Inflated
from boxmill.sources.keys import FolderNames, suffix
from boxmill.sources.member_names import Member, member_keys, outside_name, plain_name, unsafe_because, zip_name
from boxmill.sources.tars import BLOCK, DAMAGED, NO_END, Stream, TarEntry, is_header, walk
from boxmill.sources.zips import METHODS, ZipEntry, read_directory
from boxmill.types import Archive

__all__ = ["ArchiveContents", "FileStream", "is_archive", "list_archive", "unreadable_archive"]

_ARCHIVES = (b".zip", b".tar", b".tar.gz", b".tgz", b".tar.bz2", b".tbz2", b".tbz", b".tar.xz", b".txz")
_OTHER_ARCHIVES = (b".7z", b".rar", b".tar.zst", b".tzst", b".tar.lz", b".tar.lz4", b".tar.z", b".tar.lzma")
_MOST_ENTRIES = 10_000_000
_BACKSLASH_SYSTEMS = (0, 6, 10, 14)  # MS-DOS, OS/2, NTFS, VFAT; APPNOTE 4.4.2
_METHOD_NAMES = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
# A photo may be very compressible, and a large file may be no photo; what is both is a bomb. See `_Guarded`.
_SUSPECT_SIZE, _SUSPECT_RATIO, _LOOKED_AT = 512 << 20, 200, 16 << 20


@dataclass(slots=True)
class ArchiveContents:
    """One archive's inputs."""

    archive: Archive
    keys: list[str]
    members: list[Member]  # of the same length
    skipped: Counter[str]
    remarks: list[str]


def is_archive(name: bytes) -> bool:
    """Whether a file of this name is looked into when it is the source."""
    return name.lower().endswith(_ARCHIVES)


def unreadable_archive(name: bytes) -> bool:
    """Whether it is named like an archive that is not looked into."""
    return name.lower().endswith(_OTHER_ARCHIVES)


def list_archive(path: bytes, wanted: Container[bytes]) -> ArchiveContents:
    """The inputs in an archive; a compressed tar is read once from end to end, of others only the headers are.

    Args:
        path: absolute.
        wanted: suffixes of inputs.

    Raises:
        SourceError: it cannot be read, or is no such archive.
    """
    collected = _Collected(wanted)
    shown = os.fsdecode(path)
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            kind = _kind(shown, file.read(2 * BLOCK))
            if kind == "zip":
                _list_zip(shown, file.fileno(), status.st_size, collected)
            elif kind == "tar":
                _list_tar(shown, FileStream(file.fileno(), status.st_size), collected)
            else:
                _list_tar(shown, _Guarded(Inflated(file.fileno(), kind.removeprefix("tar."))), collected)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"cannot read the archive {shown!r}: {error.strerror}") from error
    base = os.path.basename(path)
    prefix = FolderNames([], [base]).component(base, folder=True) + "!/"
    keys = member_keys(collected.members, prefix)
    archive = Archive(path, kind, status.st_size, status.st_mtime_ns, prefix)
    return ArchiveContents(archive, keys, collected.members, collected.skipped, collected.remarks)


def _kind(path: str, start: bytes) -> str:
    """zip, tar, or tar. with a compression; from the first bytes, since names are often wrong."""
    for compression, (magic, _) in COMPRESSIONS.items():
        if start.startswith(magic):
            return f"tar.{compression}"
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        raise SourceError(f"{path!r} is compressed with Zstandard, which is not read; decompress it first (zstd -d)")
    if start.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08")) or path.lower().endswith(".zip"):
        return "zip"  # also one with something before it, if its name says so
    if is_header(start[:BLOCK]) or (len(start) >= BLOCK and not any(start)):
        return "tar"
    raise SourceError(f"{path!r} is damaged or no archive: it does not begin like a zip, tar, gzip, bzip2 or xz file")


@dataclass(slots=True)
class _Collected:
    """Members, as they are met."""

    wanted: Container[bytes]
    members: list[Member] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    def add(self, name: bytes, member: Member, *, backslash: bool = False, always: bool = False) -> bool:
        """Takes a member in, or counts it as passed over; returns whether it was taken.

        Args:
            name: as in the archive.
            member: its name is still to be set.
            backslash: it was written where backslashes separate folders.
            always: whatever its suffix.
        """
        member.name = plain_name(name, backslash=backslash)
        *folders, base = member.name.split(b"/")
        if not always and suffix(base) not in self.wanted:
            kind = "archive" if is_archive(base) else os.fsdecode(suffix(base))
            self.skipped[kind or "without suffix"] += 1
            return False
        reason = unsafe_because(name)
        if reason is not None:
            member.name, member.refused = outside_name(name), ("unsafe_name", reason)
        elif b"__MACOSX" in folders or any(part.startswith(b".") for part in (*folders, base)):
            self.skipped["__MACOSX" if b"__MACOSX" in folders else "hidden"] += 1
            return False
        self.members.append(member)
        return True


def _check_count(path: str, count: int) -> None:
    if count > _MOST_ENTRIES:
        raise SourceError(f"{path!r} has more than {_MOST_ENTRIES} entries; split it")


def _list_zip(path: str, descriptor: int, length: int, collected: _Collected) -> None:
    directory, entries = read_directory(path, descriptor, length)
    begins, ends, places = array("q"), array("q"), array("q")  # of every entry; place among the members, or -1
    for entry in entries:
        name = zip_name(entry.name, utf8=bool(entry.flags & 0x800), unicode_path=entry.unicode_path)
        backslash = entry.system in _BACKSLASH_SYSTEMS
        if name.endswith((b"/", b"\\") if backslash else b"/") or stat.S_ISDIR(entry.mode):
            continue
        where = f"{entry.offset},{entry.packed},{entry.method},{entry.crc}"
        member = Member(b"", entry.size, where, _refused(entry, directory))
        taken = collected.add(name, member, backslash=backslash)
        if entry.end <= directory:
            begins.append(entry.offset)
            ends.append(entry.end)
            places.append(len(collected.members) - 1 if taken else -1)
            _check_count(path, len(places))
    for place in _overlapping(begins, ends, places):
        member = collected.members[place]
        member.refused = member.refused or ("overlap", "its data overlap another member's, as in a zip bomb")


def _refused(entry: ZipEntry, directory: int) -> tuple[str, str] | None:
    """Why an entry cannot be used, from its line in the central directory, which begins at `directory`."""
    if entry.encrypted:
        return "encrypted", "it is encrypted; unpack the archive with its password first"
    if stat.S_ISLNK(entry.mode):
        return "link", "it is a symbolic link; links are not followed"
    if entry.special:
        return "unsupported", "it is a device, a pipe or a socket"
    if entry.method not in METHODS or entry.flags & 0x20:
        name = _METHOD_NAMES.get(entry.method, f"method {entry.method}")
        return "unsupported", f"it is compressed with {name}; pack it again with deflate or without compression"
    if entry.end > directory:
        return "corrupt", "its data lie outside the archive's; it is damaged"
    return None


def _overlapping(begins: array[int], ends: array[int], places: array[int]) -> list[int]:
    """Places of the members whose bytes, from local header to the end of the data, are partly another's too."""
    if len(begins) < 2:
        return []
    begin, end = np.frombuffer(begins, np.int64), np.frombuffer(ends, np.int64)
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    farthest = np.maximum.accumulate(end)  # (N,) that anything up to here reaches
    hit = np.flatnonzero(begin[1:] < farthest[:-1])
    # who reaches that far: the last one that was the farthest when it came
    reaching = np.maximum.accumulate(np.where(end == farthest, np.arange(len(end)), 0))
    both: npt.NDArray[np.int64] = np.unique(np.concatenate([hit + 1, reaching[hit]]))
    found = np.frombuffer(places, np.int64)[order[both]]
    return [int(place) for place in found if place >= 0]


class FileStream:
    """An uncompressed file as a stream (`tars.Stream`)."""

    def __init__(self, descriptor: int, length: int) -> None:
        self._descriptor, self._length = descriptor, length
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        data = os.pread(self._descriptor, size, self.position)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        """Passes bytes over; how many there were."""
        there = max(0, min(size, self._length - self.position))
        self.position += there
        return there


class _Guarded:
    """A compressed file as a stream that ends where a bomb begins.

    Members can only be passed over by inflating them. One that says it has more than 512 MiB, and of which 16 MiB come
    from less than a 200th of that, would only keep the machine busy.
    """

    def __init__(self, inner: Inflated) -> None:
        self._inner = inner
        self._bomb: Damage | None = None

    @property
    def position(self) -> int:
        return self._inner.position

    def read(self, size: int) -> bytes:
        if self._bomb is not None:
            raise self._bomb
        return self._inner.read(size)

    def skip(self, size: int) -> int:
        if self._bomb is not None:
            raise self._bomb
        if size <= _SUSPECT_SIZE:
            return self._inner.skip(size)
        fed = self._inner.fed
        there = self._inner.skip(_LOOKED_AT)
        if there == _LOOKED_AT and there > _SUSPECT_RATIO * (self._inner.fed - fed):
            message = f"{size} bytes out of next to nothing: a bomb; the archive is not read any further"
            self._bomb = Damage("too_large", message)
            raise self._bomb
        return there + (self._inner.skip(size - there) if there == _LOOKED_AT else 0)


def _list_tar(path: str, stream: Stream, collected: _Collected) -> None:
    for count, entry in enumerate(walk(stream)):
        _check_count(path, count)
        if entry.kind in (DAMAGED, NO_END):
            _remark(path, entry, collected, first=count == 0)
        elif entry.kind not in (b"5", b"V"):
            bomb = entry.problem is not None and entry.problem[0] == "too_large"
            member = Member(b"", entry.size, f"{entry.offset},{entry.check}", entry.problem)
            collected.add(entry.name, member, always=bomb)


def _remark(path: str, entry: TarEntry, collected: _Collected, *, first: bool) -> None:
    if first and entry.kind == DAMAGED:
        reason = f" ({entry.problem[1]})" if entry.problem else ""
        raise SourceError(f"{path!r} does not begin with a tar header: it is damaged, or no tar archive{reason}")
    if entry.kind == NO_END:
        collected.remarks.append(f"{path!r} has no end mark: it may have been cut off, and files of it may be missing")
    elif entry.problem is not None:
        collected.remarks.append(f"{path!r} could not be read to its end: {entry.problem[1]}")
    else:
        collected.skipped["damaged header"] += 1
