"""One worker after another: whatever an input does, it alone fails, for the right reason, and the rest is done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from boxmill.engine import Limits, Start, Supervisor, WorkerProcess, start_worker
from boxmill.engine.clock import Clock, time_table
from boxmill.engine.protocol import bye_line, times_line
from boxmill.errors import BoxmillError, ModelError, OutputError

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")
PYTHON = [sys.executable, "-S", "-E"]
LISTEN = "import os, sys, time; o = os.fdopen(int(sys.argv[1]), 'rb', 0); job = o.readline(); r = int(sys.argv[2])\n"


class FileLedger:
    """The journal of `fake_worker.py`, and attempts beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self.deaths: list[tuple[int, str]] = []
        self.failures: dict[int, tuple[str, str]] = {}
        self.refresh()

    def refresh(self, place: int = 0) -> None:
        self.lines = [line.split() for line in self.path.read_text().splitlines()]
        self.ended = {int(index) for index, _ in self.lines}

    def counts(self) -> tuple[int, int]:
        return len(self.ended), len(self.failures)

    def finished(self, index: int) -> bool:
        return index in self.ended

    def attempts(self, index: int) -> int:
        return sum(dead == index for dead, _ in self.deaths)

    def record_attempt(self, index: int, cause: str) -> None:
        self.deaths.append((index, cause))

    def record_failure(self, index: int, code: str, message: str) -> None:
        self.failures[index] = code, message
        with self.path.open("a") as file:
            file.write(f"{index} failed\n")
        self.refresh()

    def states(self) -> dict[int, str]:
        """As the file says; each input is in it once."""
        self.refresh()
        assert len(self.lines) == len(self.ended)
        return {int(index): state for index, state in sorted(self.lines, key=lambda line: int(line[0]))}


class Bench:
    """A run of `total` inputs, some of them evil."""

    def __init__(self, folder: Path, total: int, evil: Mapping[int, str], together: int = 3) -> None:
        self.ledger = FileLedger(folder / "journal")
        self.total = total
        self.asked: list[list[int]] = []
        self.job = {"journal": str(self.ledger.path), "total": total, "evil": evil, "together": together}
        self.job |= {"bytes": 200 << 20, "pace": 0}

    def spawn(self, start: Start) -> WorkerProcess:
        self.asked.append(start.suspects)
        return start_worker([*PYTHON, str(FAKE_WORKER)], {**self.job, "alone": start.suspects})

    def supervisor(self, **limits: Any) -> Supervisor:
        return Supervisor(self.spawn, self.ledger, self.total, Limits(**limits))


def scripted(folder: Path, script: str, total: int = 5) -> tuple[Supervisor, FileLedger]:
    """A supervisor whose workers all run `script`."""
    ledger = FileLedger(folder / "journal")
    command = [*PYTHON, "-c", LISTEN + script]
    return Supervisor(lambda start: start_worker(command, {}), ledger, total, Limits()), ledger


def test_an_undisturbed_run_takes_one_worker(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10, {})
    seen, facts = [], []
    ending = bench.supervisor().execute(observe=seen.append, on_ready=facts.append)
    assert (ending.interrupted, ending.restarts, ending.deaths) == (False, 0, {})
    assert (seen[-1].done, seen[-1].failed, seen[-1].total, seen[-1].before) == (10, 0, 10, 0)
    assert len(facts) == 1
    assert isinstance(facts[0]["pid"], int)
    assert bench.asked == [[]]


@pytest.mark.parametrize(
    ("evil", "code", "limits"),
    [
        ("crash", "crashed", {}),
        ("exit", "crashed", {}),
        ("hang", "timeout", {"image_timeout": 0.15}),
        ("memory", "memory", {"memory": 100 << 20}),
        ("killed", "memory", {"memory": 300 << 20}),
    ],
)
def test_an_evil_input_fails_alone_and_everything_else_is_done(
    tmp_path: Path, evil: str, code: str, limits: Mapping[str, Any]
) -> None:
    bench = Bench(tmp_path, 12, {4: evil})
    ending = bench.supervisor(**limits).execute()
    assert bench.ledger.failures.keys() == {4}
    assert bench.ledger.failures[4][0] == code
    assert bench.ledger.states() == {**dict.fromkeys(range(12), "ok"), 4: "failed"}
    assert bench.ledger.deaths == [(4, code)] * 3
    assert (ending.interrupted, ending.restarts, ending.deaths) == (False, 4, {code: 4})
    assert ending.peak_memory > (100 << 20 if code == "memory" else -1)
    # once in company, then alone: 3 is done alone, and 5 waits until 4 has failed
    assert bench.asked == [[], [3, 4, 5], [4, 5], [4, 5], [5]]


def test_several_evil_inputs_in_one_company(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 9, {1: "crash", 2: "exit", 8: "crash"}, together=4)
    bench.supervisor().execute()
    assert bench.ledger.failures.keys() == {1, 2, 8}
    assert list(bench.ledger.states()) == list(range(9))


def test_deaths_alone_are_counted_across_resumes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 6, {4: "crash"})
    bench.ledger.deaths = [(4, "crashed")] * 2
    ending = bench.supervisor().execute(suspects=[4])
    assert bench.asked == [[4], []]
    assert bench.ledger.failures.keys() == {4}
    assert ending.deaths == {"crashed": 1}


def test_a_worker_killed_from_outside_blames_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 12, {})
    bench.job["pace"] = 0.2  # at work for longer than the supervisor looks away
    pids: list[int] = []

    def murder(facts: Mapping[str, Any]) -> None:
        pids.append(facts["pid"])
        if len(pids) <= 2:
            os.kill(facts["pid"], 9)

    ending = bench.supervisor().execute(on_ready=murder)
    assert bench.ledger.states() == dict.fromkeys(range(12), "ok")
    assert bench.ledger.failures == {}
    assert (ending.restarts, ending.deaths) == (2, {"crashed": 2})


def test_workers_that_never_become_ready_end_the_run(tmp_path: Path) -> None:
    supervisor, ledger = scripted(tmp_path, "os._exit(9)")
    with pytest.raises(BoxmillError, match=r"3 times in a row .* before the network was loaded .* exit code 9"):
        supervisor.execute()
    assert ledger.deaths == []


def test_workers_that_die_between_inputs_end_the_run(tmp_path: Path) -> None:
    script = "os.write(r, b'ready {}\\nstart 1\\nend 1\\n'); os.kill(os.getpid(), 11)"
    supervisor, ledger = scripted(tmp_path, script)
    with pytest.raises(BoxmillError, match=r"after loading the network .*signal 11"):
        supervisor.execute()
    assert ledger.deaths == []
    assert ledger.failures == {}


def test_where_every_input_kills_its_worker_the_run_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxmill.engine.seat._DEATHS_WITHOUT_RESULT", 8)
    bench = Bench(tmp_path, 50, dict.fromkeys(range(50), "exit"), together=4)
    with pytest.raises(BoxmillError, match=r"8 times in a row .* exit code 3"):
        bench.supervisor().execute()
    assert bench.ledger.failures.keys() == {0, 1}


def test_a_network_that_never_loads_is_killed(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "journal")
    command = [*PYTHON, "-c", LISTEN + "time.sleep(1000)"]
    supervisor = Supervisor(lambda start: start_worker(command, {}), ledger, 1, Limits(start_timeout=0.1))
    with pytest.raises(BoxmillError, match=r"3 times in a row .*timeout"):
        supervisor.execute()


def test_a_network_larger_than_the_memory_limit_says_so_at_once(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "journal")
    command = [*PYTHON, "-c", LISTEN + "x = b'x' * (80 << 20); time.sleep(1000)"]
    supervisor = Supervisor(lambda start: start_worker(command, {}), ledger, 1, Limits(memory=50 << 20))
    with pytest.raises(BoxmillError, match=r"before its first image; at most 50 MiB"):
        supervisor.execute()


def test_reports_that_make_no_sense_count_as_a_crash(tmp_path: Path) -> None:
    supervisor, _ = scripted(tmp_path, "os.write(r, b'ready {}\\nstar 1\\n'); time.sleep(1000)")
    with pytest.raises(BoxmillError, match="crashed, signal 9"):
        supervisor.execute()


@pytest.mark.parametrize(
    "error", [OutputError("disk full"), ModelError("no such head"), BoxmillError("internal error: KeyError: 1")]
)
def test_an_error_that_the_worker_reports_is_raised_as_its_own_class(tmp_path: Path, error: BoxmillError) -> None:
    if isinstance(error, OutputError):
        error.errno = 28
    supervisor, _ = scripted(tmp_path, f"os.write(r, {bye_line(error)!r}); sys.exit(6)")
    with pytest.raises(type(error), match=str(error)) as caught:
        supervisor.execute()
    assert type(caught.value) is type(error)
    assert getattr(caught.value, "errno", None) == (28 if isinstance(error, OutputError) else None)


def test_times_of_all_workers_are_added_up(tmp_path: Path) -> None:
    clock = Clock()
    clock.stages["decode"] = 2.0
    table = times_line(time_table([clock], 3.0, 2.5))
    mark = tmp_path / "second"
    script = f"""
os.write(r, b'ready {{}}\\n' + {table!r} + b'start 1\\n')
if not os.path.exists({str(mark)!r}):
    open({str(mark)!r}, 'w').close()
    os._exit(1)
os.write(r, b'end 1\\nkept 1\\n' + {table!r} + b'bye null\\n')
"""
    ending = scripted(tmp_path, script)[0].execute()
    assert (ending.restarts, ending.table.workers, ending.table.wall) == (1, 1, 6.0)
    assert ending.table.stages["decode"] == 4.0
    assert ending.table.unexplained == 2.0


STOPPABLE = """
os.write(r, b'ready {}\\nstart 0\\n')
assert o.readline() == b'stop\\n'
os.write(r, b'end 0\\nkept 1\\nbye null\\n')
"""


def test_stop_once_lets_the_worker_finish(tmp_path: Path) -> None:
    supervisor, _ = scripted(tmp_path, STOPPABLE)
    seen = []
    ending = supervisor.execute(observe=seen.append, on_ready=lambda facts: supervisor.stop())
    assert (ending.interrupted, ending.deaths) == (True, {})
    assert seen[-1].done == 1


def test_stop_after_the_last_input_interrupts_nothing(tmp_path: Path) -> None:
    supervisor, _ = scripted(tmp_path, STOPPABLE, total=1)
    assert not supervisor.execute(on_ready=lambda facts: supervisor.stop()).interrupted


def test_stop_twice_kills_the_worker_and_blames_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 5, {2: "hang"}, together=1)
    supervisor = bench.supervisor()
    start = time.monotonic()
    ending = supervisor.execute(suspects=[2], observe=lambda progress: supervisor.stop())
    assert time.monotonic() - start < 10
    assert (ending.interrupted, ending.deaths, bench.ledger.deaths) == (True, {}, [])
    assert bench.asked == [[2]]


def test_a_death_while_stopping_starts_no_other_worker(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 5, {2: "hang"}, together=5)
    supervisor = bench.supervisor(image_timeout=0.2)
    ending = supervisor.execute(on_ready=lambda facts: supervisor.stop())
    assert (ending.interrupted, ending.restarts, ending.deaths) == (True, 0, {"timeout": 1})


def test_stopped_before_it_began(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 5, {})
    supervisor = bench.supervisor()
    supervisor.stop()
    ending = supervisor.execute()
    assert (ending.interrupted, ending.table.workers, bench.asked) == (True, 0, [])


def test_a_worker_that_hangs_after_its_bye_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boxmill.engine.watch._GRACE", 0.1)
    supervisor, _ = scripted(tmp_path, "os.write(r, b'ready {}\\nbye null\\n'); time.sleep(1000)")
    ending = supervisor.execute()
    assert (ending.restarts, ending.deaths) == (0, {})


def test_an_error_in_the_supervisor_takes_the_worker_along(tmp_path: Path) -> None:
    supervisor, _ = scripted(tmp_path, "os.write(r, b'ready {\"pid\": %d}\\n' % os.getpid()); time.sleep(1000)")
    pids = []

    def fail(facts: Mapping[str, Any]) -> None:
        pids.append(facts["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervisor.execute(on_ready=fail)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_progress_on_a_resume_counts_what_was_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 10, {})
    bench.ledger.path.write_text("0 ok\n1 ok\n")
    bench.ledger.refresh()
    seen = []
    bench.supervisor().execute(observe=seen.append)
    assert (seen[-1].done, seen[-1].before) == (10, 2)
    assert list(bench.ledger.states()) == list(range(10))
