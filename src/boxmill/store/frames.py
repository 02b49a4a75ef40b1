"""The journal's framing: `F <payload length> <crc32, 8 hex>`, a newline, the payload.

A reader goes from frame to frame and stops at the first that is not whole, so that damage costs what comes after it in
the same file and never yields a wrong record.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["Damaged", "FrameReader", "frame", "parse_frame"]

_HEADER = re.compile(rb"F ([1-9][0-9]{0,9}) ([0-9a-f]{8})\n")
_MAX_HEADER = 22  # bytes


class Damaged(ValueError):
    """A part of the journal is not what was written."""


def frame(payload: bytes) -> bytes:
    """Header and payload."""
    return b"F %d %08x\n%b" % (len(payload), zlib.crc32(payload), payload)


def parse_frame(data: bytes) -> bytes:
    """The payload of exactly one frame.

    Raises:
        Damaged: `data` is not one whole frame.
    """
    header = _HEADER.match(data)
    if header is None:
        raise Damaged("expected a frame's header")
    payload = data[header.end() :]
    if len(payload) != int(header[1]):
        raise Damaged(f"expected {int(header[1])} bytes in the frame, found {len(payload)}")
    _check(payload, header[2])
    return payload


def _check(payload: bytes, expected: bytes) -> None:
    found = zlib.crc32(payload)
    if found != int(expected, 16):
        raise Damaged(f"expected crc32 {expected.decode()}, the frame's bytes have {found:08x}")


class FrameReader:
    """Iterates over (offset of the payload, payload) of a file's whole frames from `start` on, once.

    Afterwards `end` is the offset behind the last whole frame, and `problem` says what stands there instead of another
    one (None: the file ends there).
    """

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self.end = start
        self.problem: str | None = None
        self._file = file
        file.seek(start)
        self._size = os.fstat(file.fileno()).st_size

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while self.end < self._size:
            try:
                offset, payload = self._next()
            except Damaged as error:
                self.problem = str(error)
                return
            self.end = offset + len(payload)
            yield offset, payload

    def reject(self, payload: bytes, problem: str) -> None:
        """Takes the frame just read back: it is whole, but what it holds is not of this format."""
        self.end -= len(payload) + len(b"F %d %08x\n" % (len(payload), 0))
        self.problem = problem

    def _next(self) -> tuple[int, bytes]:
        header = _HEADER.fullmatch(self._file.readline(_MAX_HEADER))
        if header is None:
            raise Damaged("expected a frame's header")
        length, offset = int(header[1]), self.end + header.end()
        if offset + length > self._size:  # asked first: a damaged length must not allocate gigabytes
            raise Damaged(f"expected {length} bytes in the frame, the file ends after {self._size - offset}")
        payload = self._file.read(length)
        if len(payload) != length:
            raise Damaged(f"expected {length} bytes in the frame, read {len(payload)}")
        _check(payload, header[2])
        return offset, payload
