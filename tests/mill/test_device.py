"""A run on a device, from settings to summary, in real processes: the CPU's results, whatever the device does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from networks import write_detector
from small_runs import documents, summary, write_card, write_photos

from boxmill.api import check_batch, engine_device
from boxmill.cli.console import Reporter
from boxmill.errors import UsageError
from boxmill.mill import WORKER, Mill
from boxmill.settings import EngineSettings, settings

DEVICE_WORKER = (sys.executable, str(Path(__file__).with_name("device_worker.py")))


def execute(photos: Path, worker: tuple[str, ...], **flags: Any) -> Path:
    base = photos.parent
    given = {"weights": write_card(base), "runtime": "fake", "project": base / "runs", "workers": 2, **flags}
    mill = Mill(settings(str(photos), given), worker)
    try:
        mill.finish(mill.work(lambda progress: None))
    finally:
        mill.close()
    return mill.run.directory


def test_a_run_on_a_failing_device_has_the_results_of_a_calm_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faults").mkdir()
    monkeypatch.setenv("FAULTS", str(tmp_path / "faults"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = write_photos(tmp_path / "photos", 40)
    calm = execute(photos, tuple(WORKER), name="calm")
    rough = execute(photos, DEVICE_WORKER, name="rough")
    assert documents(rough) == documents(calm)
    assert "device" not in summary(calm)
    told = summary(rough)
    assert told["processed"] == 40
    assert told["deaths"].keys() <= {"device"}
    assert told["restarts"] == len(list((tmp_path / "faults").iterdir())) - 1 == told["deaths"].get("device", 0)
    assert (told["device"]["name"], told["device"]["hardware"]) == ("fake:0", "none")
    assert 0 <= told["device"]["idle_share"] <= 1
    assert told["workers"] == 3
    Reporter(quiet=False).summary(told, [], rough)
    assert "fake:0 (none): working" in capsys.readouterr().err


def test_a_batch_for_a_cpu_is_refused_and_auto_is_not(tmp_path: Path) -> None:
    for runtime in ("openvino", "onnxruntime", "fake"):
        check_batch(EngineSettings(runtime=runtime))  # type: ignore[arg-type]
        check_batch(EngineSettings(runtime=runtime, batch=1))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="--batch 8: on a CPU images go through the network one by one"):
            check_batch(EngineSettings(runtime=runtime, batch=8))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--batch: expected 1 or more, got 0"):
        settings("x", {"weights": Path("w"), "batch": 0})


def test_onnx_runtime_without_its_cuda_part_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("boxmill.api.effective_device", lambda wanted: "cuda:0")
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b"))
    photos = write_photos(tmp_path / "photos", 1)
    chosen = settings(str(photos), {"weights": weights, "runtime": "onnxruntime", "device": "cuda:0"})
    assert engine_device(chosen.engine) == "cuda:0"
    with pytest.raises(UsageError, match=r"has no CUDAExecutionProvider .* put onnxruntime-gpu in its place"):
        Mill(chosen)
    assert engine_device(EngineSettings(runtime="onnxruntime")) == "cpu"


def test_what_a_batch_size_depends_on_is_remembered_with_it(tmp_path: Path) -> None:
    from boxmill.engine import RememberedSizes

    about = {"weights": "ab12", "device": "NVIDIA H200", "precision": "fp16"}
    kept = RememberedSizes(tmp_path / "batches", about)
    assert kept.load() == {}
    kept.save({})
    assert not (tmp_path / "batches").exists()
    kept.save({(384, 640): 64, (640, 640): 32})
    assert RememberedSizes(tmp_path / "batches", about).load() == {(384, 640): 64, (640, 640): 32}
    assert RememberedSizes(tmp_path / "batches", {**about, "precision": "fp32"}).load() == {}
    (file,) = (tmp_path / "batches").iterdir()
    for damaged in (b"", b"[]", b'{"about": 1}', json.dumps({"about": about, "sizes": {"wide": 1}}).encode()):
        file.write_bytes(damaged)
        assert kept.load() == {}
    file.write_text(json.dumps({"about": about, "sizes": {"32x32": 0, "64x64": 8, "96x96": 10**9}}))
    assert kept.load() == {(64, 64): 8}
    RememberedSizes(file, about).save({(32, 32): 1})  # no folder: the next run searches again
