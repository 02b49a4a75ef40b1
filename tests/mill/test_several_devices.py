"""A run on two devices, from settings to summary, in real processes: one journal, and the results of one device."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from networks import write_detector
from small_runs import computed, documents, journal, summary, write_photos

from boxmill.api import engine_devices, worker_count
from boxmill.cli.console import Reporter
from boxmill.devices import settings_at
from boxmill.engine import Ending, Progress
from boxmill.errors import ModelError, UsageError
from boxmill.mill import Mill
from boxmill.model import load
from boxmill.settings import EngineSettings, settings
from boxmill.store import verify

WORKER = (sys.executable, str(Path(__file__).with_name("two_devices_worker.py")))
TOTAL = 100


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos, weights beside them, and a PyTorch and an ONNX Runtime that see two GPUs."""
    for folder in ("faults", "cache"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("FAULTS", str(tmp_path / "faults"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("boxmill.api.check_available", lambda precision, device="cpu": None)
    monkeypatch.setattr("boxmill.api.effective_device", lambda wanted: f"cuda:{int(wanted.removeprefix('cuda:'))}")
    write_detector(tmp_path / "tiny.onnx", ("a", "b"))
    return write_photos(tmp_path / "photos", TOTAL)


def mill(photos: Path, device: str, **flags: Any) -> Mill:
    base = photos.parent
    given = {"weights": base / "tiny.onnx", "runtime": "onnxruntime", "project": base / "runs"}
    given |= {"device": device, "workers": len(device.split(",")), "conf": 0.0, **flags}
    return Mill(settings(str(photos), given), WORKER)


def work(run: Mill, stop_at: int = TOTAL) -> Ending:
    def look(progress: Progress) -> None:
        if stop_at <= progress.done < TOTAL:
            run.stop()

    try:
        ending = run.work(look)
        run.finish(ending)
    finally:
        run.close()
    return ending


def test_two_devices_stopped_and_gone_on_with_by_one_have_the_results_of_one(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = mill(photos, "0", name="calm")
    with monkeypatch.context() as patch:
        patch.setenv("CALM", "1")
        work(calm)
    expected = documents(calm.run.directory)
    assert "devices" not in summary(calm.run.directory)
    for file in (photos.parent / "faults").iterdir():
        file.unlink()

    rough = mill(photos, "0, cuda:1", name="rough")
    ending = work(rough, stop_at=40)
    directory = rough.run.directory
    told = summary(directory)
    assert told["status"] == "interrupted" if ending.interrupted else told["processed"] == TOTAL
    assert {name.split()[0] for name in os.listdir(photos.parent / "faults")} == {"cuda:0", "cuda:1"}
    assert told["settings"]["devices"] == ["cuda:0", "cuda:1"]
    assert [device["name"] for device in told["devices"]] == ["cuda:0", "cuda:1"]
    assert sum(device["images"] for device in told["devices"]) == told["processed"] == told["computed"]
    assert all(0 <= device["idle_share"] <= 1 for device in told["devices"] if "busy" in device)
    assert told["deaths"].keys() <= {"device"}
    parts = (*told["stages"].values(), *told["waits"].values(), told["unexplained"])
    assert sum(parts) == pytest.approx(told["workers"] * told["wall"])

    again = mill(photos, "1,0", name="rough")  # the device is not in the fingerprint
    assert again.run.directory == directory or not ending.interrupted
    work(again)
    told = summary(again.run.directory)
    Reporter(quiet=False).summary(told, [], again.run.directory)
    printed = capsys.readouterr().err
    for device in told["devices"]:  # whose last worker may have died before it told where the time went
        assert f"\n{device['name']}" in f"\n{printed}"
        assert (f"{device['name']} (none): working " in printed) == ("busy" in device)
    assert documents(again.run.directory) == expected
    assert set(Counter(computed(again.run.directory)).values()) == {1}
    assert {record["status"] for record in journal(directory)} == {"ok"}
    assert [
        finding for finding in verify(again.run.directory, json_files=False) if "nothing" not in finding.message
    ] == []


def test_a_device_that_refuses_ends_the_run_by_its_name(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSED", "cuda:1")
    run = mill(photos, "0,1")
    with pytest.raises(ModelError, match=r"cannot be loaded on the device cuda:1: CUDA error: all .* unavailable; end"):
        work(run)
    assert not (run.run.directory / "summary.json").exists()


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("0,0", "expected each GPU once, 0 and 0 are the same"),
        ("0,cuda:00", "expected each GPU once, 0 and cuda:00 are the same"),
        ("cpu,0", "expected numbers of GPUs, .* got 'cpu' among them; cpu and auto stand alone"),
        ("0,auto", "got 'auto' among them"),
        ("0,", "got '' among them"),
        ([0, 1], r"expected text such as 'cuda:1' or '0,1', got \[0, 1\]"),
    ],
)
def test_devices_that_cannot_be_meant_are_refused(device: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings("x", {"weights": Path("w"), "runtime": "torch", "device": device})


def test_several_devices_need_a_runtime_that_has_devices() -> None:
    with pytest.raises(UsageError, match="--device 0,1: openvino computes on the CPU; add --runtime torch"):
        settings("x", {"weights": Path("w"), "device": "0,1"})


def test_each_of_several_devices_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(wanted: str) -> str:
        if int(wanted) > 1:
            raise UsageError(f"--device {wanted}: there are 2 GPUs, numbered from 0")
        return f"cuda:{wanted}"

    monkeypatch.setattr("boxmill.api.effective_device", two)
    assert engine_devices(EngineSettings(runtime="torch", device="1,0")) == ("cuda:1", "cuda:0")
    assert engine_devices(EngineSettings(device="auto")) == ("cpu",)
    with pytest.raises(UsageError, match="--device 2: there are 2 GPUs"):
        engine_devices(EngineSettings(runtime="torch", device="0,2"))


def test_a_model_in_this_process_has_one_device(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected one device, got '0,1': .* use boxmill.run"):
        load(tmp_path / "w.pt", runtime="torch", device="0,1")


def test_threads_are_divided_fairly_and_everyone_has_one() -> None:
    chosen = settings("x", {"weights": Path("w"), "runtime": "torch", "device": "0,1,2", "workers": 5})
    devices = ("cuda:0", "cuda:1", "cuda:2")
    shares = [settings_at(chosen, devices, place, worker_count(chosen, 100)).engine for place in range(3)]
    assert [(share.device, share.workers) for share in shares] == [("cuda:0", 2), ("cuda:1", 2), ("cuda:2", 1)]
    assert [settings_at(chosen, devices, place, 1).engine.workers for place in range(3)] == [1, 1, 1]
    assert json.dumps(shares[0].devices) == '["cuda:0"]'
