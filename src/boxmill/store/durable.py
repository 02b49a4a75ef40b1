"""Bytes that must reach the disk: write all, synchronise, rename, and say clearly when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from boxmill.errors import OutputError

__all__ = ["FileTree", "WholeFile", "output_error", "sync_directory", "sync_file", "write_all", "write_file"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


def output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """The error a user sees when `path` cannot be written; its `errno` is that of `error`."""
    full = error.errno in _FULL
    reason = f"disk full ({error.strerror})" if full else error.strerror or str(error)
    advice = "; make room and give the same command again" if full else ""
    raised = OutputError(f"cannot write {os.fspath(path)!r}: {reason}; nothing already written is lost{advice}")
    raised.errno = error.errno
    return raised


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Writes every byte: the kernel may take less than it was offered. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_file(descriptor: int) -> None:
    """Returns when the file's bytes and its length are on the disk.

    Raises:
        OSError: they may not be, and asking again would not tell: Linux drops the pages it could not write and reports
            that once. The descriptor must not be used again.
    """
    if sys.platform == "darwin":
        import fcntl

        # fsync(2) of macOS leaves the data in the drive's cache; its manual names this call instead
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Returns when the names in a folder (created, renamed, removed) are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WholeFile:
    """A file that is made whole or not at all: written beside its place, and renamed when the block ends well.

    With `durable` it also survives a loss of power. Used as `with WholeFile(path) as file: file.write(...)`.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = False) -> None:
        self._path = os.fspath(path)
        self._temporary = self._path + ".tmp"
        self._durable = durable
        with self._errors():
            self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def write(self, data: bytes | bytearray) -> None:
        """Appends. Raises OutputError."""
        with self._errors():
            write_all(self._descriptor, data)

    def __enter__(self) -> WholeFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        with self._errors():
            try:
                if kind is None and self._durable:
                    sync_file(self._descriptor)
            finally:
                os.close(self._descriptor)
            if kind is None:
                os.rename(self._temporary, self._path)
                if self._durable:
                    sync_directory(os.path.dirname(self._path) or ".")
        if kind is not None:
            self._discard()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._discard()
            raise output_error(self._path, error) from error

    def _discard(self) -> None:
        with contextlib.suppress(OSError):  # a full disk needs the space back; the first error is the one to tell
            os.unlink(self._temporary)


def write_file(path: str | os.PathLike[str], data: bytes, *, durable: bool = False) -> None:
    """Makes a file in an existing folder from `data`, whole or not at all; `durable` as for `WholeFile`.

    Raises:
        OutputError: it cannot be written; what stood there before still does.
    """
    with WholeFile(path, durable=durable) as file:
        file.write(data)


class FileTree:
    """Many files below one folder, each whole or not at all; usable from several threads at once."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.fspath(root)
        self._folders: set[str] = set()

    def path(self, relative: str) -> str:
        """Where a file stands."""
        return os.path.join(self._root, relative)

    def write(self, path: str, data: bytes) -> None:
        """Makes or replaces a file at a `path` of this tree, and the folders above it.

        Raises:
            OutputError: it cannot be written; what stood there before still does.
        """
        folder = os.path.dirname(path)
        if folder not in self._folders:
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise output_error(folder, error) from error
            self._folders.add(folder)
        write_file(path, data)
