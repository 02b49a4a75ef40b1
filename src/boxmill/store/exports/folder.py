"""The folder that an export fills: it appears whole, replaces only what an earlier export wrote, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from boxmill.errors import OutputError, UsageError
from boxmill.store.documents import pretty
from boxmill.store.durable import output_error, sync_directory, sync_file, write_all, write_file

__all__ = ["MARKER", "ExportFolder", "JsonList", "Stream"]

MARKER = "export.json"  # says that a folder is an export, and of what
_SYNCED_ALONE = 64  # files; more of them reach the disk together, or a million would take hours
_CHUNK = 1 << 20  # bytes written at once


class _Marker(msgspec.Struct):
    boxmill_export: int
    files: int


class ExportFolder:
    """Filled beside its place under another name, and put there when the block ends well.

    Used as `with ExportFolder(path) as folder`, and in it `create`, `stream`, `link`, and `describe` at the end.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Begins.

        Raises:
            UsageError: there is something at `path` that no export wrote.
            OutputError: the place cannot be written.
        """
        self.path = os.path.abspath(path)
        self.files = 0
        _check_replaceable(self.path)
        parent, name = os.path.split(self.path)
        self._partial = os.path.join(parent, f".{name}.boxmill-partial")
        self._old = os.path.join(parent, f".{name}.boxmill-old")
        self._folders: set[str] = set()
        try:
            for left in (self._partial, self._old):  # by an export that was killed
                shutil.rmtree(left, ignore_errors=True)
            os.makedirs(self._partial)
        except OSError as error:
            raise output_error(self.path, error) from error

    def create(self, relative: str, data: bytes) -> bool:
        """Makes one file, and the folders above it; returns False where that name is taken. Raises OutputError."""
        try:
            descriptor = os.open(self._place(relative), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            return False
        except OSError as error:
            raise output_error(os.path.join(self.path, relative), error) from error
        try:
            write_all(descriptor, data)
            if self.files < _SYNCED_ALONE:
                sync_file(descriptor)
        except OSError as error:
            raise output_error(os.path.join(self.path, relative), error) from error
        finally:
            os.close(descriptor)
        self.files += 1
        return True

    def link(self, relative: str, target: bytes) -> None:
        """Makes a symbolic link to a file elsewhere. Raises OutputError."""
        try:
            os.symlink(target, os.fsencode(self._place(relative)))
        except OSError as error:
            raise output_error(os.path.join(self.path, relative), error) from error
        self.files += 1

    def stream(self, relative: str) -> Stream:
        """Opens one large file for writing from its beginning to its end. Raises OutputError."""
        self.files += 1
        return Stream(self._place(relative), os.path.join(self.path, relative))

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Writes the file that says what this is. Raises OutputError."""
        document = {"boxmill_export": 1, "files": self.files, **facts}
        write_file(self._place(MARKER), pretty(document), durable=True)

    def __enter__(self) -> ExportFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            return
        try:
            if self.files > _SYNCED_ALONE:
                os.sync()
            if os.path.lexists(self.path):
                os.rename(self.path, self._old)
            os.rename(self._partial, self.path)
            sync_directory(os.path.dirname(self.path))
        except OSError as error:
            with suppress(OSError):
                os.rename(self._old, self.path)
            raise output_error(self.path, error) from error
        shutil.rmtree(self._old, ignore_errors=True)

    def _place(self, relative: str) -> str:
        path = os.path.join(self._partial, relative)
        folder = os.path.dirname(path)
        if folder not in self._folders:
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise output_error(os.path.join(self.path, os.path.dirname(relative)), error) from error
            self._folders.add(folder)
        return path


def _check_replaceable(path: str) -> None:
    """Nothing, an empty folder, or an export to which nobody has added a file."""
    if not os.path.lexists(path):
        return
    if os.path.islink(path) or not os.path.isdir(path):
        raise UsageError(f"--out: an export is a folder, but {path!r} is a file; give another name")
    if not os.listdir(path):
        return
    try:
        with open(os.path.join(path, MARKER), "rb") as file:
            marker = msgspec.json.decode(file.read(), type=_Marker)
    except (OSError, msgspec.DecodeError):
        raise UsageError(
            f"--out: {path!r} holds files that no export wrote, and they stay as they are; give an empty or new folder"
        ) from None
    present = sum(len(files) + _links(parent, folders) for parent, folders, files in os.walk(path)) - 1
    if present > marker.files:
        raise UsageError(
            f"--out: {path!r} holds {present - marker.files} more files than the export in it wrote{_newer(path)}; "
            "take yours out, or give another folder"
        )


def _links(parent: str, folders: list[str]) -> int:
    return sum(os.path.islink(os.path.join(parent, folder)) for folder in folders)


def _newer(path: str) -> str:
    """An example of what came later than the marker, which is written last."""
    written = os.lstat(os.path.join(path, MARKER)).st_mtime_ns
    for parent, _, files in os.walk(path):
        for name in files:
            if os.lstat(os.path.join(parent, name)).st_mtime_ns > written:
                return f", such as {os.path.relpath(os.path.join(parent, name), path)!r}"
    return ""


class Stream:
    """One file written in large pieces."""

    def __init__(self, path: str, shown: str) -> None:
        """`shown`: its name in messages."""
        self._shown = shown
        self._buffer = bytearray()
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise output_error(shown, error) from error

    def write(self, data: bytes) -> None:
        """Appends. Raises OutputError."""
        self._buffer += data
        if len(self._buffer) >= _CHUNK:
            self._flush()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        try:
            if kind is None:
                self._flush()
                sync_file(self._descriptor)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise output_error(self._shown, error) from error
        finally:
            os.close(self._descriptor)

    def _flush(self) -> None:
        try:
            write_all(self._descriptor, self._buffer)
        except OSError as error:
            raise output_error(self._shown, error) from error
        self._buffer.clear()


class JsonList:
    """A JSON array, one element a line, of which nothing stays in memory."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._encode = msgspec.json.Encoder().encode
        self._between = b"[\n"

    def add(self, element: object) -> None:
        """Appends an element. Raises OutputError."""
        self._stream.write(self._between + self._encode(element))
        self._between = b",\n"

    def __enter__(self) -> JsonList:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is None:
            self._stream.write(b"[]" if self._between == b"[\n" else b"\n]")
