"""Compressed bytes, a bounded piece at a time: no more is made of them than was asked for, whatever they claim."""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Protocol

from boxmill.errors import ImageError

__all__ = ["CHUNK", "COMPRESSIONS", "Damage", "Inflated", "expand"]

CHUNK = 1 << 20  # most bytes made at once
_FED = 1 << 16  # compressed bytes read at once
# xz -9 takes 65 MiB to read; a header may ask for 4 GiB
_MOST_LZMA = 256 << 20
_LZMA_MEMBER_HEADER = 9  # bytes before the data of a zip member: version (2), length (2), properties (5)


class Damage(Exception):
    """Compressed data end too early, contradict themselves or ask for too much; `code` as in ImageError."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def image_error(self) -> ImageError:
        """The failure of an input whose data these are."""
        return ImageError(self.code, str(self))


class _Engine(Protocol):
    """What bz2 and lzma offer; `_Deflate` gives zlib the same."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Deflate:
    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self._full = False  # the last call was stopped by its limit, so there may be more without any further input

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not (self._inner.eof or self._full or self._inner.unconsumed_tail)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        made = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._full = len(made) == max_length
        return made


# of a whole file: how it begins, and what reads it
COMPRESSIONS: Mapping[str, tuple[bytes, Callable[[], _Engine]]] = {
    "gz": (b"\x1f\x8b", lambda: _Deflate(31)),  # 31: gzip header and checksum, zlib.h
    "bz2": (b"BZh", bz2.BZ2Decompressor),
    "xz": (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_LZMA)),
}


def _step(engine: _Engine, data: bytes, most: int) -> bytes:
    try:
        return engine.decompress(data, most)
    except lzma.LZMAError as error:
        if "emory" in str(error):  # "Memory usage limit exceeded"
            message = (
                f"reading it would take more than {_MOST_LZMA >> 20} MiB of memory; compress it with less than that"
            )
            raise Damage("unsupported", message) from error
        raise Damage("corrupt", f"the compressed data are damaged ({error})") from error
    except (zlib.error, OSError, ValueError) as error:  # OSError is what bz2 raises
        raise Damage("corrupt", f"the compressed data are damaged ({error})") from error


class Inflated:
    """A compressed file, read forwards. Several streams in one file (pigz, pbzip2, xz) are one, as for gzip and tar."""

    def __init__(self, descriptor: int, compression: str) -> None:
        """Begins at the file's first byte; the descriptor's own position is neither used nor moved."""
        self._descriptor = descriptor
        self._magic, self._make = COMPRESSIONS[compression]
        self._engine = self._make()
        self._rest = memoryview(b"")  # made, not yet asked for
        self._damage: Damage | None = None  # what ends it
        self.fed = 0  # compressed bytes read so far
        self.position = 0  # in the inflated data

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end. Raises Damage, after which `position` is what could be read."""
        out = BytesIO()
        missing = size
        while missing and (piece := self._more(missing)):
            missing -= out.write(piece)
        return out.getvalue()  # which does not copy

    def skip(self, size: int) -> int:
        """Passes bytes over; returns how many there were. Raises Damage, as `read` does."""
        missing = size
        while missing and (piece := self._more(missing)):
            missing -= len(piece)
        return size - missing

    def _more(self, most: int) -> memoryview:
        if not self._rest:
            if self._damage is not None:
                raise self._damage
            try:
                self._rest = memoryview(self._make_more())
            except Damage as damage:
                self._damage = damage
                raise
        piece, self._rest = self._rest[:most], self._rest[most:]
        self.position += len(piece)
        return piece

    def _make_more(self) -> bytes:
        """Some bytes; none at the end of the last stream."""
        while True:
            data = b""
            if self._engine.eof:
                data = self._next_stream()
                if not data:
                    return b""
                self._engine = self._make()
            elif self._engine.needs_input:
                data = self._pull()
                if not data:
                    raise Damage(
                        "truncated", f"the archive ends in the middle of its compressed data ({self.fed} bytes)"
                    )
            if made := _step(self._engine, data, CHUNK):
                return made

    def _next_stream(self) -> bytes:
        """The first bytes of another stream behind one that has ended; zeros between are padding, others the end."""
        data = self._engine.unused_data.lstrip(b"\0")
        while len(data) < len(self._magic) and (piece := self._pull()):
            data = (data + piece).lstrip(b"\0")
        return data if data.startswith(self._magic) else b""

    def _pull(self) -> bytes:
        data = os.pread(self._descriptor, _FED, self.fed)
        self.fed += len(data)
        return data


def expand(read: Callable[[int], bytes], method: int, size: int) -> bytes:
    """One zip member's data.

    Args:
        read: gives the next compressed bytes, up to so many; none at the member's end.
        method: of compression, as zip numbers it: 0, 8, 12 or 14.
        size: bytes that it has to become; not one more is kept.

    Raises:
        Damage: `corrupt`, they become something else; `unsupported`.
    """
    engine = None if method == 0 else _member_engine(read, method, size)
    out = BytesIO()
    # one byte more than there should be is asked for, to notice that there is more
    while out.tell() <= size and (piece := _piece(engine, read, min(CHUNK, size + 1 - out.tell()))):
        out.write(piece)
    if out.tell() != size:
        many = "more" if out.tell() > size else f"{out.tell()}"
        raise Damage("corrupt", f"its header says {size} bytes, its data become {many}")
    return out.getvalue()


def _piece(engine: _Engine | None, read: Callable[[int], bytes], most: int) -> bytes:
    """Some bytes, none at the end."""
    if engine is None:
        return read(most)
    while not engine.eof:
        data = read(_FED) if (hungry := engine.needs_input) else b""
        if (made := _step(engine, data, most)) or (hungry and not data):
            return made
    return b""


def _member_engine(read: Callable[[int], bytes], method: int, size: int) -> _Engine:
    if method == 8:
        return _Deflate(-15)  # no header, zlib.h
    if method == 12:
        return bz2.BZ2Decompressor()
    header = read(_LZMA_MEMBER_HEADER)  # APPNOTE 5.8.8
    if len(header) < _LZMA_MEMBER_HEADER or header[2:4] != b"\5\0" or header[4] >= 9 * 5 * 5:
        raise Damage("corrupt", "its LZMA header is damaged")
    rest, lc = divmod(header[4], 9)
    pb, lp = divmod(rest, 5)
    asked = int.from_bytes(header[5:9], "little")
    # a match reaches back into what was made, so no window needs to be larger than that
    window = min(max(asked, 4096), max(size, 4096))
    chain = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": window}]
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)
    except (lzma.LZMAError, ValueError) as error:
        raise Damage("corrupt", f"its LZMA header is damaged ({error})") from error
