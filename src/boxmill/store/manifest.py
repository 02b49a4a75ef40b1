"""The frozen inputs of a run: manifest-0.jsonl, and one more for each time that inputs were added (FORMATS).

A header line with the root, a line for each input in order, a last line with their number and a CRC. Root and paths are
bytes, percent-encoded; an input has a path only where that is not simply its key below the root.

Where the source is an archive, the header describes it, the root is its path and "!", keys have its prefix, and a line
says where in the archive the input is (`member`, for the archive's reader) or why it cannot be used (`refused`).
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from boxmill.errors import OutputError
from boxmill.store.durable import WholeFile
from boxmill.types import Archive

__all__ = ["Input", "Manifest", "NewInput", "write_manifest"]

_CHUNK = 1 << 20  # bytes written and read at once
_NAME = re.compile(r"manifest-(0|[1-9]\d*)\.jsonl")
_TAIL = 200  # bytes that the last line fits in


@dataclass(frozen=True, slots=True)
class NewInput:
    """An input that gets its index from its place."""

    key: str
    path: bytes | None  # relative to the root, or absolute; None: the key
    size: int  # bytes
    mtime_ns: int  # -1: not known
    member: str = ""  # where in the archive it is
    refused: tuple[str, str] | None = None  # code and message, where the listing knows that it cannot be used


@dataclass(frozen=True, slots=True)
class Input:
    """One frozen input."""

    index: int
    key: str
    path: bytes  # absolute
    size: int  # bytes, when the manifest was written
    mtime_ns: int
    archive: Archive | None = None  # that it is a member of
    member: str = ""  # where in the archive it is
    refused: tuple[str, str] | None = None  # code and message, where the listing knew that it cannot be used

    @property
    def file(self) -> bytes:
        """The file that has to be there for it to be read: absolute path."""
        return self.path if self.archive is None else self.archive.path


class _Archive(msgspec.Struct):
    kind: str
    size: int
    mtime_ns: int
    prefix: str


class _Header(msgspec.Struct, omit_defaults=True):
    v: int
    root: str
    first: int  # index of the first input
    archive: _Archive | None = None


class _Line(msgspec.Struct, omit_defaults=True):
    i: int
    key: str
    size: int
    mtime_ns: int
    path: str | None = None
    member: str = ""
    refused: tuple[str, str] | None = None


class _Key(msgspec.Struct):
    key: str


class _Trailer(msgspec.Struct):
    count: int
    crc32: str  # of all lines before


def write_manifest(
    path: str | os.PathLike[str],
    root: bytes,
    entries: Iterable[NewInput],
    *,
    first: int = 0,
    archive: Archive | None = None,
) -> int:
    """Writes one manifest, whole or not at all and durably; memory does not grow with it.

    Args:
        path: `<run>/manifest-<n>.jsonl`.
        root: absolute folder that keys and relative paths are below.
        entries: the inputs in order.
        first: index of the first of them.
        archive: that all of them are members of; `root` is then its path and "!".

    Returns:
        How many there were.

    Raises:
        OutputError: it cannot be written.
    """
    with WholeFile(path, durable=True) as file:
        described = None
        if archive is not None:
            described = _Archive(archive.kind, archive.size, archive.mtime_ns, archive.prefix)
        return _write(file, _Header(1, quote_from_bytes(root), first, described), entries)


def _write(file: WholeFile, header: _Header, entries: Iterable[NewInput]) -> int:
    encoder = msgspec.json.Encoder()
    buffer = bytearray(encoder.encode(header) + b"\n")
    crc, index = 0, header.first
    for entry in entries:
        path = None if entry.path is None else quote_from_bytes(entry.path)
        line = _Line(index, entry.key, entry.size, entry.mtime_ns, path, entry.member, entry.refused)
        buffer += encoder.encode(line) + b"\n"
        index += 1
        if len(buffer) >= _CHUNK:
            crc = zlib.crc32(buffer, crc)
            file.write(buffer)
            buffer = bytearray()
    trailer = _Trailer(index - header.first, f"{zlib.crc32(buffer, crc):08x}")
    file.write(buffer + encoder.encode(trailer) + b"\n")
    return trailer.count


class Manifest:
    """All inputs of a run, read lazily: nothing of them stays in memory."""

    def __init__(self, directory: str | os.PathLike[str], root: bytes | None = None) -> None:
        """Reads the number of inputs.

        Args:
            directory: the run's.
            root: where the source lies now, if it has moved.

        Raises:
            OutputError: there is no manifest, or it is damaged.
        """
        numbers = sorted(int(match[1]) for name in os.listdir(directory) if (match := _NAME.fullmatch(name)))
        if not numbers or numbers != list(range(len(numbers))):
            raise OutputError(
                f"expected manifest-0.jsonl and so on in {os.fspath(directory)!r}, found numbers {numbers}; "
                "the run cannot be resumed, start a new one"
            )
        self.paths = [os.path.join(directory, f"manifest-{number}.jsonl") for number in numbers]
        self.total = 0
        self._root = root
        for path in self.paths:
            with open(path, "rb") as file:
                self.total += _trailer(path, file).count

    @property
    def root(self) -> bytes:
        """The folder that keys of the first manifest are below."""
        if self._root is not None:
            return self._root
        return unquote_to_bytes(self._first_line(self.paths[0]).root)

    @property
    def archive(self) -> Archive | None:
        """The source, if it is an archive, as it was when it was listed last."""
        return _archive(self._first_line(self.paths[-1]), self._root)

    def _first_line(self, path: str) -> _Header:
        with open(path, "rb") as file:
            return _header(path, file.readline())

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Input]:
        return self.open_inputs(bytes(self.total))

    def open_inputs(self, status: bytes | bytearray) -> Iterator[Input]:
        """The inputs whose byte in `status` (total,) is 0 at the time they are reached, in order.

        Raises:
            OutputError: a manifest is damaged.
        """
        for path, header, lines in self._parts():
            root = unquote_to_bytes(header.root) if self._root is None else self._root
            archive = _archive(header, self._root)
            for index, line in enumerate(lines, header.first):
                if status[index] == 0:
                    yield _input(path, line, index, root, archive)

    def some(self, indices: Iterable[int]) -> Iterator[Input]:
        """Those inputs, in the manifest's order.

        Raises:
            OutputError: a manifest is damaged.
        """
        without = bytearray(b"\1") * self.total
        for index in indices:
            without[index] = 0
        return self.open_inputs(without)

    def keys(self) -> Iterator[str]:
        """The key of every input, in order; several times as fast as the inputs.

        Raises:
            OutputError: a manifest is damaged.
        """
        decoder = msgspec.json.Decoder(_Key)
        for path, _, lines in self._parts():
            try:
                for line in lines:
                    yield decoder.decode(line).key
            except msgspec.DecodeError as error:
                raise _damaged(path, f"an input is not readable ({error})") from error

    def _parts(self) -> Iterator[tuple[str, _Header, Iterator[bytes]]]:
        """Path, header and lazily the inputs' lines of each manifest, which are read before the next part is asked."""
        expected = 0
        for path in self.paths:
            with open(path, "rb", buffering=_CHUNK) as file:
                count = _trailer(path, file).count
                file.seek(0)
                header = _header(path, file.readline())
                if header.first != expected:
                    raise _damaged(path, f"its first input should be {expected}, it is {header.first}")
                expected += count
                yield path, header, islice(file, count)

    def input(self, index: int) -> Input:
        """One input, found by reading up to it.

        Raises:
            IndexError: there are not so many.
            OutputError: a manifest is damaged.
        """
        if not 0 <= index < self.total:
            raise IndexError(f"expected an input below {self.total}, got {index}")
        only = bytearray(b"\1") * self.total
        only[index] = 0
        return next(self.open_inputs(only))

    def check(self) -> list[str]:
        """What is wrong with the manifests, read from beginning to end; nothing is an empty list."""
        problems = []
        for path in self.paths:
            with open(path, "rb") as file:
                trailer, crc, size = _trailer(path, file), 0, os.path.getsize(path)
                file.seek(0)
                rest = size - len(msgspec.json.encode(trailer)) - 1
                while rest and (chunk := file.read(min(rest, _CHUNK))):
                    crc, rest = zlib.crc32(chunk, crc), rest - len(chunk)
            if f"{crc:08x}" != trailer.crc32:
                problems.append(f"{os.path.basename(path)}: expected crc32 {trailer.crc32}, its bytes have {crc:08x}")
        return problems


def _damaged(path: str, problem: str) -> OutputError:
    return OutputError(f"{path}: {problem}; the manifest is damaged: restore it from a copy, or start a new run")


def _header(path: str, line: bytes) -> _Header:
    try:
        return msgspec.json.decode(line, type=_Header)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"its first line is no header ({error})") from error


def _trailer(path: str, file: BinaryIO) -> _Trailer:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    lines = file.read().splitlines()
    try:
        return msgspec.json.decode(lines[-1] if lines else b"", type=_Trailer)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"its last line does not say how many inputs there are ({error})") from error


_LINE = msgspec.json.Decoder(_Line)


def _archive(header: _Header, moved_to: bytes | None) -> Archive | None:
    if header.archive is None:
        return None
    path = (unquote_to_bytes(header.root) if moved_to is None else moved_to).removesuffix(b"!")
    one = header.archive
    return Archive(path, one.kind, one.size, one.mtime_ns, one.prefix)


def _input(path: str, line: bytes, index: int, root: bytes, archive: Archive | None) -> Input:
    try:
        entry = _LINE.decode(line)
    except msgspec.DecodeError as error:
        raise _damaged(path, f"input {index} is not readable ({error})") from error
    if entry.i != index:
        raise _damaged(path, f"expected input {index}, found {entry.i}")
    if entry.path is None:
        below = entry.key.removeprefix("" if archive is None else archive.prefix).encode()
    else:
        below = unquote_to_bytes(entry.path)
    path_now = os.path.join(root, below)
    return Input(index, entry.key, path_now, entry.size, entry.mtime_ns, archive, entry.member, entry.refused)
