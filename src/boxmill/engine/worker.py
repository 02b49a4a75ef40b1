"""The worker's end of the pipes to its supervisor.

A worker process calls, in this order: `WorkerLink(...)`, `receive`, `watch`, `ready`, then works, then `conclude`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from boxmill.engine.clock import TimeTable
from boxmill.engine.handed import Handed
from boxmill.engine.protocol import (
    LAST,
    STOP,
    bye_line,
    end_line,
    kept_line,
    leave_line,
    ready_line,
    start_line,
    taken,
    times_line,
)
from boxmill.errors import BoxmillError
from boxmill.runtimes.device import DeviceFault

__all__ = ["DEVICE_FAULT", "ORPHANED", "WorkerLink", "die_with_parent"]

ORPHANED = 70  # exit code of a worker whose supervisor died
DEVICE_FAULT = 71  # of one whose device has faulted; without a bye, so that another worker goes on
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class WorkerLink:
    """Reports to the supervisor (any thread may) and listens to it; see `boxmill.engine.protocol`.

    Args:
        orders: descriptor to read the job and `stop` from; nobody but the supervisor may hold its other end.
        reports: descriptor to write reports to.
    """

    def __init__(self, orders: int, reports: int) -> None:
        self._orders = os.fdopen(orders, "rb", buffering=0)
        self._reports = reports

    def receive(self) -> dict[str, Any]:
        """The job, as the supervisor's side gave it to `start_worker`; waits for it."""
        line = self._orders.readline()
        if not line.endswith(b"\n"):
            os._exit(ORPHANED)
        job: dict[str, Any] = json.loads(line)
        return job

    def watch(self, on_stop: Callable[[], None], inputs: Handed | None = None) -> None:
        """From now on: calls `on_stop` when told to stop, and dies at once when the supervisor does.

        `inputs`: where what is handed out goes; closed after the last.

        SIGINT and SIGTERM are left to the supervisor, which says `stop`: a service manager sends them to every process
        of a run, and the worker has to finish what is under way. Call it from the main thread.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        die_with_parent()
        threading.Thread(target=self._listen, args=(on_stop, inputs), daemon=True).start()

    def _listen(self, on_stop: Callable[[], None], inputs: Handed | None) -> None:
        while line := self._orders.readline():
            if line == STOP:
                on_stop()
            if inputs is not None:
                inputs.add(taken(line))
            if line == LAST and inputs is not None:
                inputs.close()
        os._exit(ORPHANED)

    def ready(self, facts: Mapping[str, Any]) -> None:
        """See Reports; `facts` must be JSON."""
        self._write(ready_line(facts))

    def start(self, index: int) -> None:
        """See Reports."""
        self._write(start_line(index))

    def end(self, index: int, failed: bool) -> None:
        """See Reports."""
        self._write(end_line(index, failed))

    def leave(self, index: int) -> None:
        """See Reports."""
        self._write(leave_line(index))

    def kept(self, count: int) -> None:
        """See Reports."""
        self._write(kept_line(count))

    def times(self, table: TimeTable) -> None:
        """See Reports."""
        self._write(times_line(table))

    def bye(self, error: BoxmillError | None) -> None:
        """See Reports."""
        self._write(bye_line(error))

    def conclude(self, work: Callable[[], TimeTable]) -> int:
        """Does `work` and says bye with its times or its error; returns the process's exit code.

        An error that Python can still report is no reason to try again: the supervisor raises it. A device that has
        faulted is one: nothing is said, and the process has to end by `os._exit`, because libraries that are torn down
        would call the device. `work` must return only when everything that it leaves behind is durable.
        """
        try:
            self.times(work())
        except BoxmillError as error:
            self.bye(error)
            return error.exit_code
        except DeviceFault:
            traceback.print_exc()
            sys.stderr.flush()
            return DEVICE_FAULT
        except Exception as error:  # a defect: shown here in full, and in the supervisor by name
            traceback.print_exc()
            self.bye(BoxmillError(f"internal error: {type(error).__name__}: {error}"))
            return BoxmillError.exit_code
        self.bye(None)
        return 0

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._reports, line)
            while written < len(line):  # only lines above PIPE_BUF
                written += os.write(self._reports, line[written:])
        except BrokenPipeError:
            os._exit(ORPHANED)


def die_with_parent() -> None:
    """Linux: SIGKILL to this process when its parent dies.

    Also for native code that hangs with the GIL, where no thread of this process could act.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
