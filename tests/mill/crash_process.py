"""boxmill with a worker that takes its time and says what it decodes.

`crash_process.py LOG MILLISECONDS run …` is `boxmill run …`, and starts its workers as `crash_process.py LOG
MILLISECONDS worker ORDERS REPORTS`. Each decoding adds a line `pid time key` to LOG in one write, before it begins, so
that a SIGKILL cannot hide it; time in nanoseconds of the system-wide monotonic clock.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from unittest import mock


def command(log: str, milliseconds: str, arguments: list[str]) -> int:
    from boxmill.cli import run_command
    from boxmill.mill import Mill

    worker = [sys.executable, __file__, log, milliseconds, "worker"]
    with mock.patch("boxmill.cli.run.Mill", functools.partial(Mill, worker=worker)):
        return run_command(arguments)


def worker(log: str, milliseconds: str, arguments: list[str]) -> int:
    from boxmill.images import DecodeLimits, decode
    from boxmill.types import Frame
    from boxmill.worker import main

    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def slow(data: bytes, key: str, limits: DecodeLimits) -> Frame:
        os.write(file, b"%d %d %s\n" % (os.getpid(), time.monotonic_ns(), key.encode()))
        time.sleep(float(milliseconds) / 1e3)
        return decode(data, key, limits)

    return main(arguments, decoder=slow)


if __name__ == "__main__":
    _, log, milliseconds, role, *rest = sys.argv
    sys.exit(worker(log, milliseconds, rest) if role == "worker" else command(log, milliseconds, [role, *rest]))
