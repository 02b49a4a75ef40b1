"""One process for a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boxmill.errors import OutputError, UsageError
from boxmill.store import RunLock

HOLD = "import sys; from boxmill.store import RunLock; lock = RunLock(sys.argv[1]); print(flush=True); sys.stdin.read()"
TRY = "import sys; from boxmill.store import RunLock; RunLock(sys.argv[1])"


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_second_process_is_refused_and_told_the_pid(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UsageError, match=f"held by process {holder.pid};"):
            RunLock(tmp_path)
        holder.kill()
    with RunLock(tmp_path):
        assert (tmp_path / "run.lock").read_text() == f"{os.getpid()}\n"
        refused = subprocess.run([sys.executable, "-c", TRY, str(tmp_path)], capture_output=True, env=environment)
        assert f"held by process {os.getpid()};".encode() in refused.stderr
    subprocess.run([sys.executable, "-c", TRY, str(tmp_path)], check=True, env=environment)


def test_a_child_that_inherited_it_holds_it_on(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor]) as child:
        lock.close()
        with pytest.raises(UsageError, match="held by process"):
            RunLock(tmp_path)
        assert child.stdin is not None
        child.stdin.close()
    RunLock(tmp_path).close()


def test_an_owner_that_ended_is_said_to_have(tmp_path: Path, environment: dict[str, str]) -> None:
    child = (
        "import subprocess, sys; from boxmill.store import RunLock; lock = RunLock(sys.argv[1]);"
        "worker = subprocess.Popen(['sleep', '30'], pass_fds=[lock.descriptor]);"
        "import os; print(os.getpid(), worker.pid)"
    )
    # the grandchild holds the lock and would hold a pipe: only a file lets the parent's end be seen
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", child, str(tmp_path)], check=True, stdout=out, env=environment)
    pid, worker = (tmp_path / "out").read_text().split()
    with pytest.raises(UsageError, match=rf"held by process {pid} \(which has ended; its worker is still finishing\)"):
        RunLock(tmp_path)
    os.kill(int(worker), signal.SIGKILL)


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"run\.lock"):
        RunLock(tmp_path / "none")
