"""One process for a run: `run.lock`, an flock that ends with the last process that inherited it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from types import TracebackType

from boxmill.errors import UsageError
from boxmill.store.durable import output_error, write_all

__all__ = ["RunLock"]

_PATIENCE = 0.2  # seconds that a new owner may take between locking the file and writing its pid


class RunLock:
    """The right to write to a run's directory. `descriptor` is inheritable: pass it to workers."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Takes the lock.

        Raises:
            UsageError: another process holds it; the message names its pid.
            OutputError: the file cannot be made or locked.
        """
        self._path = os.path.join(directory, "run.lock")
        try:
            self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise output_error(self._path, error) from error
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # overwritten before it is cut: where the disk is full, the old block is all there is
            line = b"%d\n" % os.getpid()
            write_all(self.descriptor, line)
            os.ftruncate(self.descriptor, len(line))
            os.set_inheritable(self.descriptor, True)
        except OSError as error:
            owner = self._owner() if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
            os.close(self.descriptor)
            if owner is None:
                raise output_error(self._path, error) from error
            message = f"the run {os.fspath(directory)!r} is held by process {owner}; wait for it or stop it"
            raise UsageError(message) from error

    def close(self) -> None:
        """Gives the lock up, as far as this process is concerned."""
        os.close(self.descriptor)

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _owner(self) -> str:
        deadline = time.monotonic() + _PATIENCE
        while True:
            pid = os.pread(self.descriptor, 20, 0).decode("ascii", "replace").strip()
            alive = pid.isdecimal() and _alive(int(pid))
            if alive or time.monotonic() > deadline:
                return pid if alive else f"{pid or 'unknown'} (which has ended; its worker is still finishing)"
            time.sleep(_PATIENCE / 10)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
