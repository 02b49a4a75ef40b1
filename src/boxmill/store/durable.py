"""Bytes that must reach the disk: write all, synchronise, rename, and say clearly when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from boxmill.errors import OutputError

__all__ = ["output_error", "sync_directory", "sync_file", "write_all", "write_file"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


def output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """The error a user sees when `path` cannot be written; its `errno` is that of `error`."""
    reason = f"disk full ({error.strerror})" if error.errno in _FULL else error.strerror or str(error)
    raised = OutputError(f"cannot write {os.fspath(path)!r}: {reason}; nothing already written is lost")
    raised.errno = error.errno
    return raised


def write_all(descriptor: int, data: bytes) -> None:
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


def write_file(path: str | os.PathLike[str], data: bytes, *, durable: bool = False) -> None:
    """Makes a file whole or not at all, in an existing folder; with `durable` it also survives a loss of power.

    Raises:
        OutputError: it cannot be written; what stood there before still does.
    """
    path = os.fspath(path)
    temporary = path + ".tmp"
    try:
        try:
            _write_new(temporary, data, durable=durable)
            os.rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):  # a full disk needs the space back; the first error is the one to tell
                os.unlink(temporary)
            raise
        if durable:
            sync_directory(os.path.dirname(path) or ".")
    except OSError as error:
        raise output_error(path, error) from error


def _write_new(path: str, data: bytes, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, data)
        if durable:
            sync_file(descriptor)
    finally:
        os.close(descriptor)
