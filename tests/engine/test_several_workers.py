"""A worker at each of several devices: each input ends once, whoever dies, and the faster does more."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from placed import PlacedBench

from boxmill.engine.protocol import bye_line
from boxmill.errors import BoxmillError, ModelError, OutputError

SAY = "os.write(int(sys.argv[2]), {!r}); sys.exit(1)"


def test_two_workers_divide_the_inputs(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 300, (0.001, 0.001))
    seen = []
    ending = bench.supervisor().execute(observe=seen.append)
    assert bench.ledger.states() == dict.fromkeys(range(300), "ok")
    assert [part.device for part in ending.parts] == ["cuda:0", "cuda:1"]
    assert [part.kept for part in ending.parts] == [len(bench.ledger.of(place)) for place in (0, 1)]
    assert min(part.kept for part in ending.parts) >= 16
    assert (ending.interrupted, ending.restarts, ending.deaths) == (False, 0, {})
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert done[-1] == 300


def test_a_slower_device_gets_fewer(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 400, (0.001, 0.02))
    bench.supervisor().execute()
    fast, slow = (len(bench.ledger.of(place)) for place in (0, 1))
    assert fast + slow == 400
    assert slow < fast / 2


def test_there_may_be_fewer_inputs_than_devices(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 1, (0.0, 0.0, 0.0))
    ending = bench.supervisor().execute()
    assert bench.ledger.states() == {0: "ok"}
    assert len(bench.starts) == 1
    assert ending.restarts == 0


def test_inputs_that_kill_fail_alone_wherever_they_are(tmp_path: Path) -> None:
    evil = dict.fromkeys((5, 118), "crash")
    bench = PlacedBench(tmp_path, 120, (0.0, 0.001), evil)
    ending = bench.supervisor().execute()
    assert bench.ledger.states() == {**dict.fromkeys(range(120), "ok"), **dict.fromkeys(evil, "failed")}
    assert bench.ledger.failures.keys() == evil.keys()
    assert ending.deaths == {"crashed": 8}  # once in company and three times alone
    assert sum(part.kept for part in ending.parts) == 118


def test_a_hang_at_one_device_does_not_hold_the_other(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 200, (0.0, 0.002), {0: "hang"})
    bench.supervisor(image_timeout=0.3).execute()
    assert bench.ledger.states() == {**dict.fromkeys(range(200), "ok"), 0: "failed"}
    assert bench.ledger.failures[0][0] == "timeout"
    assert len(bench.ledger.of(1)) > 100  # it also took what the one that hung had not begun


def test_a_worker_killed_from_outside_is_replaced_at_its_device(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 300, (0.005, 0.005))
    killed: list[int] = []

    def murder(facts: Mapping[str, Any]) -> None:
        if facts["place"] == 1 and len(killed) < 3:
            killed.append(facts["pid"])
            os.kill(facts["pid"], 9)

    ending = bench.supervisor().execute(on_ready=murder)
    assert bench.ledger.states() == dict.fromkeys(range(300), "ok")
    assert bench.ledger.failures == {}
    assert ending.deaths == {"crashed": 3}
    assert [start.place for start in bench.starts].count(1) == 4
    assert len(bench.ledger.of(1)) > 0


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        (SAY.format(bye_line(ModelError("no memory"))), ModelError, "^cuda:1: no memory"),
        (SAY.format(bye_line(OutputError("disk full"))), OutputError, "^disk full"),
        ("os._exit(71)", BoxmillError, r"worker process of cuda:1 ended 3 times in a row .* \(device, exit code 71\)"),
    ],
)
def test_a_device_that_cannot_be_opened_ends_the_run_and_is_named(
    tmp_path: Path, script: str, kind: type[BoxmillError], message: str
) -> None:
    bench = PlacedBench(tmp_path, 10_000, (0.001, 0.001))
    bench.at_once[1] = script
    with pytest.raises(kind, match=message):
        bench.supervisor().execute()
    assert bench.ledger.of(1) == []
    assert len(bench.ledger.of(0)) < 10_000  # it did not do the other's work
    assert bench.ledger.failures == {}


def test_stop_lets_every_worker_finish_what_is_under_way(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 10_000, (0.01, 0.01))
    supervisor = bench.supervisor()
    ready: list[object] = []

    def stop(facts: Mapping[str, Any]) -> None:
        ready.append(facts)
        if len(ready) == 2:
            supervisor.stop()

    ending = supervisor.execute(on_ready=stop)
    assert (ending.interrupted, ending.deaths) == (True, {})
    assert len(bench.ledger.states()) == sum(part.kept for part in ending.parts) < 10_000


def test_stop_twice_kills_every_worker_and_blames_nobody(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 100, (0.0, 0.0), dict.fromkeys(range(100), "hang"))
    supervisor = bench.supervisor()
    start = time.monotonic()

    def stop(facts: Mapping[str, Any]) -> None:
        supervisor.stop()

    ending = supervisor.execute(on_ready=stop, observe=lambda progress: None)
    assert time.monotonic() - start < 20
    assert (ending.interrupted, ending.deaths, bench.ledger.deaths) == (True, {}, [])


def test_suspects_of_an_earlier_execution_are_alone_and_no_one_elses(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 60, (0.0, 0.001), {7: "crash"})
    bench.ledger.deaths = [(7, "crashed")] * 2
    ending = bench.supervisor().execute(suspects=[7, 9])
    assert bench.starts[0].suspects == [7, 9]
    assert all(not {7, 9}.intersection(start.share or ()) for start in bench.starts)
    assert bench.ledger.failures.keys() == {7}
    assert ending.deaths == {"crashed": 1}
    assert bench.ledger.states() == {**dict.fromkeys(range(60), "ok"), 7: "failed"}


def test_what_has_ended_before_is_handed_to_nobody(tmp_path: Path) -> None:
    bench = PlacedBench(tmp_path, 50, (0.0, 0.0))
    bench.ledger.files[0].write_text("".join(f"{index} ok\n" for index in range(0, 50, 2)))
    bench.ledger.refresh(0)
    seen = []
    bench.supervisor().execute(observe=seen.append)
    assert bench.ledger.states() == dict.fromkeys(range(50), "ok")
    assert (seen[-1].done, seen[-1].before) == (50, 25)
