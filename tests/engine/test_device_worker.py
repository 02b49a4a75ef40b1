"""The real supervisor over real worker processes whose device fails: replaced, tried one by one, nothing lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from placed import PlacedLedger
from test_supervisor import FileLedger

from boxmill.engine import (
    DEVICE_FAULT,
    Ending,
    Limits,
    Start,
    Supervisor,
    TimeTable,
    WorkerLink,
    WorkerProcess,
    start_worker,
)
from boxmill.runtimes.device import DeviceFault

TESTS = Path(__file__).parents[1]
DEVICE_WORKER = [sys.executable, str(Path(__file__).with_name("device_worker.py"))]


def supervise(folder: Path, inputs: list[str], **rates: float) -> tuple[FileLedger, Ending]:
    ledger = FileLedger(folder / "journal")
    job: dict[str, Any] = {"journal": str(ledger.path), "inputs": inputs, "memory": 0.0, "fault": 0.0, **rates}

    spawned: list[list[int]] = []

    def spawn(start: Start) -> WorkerProcess:
        spawned.append(start.suspects)
        return start_worker(DEVICE_WORKER, {**job, "alone": start.suspects, "seed": len(spawned)})

    return ledger, Supervisor(spawn, ledger, len(inputs), Limits()).execute()


def test_workers_whose_device_faults_are_replaced_and_nothing_is_lost(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    for name in ("calm", "rough"):
        (tmp_path / name).mkdir()
    inputs = [str(number) for number in range(1, 301)]
    calm, smooth = supervise(tmp_path / "calm", inputs)
    rough, ending = supervise(tmp_path / "rough", inputs, memory=0.3, fault=0.015)
    assert smooth.deaths == {}
    assert ending.deaths["device"] >= 2
    assert set(ending.deaths) == {"device"}
    assert rough.failures == {}
    assert rough.states() == calm.states()  # each input once, with the same boxes
    assert ending.table.device_busy is not None


def test_a_thousand_faults_of_two_devices_lose_nothing_double_nothing_and_change_nothing(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    inputs = [str(number) for number in range(1, 901)]
    (tmp_path / "one").mkdir()
    one, _ = supervise(tmp_path / "one", inputs)
    ledger, log = PlacedLedger(tmp_path, 2), tmp_path / "faults"
    spawned, killed = list[Start](), list[int]()

    def spawn(start: Start) -> WorkerProcess:
        spawned.append(start)
        doomed = start.place == 1 and not killed  # it must not die by itself before it is killed
        fault = 0.0 if doomed or len(spawned) >= 6 else 0.01
        job = {"inputs": inputs, "memory": 0.55, "fault": fault, "seed": len(spawned)}
        job |= {"alone": start.suspects, "share": start.share, "place": start.place}
        return start_worker(DEVICE_WORKER, {**job, "journal": str(ledger.files[start.place]), "faults": str(log)})

    def kill(facts: Mapping[str, Any]) -> None:
        if facts["place"] == 1 and not killed:  # kill -9, beside all that goes wrong by itself
            killed.append(facts["pid"])
            os.kill(facts["pid"], 9)

    ending = Supervisor(spawn, ledger, len(inputs), Limits(), ["cuda:0", "cuda:1"]).execute(on_ready=kill)
    short, lost = (sum(map(int, column)) for column in zip(*map(str.split, log.read_text().splitlines()), strict=True))
    assert short + lost >= 1000
    assert ending.deaths == {"device": lost, "crashed": 1}
    assert ledger.failures == {}
    assert ledger.states() == one.states()  # each input once, with the same boxes
    assert sum(part.kept for part in ending.parts) == len(inputs)
    assert all(part.table.device_busy for part in ending.parts)


def test_an_input_on_which_the_device_always_fails_fails_alone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    inputs = [str(number) for number in range(1, 41)]
    inputs[17] = "poison"
    ledger, ending = supervise(tmp_path, inputs)
    assert {index for index, state in ledger.states().items() if state == "failed"} == {17}
    assert ledger.failures[17] == ("device", "the device failed on this image, alone, three times")
    assert ending.deaths == {"device": 4}


def test_a_worker_whose_device_faulted_says_no_bye(capfd: Any) -> None:
    def fault() -> TimeTable:
        raise DeviceFault("an illegal memory access was encountered")

    orders, reports = os.pipe(), os.pipe()
    assert WorkerLink(orders[0], reports[1]).conclude(fault) == DEVICE_FAULT
    os.close(reports[1])
    assert os.read(reports[0], 100) == b""
    os.close(orders[1])
    os.close(reports[0])
    assert "illegal memory access" in capfd.readouterr().err
