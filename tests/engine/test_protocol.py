"""Every report survives the pipe, and nothing else is taken for one."""

from __future__ import annotations

import os
import subprocess
from typing import Any
from unittest.mock import Mock, call

import pytest

from boxmill.engine import TimeTable, WorkerProcess, protocol
from boxmill.errors import BoxmillError, ImageError, OutputError, UsageError

TABLE = TimeTable(2, 3.25, 4.5, {"read": 1.0}, {"next input": 0.5}, 5.0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (protocol.ready_line({"runtime": "fäke", "n": 1}), call.ready({"runtime": "fäke", "n": 1})),
        (protocol.start_line(17), call.start(17)),
        (protocol.end_line(17, failed=False), call.end(17, False)),
        (protocol.end_line(0, failed=True), call.end(0, True)),
        (protocol.kept_line(64), call.kept(64)),
        (protocol.times_line(TABLE), call.times(TABLE)),
        (protocol.bye_line(None), call.bye(None)),
    ],
)
def test_round_trip(line: bytes, expected: Any) -> None:
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    receiver = Mock(spec=["ready", "start", "end", "kept", "times", "bye"])
    protocol.deliver(line[:-1], receiver)
    assert receiver.mock_calls == [expected]


class Special(OutputError):
    """Of a kind that the supervisor does not know."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UsageError("line 1\nline 2 ä"), UsageError),
        (Special("full"), OutputError),
        (ImageError("x", "bad"), BoxmillError),
    ],
)
def test_errors_keep_their_exit_code(error: BoxmillError, kind: type[BoxmillError]) -> None:
    receiver = Mock()
    protocol.deliver(protocol.bye_line(error)[:-1], receiver)
    (received,) = receiver.bye.call_args.args
    assert type(received) is kind
    assert str(received) == str(error)
    assert received.exit_code == kind.exit_code


@pytest.mark.parametrize("line", [b"", b"start", b"start x", b"stop 1", b"end", b"bye {", b"\xff\x00"])
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        protocol.deliver(line, Mock())


def test_lines_are_whole_however_they_arrive() -> None:
    reports, their_reports = os.pipe()
    worker = WorkerProcess(subprocess.Popen(["sleep", "100"], start_new_session=True), os.dup(1), reports)
    assert list(worker.lines()) == []
    os.write(their_reports, b"start 1\nsta")
    assert list(worker.lines()) == [b"start 1"]
    os.write(their_reports, b"rt 2\n")
    assert list(worker.lines()) == [b"start 2"]
    os.write(their_reports, b"end 2\nend")
    os.close(their_reports)
    assert list(worker.lines()) == [b"end 2"]
    assert list(worker.lines()) == []
    worker.close()
    assert worker.returncode == -9
