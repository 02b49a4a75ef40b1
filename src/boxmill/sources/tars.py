"""The tar format (POSIX.1-2017 pax and ustar; GNU's long names): the members of a stream, read forwards once.

The standard library's reader takes whatever a header declares into memory, so this one is bounded.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from boxmill.sources.inflate import Damage

__all__ = ["BLOCK", "DAMAGED", "NO_END", "Stream", "TarEntry", "is_header", "walk"]

BLOCK = 512
DAMAGED, NO_END = b"damaged", b"no end"  # kinds of entries that are none
_MOST_EXTENSION = 1 << 20  # bytes of a long name or of pax records
_MOST_SIZE = 1 << 62
_OCTAL = re.compile(rb"[0-7]*")
_REGULAR = (b"0", b"\0", b"7")
# no data follow these, whatever their size says
_EMPTY = (b"1", b"2", b"3", b"4", b"5", b"6")
_WHAT = {
    b"1": ("link", "it is a hard link; links are not followed"),
    b"2": ("link", "it is a symbolic link; links are not followed"),
    b"3": ("unsupported", "it is a device"),
    b"4": ("unsupported", "it is a device"),
    b"6": ("unsupported", "it is a pipe"),
    b"S": ("unsupported", "it is stored as a sparse file"),
    b"M": ("unsupported", "it is a part of a file that spans several volumes"),
}


class Stream(Protocol):
    """Bytes read forwards."""

    @property
    def position(self) -> int:
        """Bytes passed so far."""

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""

    def skip(self, size: int) -> int:
        """Passes bytes over; how many there were."""


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One member, or a place where there should have been one (DAMAGED, NO_END)."""

    kind: bytes  # the type flag
    name: bytes = b""
    size: int = 0  # bytes
    offset: int = 0  # of the data
    check: int = 0  # CRC-32 of its header, the block before the data
    problem: tuple[str, str] | None = None  # code and message, where it is no file that can be read


@dataclass(slots=True)
class _Pending:
    """What extension headers say of the member that follows."""

    name: bytes | None = None
    size: int | None = None
    problem: tuple[str, str] | None = None


@dataclass(slots=True)
class _Header:
    kind: bytes
    name: bytes
    size: int | None  # None: it cannot be
    check: int
    block: bytes = field(repr=False)


def walk(stream: Stream) -> Iterator[TarEntry]:
    """The members, each after its data have been passed over, so that one which is cut off is known as `truncated`.

    Behind a damaged header the next good one is looked for, as GNU tar does; the damage is an entry of its own.

    Args:
        stream: at the archive's first byte. Once it raises Damage, it must do so for ever.
    """
    pending, damaged = _Pending(), False
    while True:
        block, ending = _next_block(stream)
        if len(block) < BLOCK or not any(block):
            if ending is not None:
                yield TarEntry(DAMAGED, problem=ending)
            elif len(block) < BLOCK:
                yield TarEntry(NO_END)
            return
        header = _header(block)
        if header is None or header.size is None:
            if not damaged:
                yield TarEntry(DAMAGED)
            damaged, pending = True, _Pending()
            continue
        damaged = False
        if header.kind in b"xgLK":
            _extend(stream, header, pending)
            continue
        yield _passed(stream, _entry(stream, header, pending))
        pending = _Pending()


def _next_block(stream: Stream) -> tuple[bytes, tuple[str, str] | None]:
    try:
        return stream.read(BLOCK), None
    except Damage as damage:
        return b"", (damage.code, str(damage))


def is_header(block: bytes) -> bool:
    """Whether a block begins a member."""
    return len(block) == BLOCK and _header(block) is not None


def _header(block: bytes) -> _Header | None:
    stated = _number(block[148:156])
    if stated is None or stated > BLOCK * 255:  # tells most blocks that are none
        return None
    unsigned = sum(block) - sum(block[148:156]) + 8 * 32
    # some old writers added signed bytes
    if stated != unsigned and stated != unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:]):
        return None
    name, prefix = block[:100].split(b"\0", 1)[0], block[345:500].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return _Header(block[156:157], name, _number(block[124:136]), zlib.crc32(block), block)


def _number(digits: bytes) -> int | None:
    """Octal, or GNU's binary form; None: neither, or no size that a file can have."""
    if digits[0] & 0x80:
        value = int.from_bytes(bytes([digits[0] & 0x7F]) + digits[1:], "big")
    else:
        text = digits.split(b"\0", 1)[0].strip()
        if not _OCTAL.fullmatch(text):
            return None
        value = int(text or b"0", 8)
    return value if value <= _MOST_SIZE else None


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _extend(stream: Stream, header: _Header, pending: _Pending) -> None:
    """Takes in an extension header. Where its data are cut off, so is the archive, which is noticed next."""
    size = header.size or 0
    try:
        if size > _MOST_EXTENSION:
            stream.skip(_padded(size))
            if header.kind != b"g":
                pending.problem = ("unsupported", f"its extended header has {size} bytes; 1 MiB is taken")
            return
        data = stream.read(_padded(size))[:size]
    except Damage:
        return
    if header.kind == b"L":
        pending.name = data.split(b"\0", 1)[0]
    elif header.kind == b"x" and not _take_records(data, pending):
        pending.problem = ("corrupt", "its extended header is damaged")


def _take_records(data: bytes, pending: _Pending) -> bool:
    """Reads pax records, "length key=value" each; returns whether they are well formed."""
    at = 0
    while at < len(data):
        digits = data[at : at + 20].split(b" ", 1)[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or not record.endswith(b"\n") or at + length > len(data):
            return False
        if key == b"path" and pending.name is None:
            pending.name = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                return False
            pending.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            pending.problem = _WHAT[b"S"]
            pending.name = value if key == b"GNU.sparse.name" else pending.name
        at += length
    return True


def _entry(stream: Stream, header: _Header, pending: _Pending) -> TarEntry:
    name = header.name if pending.name is None else pending.name
    size = header.size or 0
    if pending.size is not None:
        size = pending.size
    kind = header.kind
    if kind == b"S":
        _skip_sparse_map(stream, header.block)
    if kind in _REGULAR:
        kind, problem = (b"5", None) if name.endswith(b"/") and kind != b"7" else (b"0", pending.problem)
    elif kind in (b"5", b"V", b"D", b"N"):  # folders, a label, GNU's lists of folders and of names
        kind, problem = b"5" if kind == b"5" else b"V", None
    else:
        problem = _WHAT.get(kind, ("unsupported", f"it is of the unknown type {kind!r}"))
    return TarEntry(kind, name, 0 if header.kind in _EMPTY else size, stream.position, header.check, problem)


def _skip_sparse_map(stream: Stream, block: bytes) -> None:
    """Old GNU sparse files have more of their map in blocks behind the header."""
    more = block[482]
    while more:
        try:
            block = stream.read(BLOCK)
        except Damage:
            return
        more = block[504] if len(block) == BLOCK else 0


def _passed(stream: Stream, entry: TarEntry) -> TarEntry:
    """The entry, after its data have been passed over."""
    problem = entry.problem
    try:
        there = stream.skip(entry.size)
        stream.skip(_padded(entry.size) - entry.size)
        if there < entry.size:
            problem = ("truncated", f"the archive ends after {there} of its {entry.size} bytes")
    except Damage as damage:
        there = stream.position - entry.offset
        problem = (damage.code, str(damage)) if there < entry.size else problem
    return TarEntry(entry.kind, entry.name, entry.size, entry.offset, entry.check, problem)
