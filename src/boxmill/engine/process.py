"""A worker process as its supervisor holds it: started, listened to, killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

__all__ = ["WorkerProcess", "start_worker"]

_PIPE = 1 << 20  # bytes; more than a pipe holds, so that one drain empties it


class WorkerProcess:
    """One worker, alive or dead, and the supervisor's ends of its two pipes."""

    def __init__(self, process: subprocess.Popen[bytes], orders: int, reports: int) -> None:
        self._process, self._orders, self._reports = process, orders, reports
        os.set_blocking(reports, False)
        self._hangup = select.poll()
        self._hangup.register(reports, 0)  # wakes up when the worker closes its end, but not at every report
        self._closed = False
        self._cut = b""  # a line whose end has not come yet

    @property
    def pid(self) -> int:
        """Process id, also that of its session."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it lives; negative: the signal that ended it."""
        return self._process.poll()

    def order(self, line: bytes) -> None:
        """Tells the worker something; one that is dead is told nothing, its death will be noticed anyway."""
        view = memoryview(line)
        with suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._orders, view) :]

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or at once when the worker exits."""
        if not self._closed:
            self._closed = bool(self._hangup.poll(seconds * 1e3))
        else:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def lines(self) -> Iterator[bytes]:
        """Whole lines that the worker has reported, without newlines; never waits. A line cut by death is dropped."""
        data = self._read()
        *whole, self._cut = (self._cut + data).split(b"\n")
        return iter(whole)

    def _read(self) -> bytes:
        chunks = []
        size = 0
        with suppress(BlockingIOError):
            while size < _PIPE and (chunk := os.read(self._reports, 1 << 16)):
                chunks.append(chunk)
                size += len(chunk)
        return b"".join(chunks)

    def kill(self) -> None:
        """SIGKILL to the worker and all that it started, if it still lives."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kills it if need be, waits for its end, closes the pipes."""
        self.kill()
        self._process.wait()
        os.close(self._orders)
        os.close(self._reports)


def start_worker(
    command: Sequence[str], job: Mapping[str, Any], inherit: Sequence[int] = (), output: int = 2
) -> WorkerProcess:
    """Starts a worker in its own session, so that Ctrl-C reaches only the supervisor, and gives it its job.

    Call it from the thread that supervises: on Linux the worker dies with that thread.

    Args:
        command: program and arguments; the two descriptors for `WorkerLink`, orders and reports, are appended.
        job: JSON; what `WorkerLink.receive` returns.
        inherit: further descriptors that stay open in the worker, such as the run's lock.
        output: descriptor for whatever libraries and tracebacks print; stdout is for the supervisor's results.

    Raises:
        OSError: the program cannot be started.
    """
    line = json.dumps(job).encode() + b"\n"
    their_orders, orders = os.pipe()
    reports, their_reports = os.pipe()
    ours, theirs = (orders, reports), (their_orders, their_reports)
    try:
        process = subprocess.Popen(
            [*command, *map(str, theirs)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(*theirs, *inherit),
        )
    except OSError:
        for descriptor in ours:
            os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    worker = WorkerProcess(process, *ours)
    worker.order(line)
    return worker
