"""The real loop in a real worker process: evil inputs, orders, and a supervisor that dies."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_supervisor import FileLedger

from boxmill.engine import Limits, Start, Supervisor, TimeTable, WorkerLink, WorkerProcess, start_worker
from boxmill.engine.worker import ORPHANED
from boxmill.errors import BoxmillError, OutputError

EVIL_WORKER = [sys.executable, str(Path(__file__).with_name("evil_worker.py"))]


@pytest.mark.parametrize(
    ("evil", "code", "limits"),
    [
        ("crash", "crashed", Limits()),
        ("hang", "timeout", Limits(image_timeout=0.5)),
        ("eat", "memory", Limits(memory=400 << 20)),
    ],
)
def test_a_planted_input_fails_alone_in_the_real_loop(tmp_path: Path, evil: str, code: str, limits: Limits) -> None:
    ledger = FileLedger(tmp_path / "journal")
    inputs = [str(index) for index in range(40)]
    inputs[17] = evil
    job = {"journal": str(ledger.path), "inputs": inputs}

    def spawn(start: Start) -> WorkerProcess:
        return start_worker(EVIL_WORKER, {**job, "alone": start.suspects})

    ending = Supervisor(spawn, ledger, len(inputs), limits).execute()
    assert ledger.states() == {**dict.fromkeys(range(40), "ok"), 17: "failed"}
    assert ledger.failures[17][0] == code
    assert ending.deaths == {code: 4}
    table = ending.table
    assert table.workers == 3
    accounted = sum(table.stages.values()) + sum(table.waits.values()) + table.unexplained
    assert accounted == pytest.approx(3 * table.wall)


def gone(pid: int) -> bool:
    """Dead, be it as a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_worker_whose_supervisor_dies_exits_even_if_native_code_hangs_with_the_gil(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    script = f"""
import sys, time
from boxmill.engine import start_worker
worker = start_worker({EVIL_WORKER!r}, {{"journal": {str(journal)!r}, "inputs": ["hang"], "alone": []}})
while b"start 0" not in list(worker.lines()):
    time.sleep(0.01)
print(worker.pid, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        time.sleep(0.1)  # by now it hangs
        alive = not gone(pid)
        supervisor.kill()
    assert alive
    wait_until(lambda: gone(pid))


def link_process(script: str) -> tuple[subprocess.Popen[bytes], int, int]:
    """A process with a WorkerLink `link`; the ends of its orders and reports."""
    their_orders, orders = os.pipe()
    reports, their_reports = os.pipe()
    code = f"from boxmill.engine import WorkerLink\nlink = WorkerLink({their_orders}, {their_reports})\n" + script
    process = subprocess.Popen([sys.executable, "-c", code], pass_fds=(their_orders, their_reports))
    os.close(their_orders)
    os.close(their_reports)
    return process, orders, reports


WATCHING = """
import threading
stopped = threading.Event()
link.receive()
link.watch(stopped.set)
link.ready({})
stopped.wait()
link.kept(7)
threading.Event().wait()
"""


@pytest.fixture
def watching() -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    process, orders, reports = link_process(WATCHING)
    os.write(orders, b"{}\n")
    assert os.read(reports, 100) == b"ready {}\n"
    yield process, orders, reports
    process.kill()
    process.wait()
    os.close(reports)


def test_the_end_of_the_orders_ends_the_worker(watching: tuple[subprocess.Popen[bytes], int, int]) -> None:
    process, orders, _ = watching
    os.close(orders)
    assert process.wait(10) == ORPHANED


def test_signals_are_left_to_the_supervisor_which_says_stop(
    watching: tuple[subprocess.Popen[bytes], int, int],
) -> None:
    process, orders, reports = watching
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert not select.select([reports], [], [], 0.1)[0]
    os.write(orders, b"stop\n")
    assert os.read(reports, 100) == b"kept 7\n"
    os.close(orders)


def test_a_worker_without_a_job_or_a_listener_exits() -> None:
    process, orders, reports = link_process("link.receive()")
    os.close(orders)
    assert process.wait(10) == ORPHANED
    os.close(reports)
    process, orders, reports = link_process("link.receive()\nwhile True: link.start(1)")
    os.close(reports)
    os.write(orders, b"{}\n")
    assert process.wait(10) == ORPHANED
    os.close(orders)


def concluded(work: Callable[[], TimeTable]) -> tuple[int, bytes]:
    orders, reports = os.pipe(), os.pipe()
    link = WorkerLink(orders[0], reports[1])
    code = link.conclude(work)
    said = os.read(reports[0], 10_000)
    for descriptor in (orders[1], *reports):
        os.close(descriptor)
    return code, said


def test_conclude_says_how_it_ended(capfd) -> None:
    table = TimeTable(1, 2.0, 1.5, {"read": 1.0}, {}, 1.0)
    code, said = concluded(lambda: table)
    assert code == 0
    assert said.startswith(b'times {"workers": 1')
    assert said.endswith(b"\nbye null\n")

    def full() -> TimeTable:
        raise OutputError("disk full")

    assert concluded(full) == (6, b'bye {"class": "OutputError", "message": "disk full", "errno": null}\n')

    def defect() -> TimeTable:
        raise KeyError("x")

    code, said = concluded(defect)
    assert code == BoxmillError.exit_code
    assert b"internal error: KeyError: 'x'" in said
    assert "Traceback" in capfd.readouterr().err
