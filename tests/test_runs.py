"""The process that lists a source."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from boxmill.errors import BoxmillError, SourceError
from boxmill.runs import Child

ORPHAN = """
import os, time
from boxmill.runs import Child

def work():
    print(os.getpid(), flush=True)
    time.sleep(1000)
    return {}

Child(work).result()
"""


def test_its_result_and_its_errors_come_over() -> None:
    assert Child(lambda: {"new": 3}).result() == {"new": 3}

    def fail() -> dict[str, object]:
        raise SourceError("nothing there")

    with pytest.raises(SourceError, match="nothing there"):
        Child(fail).result()
    with pytest.raises(BoxmillError, match="died"):
        Child(lambda: os._exit(3)).result()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_terminal_is_left_to_the_parent(number: signal.Signals) -> None:
    """A terminal sends it to both, and a run that stops in good order must not fail over its listing."""

    def work() -> dict[str, bool]:
        os.kill(os.getpid(), number)
        return {"alive": True}

    assert Child(work).result() == {"alive": True}


def test_one_that_is_abandoned_is_gone_at_once() -> None:
    read, write = os.pipe()
    child = Child(lambda: time.sleep(1000) or {})
    os.close(write)
    child.abandon()
    child.abandon()
    assert os.read(read, 1) == b""  # the child had the other copy of the pipe's end
    os.close(read)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: a parent's death is told by prctl")
def test_it_does_not_outlive_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip().isdecimal()
        parent.kill()
        assert parent.stdout.read() == ""  # comes to its end only when the child's copy of the pipe is closed
