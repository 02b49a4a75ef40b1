"""`boxmill compare` as people type it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from checkpoints import write_checkpoint
from judged_runs import write_coco
from networks import write_detector
from small_runs import write_photos

from boxmill.cli import run_command
from boxmill.compare import Comparison, Limits, Plan, Row, Sample
from boxmill.compare.programs import NO_HALF
from boxmill.demo.detector import ADVICE
from boxmill.errors import ModelError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photos, a bad file, a network and ground truth; the working directory."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", 4, side=90)
    (tmp_path / "photos/bad.jpg").write_bytes(b"this is no image")
    write_detector(tmp_path / "tiny.onnx", ("cat", "狗"))
    objects = {f"00{number}.png": [(10.0, 10.0, 60.0, 60.0, 5)] for number in range(4)}
    write_coco(tmp_path / "gt.json", objects, {5: "cat", 9: "狗"})
    return tmp_path


def test_the_table_of_a_folder_with_a_bad_file(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ["--gt", "gt.json", "--reload-images", "2", "--batch", "2", "--conf", "0.4", "--out", "deep/out"]
    assert run_command(["compare", "photos", "-w", "tiny.onnx", *flags]) == 0
    out, err = capfd.readouterr()
    document = json.loads((place / "deep/out/compare.json").read_bytes())
    rows = {row["row"]: row for row in document["rows"]}
    assert {"a", "b", "c", "d"} <= set(rows)
    assert (place / "deep/out/compare.md").read_text(encoding="utf-8") == out
    assert (place / "deep/out/compare.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.name for path in (place / "deep/out").iterdir()) == ["compare.json", "compare.md", "compare.png"]
    assert document["images"] == 5
    assert (rows["a"]["extrapolated_from"], rows["d"]["extrapolated_from"]) == (2, None)
    assert [rows[letter]["failed"] for letter in "bcd"] == [1, 1, 1]
    assert rows["b"]["objects"] == rows["c"]["objects"] > 0
    assert rows["b"]["ap"] == pytest.approx(rows["c"]["ap"], abs=1e-3)
    assert 0 <= rows["d"]["ap"] <= 1
    assert rows["d"]["times"]["b"] == pytest.approx(rows["b"]["seconds_per_image"] / rows["d"]["seconds_per_image"])
    assert all(row["peak_memory"] > 10 * 2**20 for row in rows.values())
    assert all(0 < row["cpu_share"] <= 1.05 for row in rows.values())
    assert "(d) boxmill" in err
    assert not (place / "runs").exists()


def canned() -> Comparison:
    sample = Sample(5, 1.0, 2.0, 1.0, 2**20, None, 3, 0)
    facts = {
        "processor": "", "system": "", "versions": {}, "source": "photos", "images": 5, "network": "tiny.onnx",
        "network_size": [96, 96], "conf": 0.25, "iou": 0.45, "max_det": 300, "judged": False,
    }  # fmt: skip
    return Comparison((Row("d", "boxmill", 5, (sample,)),), (), 2, facts, ())


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What would have been measured; nothing is."""
    seen: list[Plan] = []

    def measure(plan: Plan, *_: object) -> Comparison:
        seen.append(plan)
        return canned()

    monkeypatch.setattr("boxmill.compare.compare", measure)
    return seen


def test_json_and_quiet_without_a_plot(place: Path, plans: list[Plan], monkeypatch, capfd) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    flags = ["--imgsz", "64", "96", "--iou", "0.5", "--max-det", "9", "--factors", "--rounds", "3"]
    assert run_command(["compare", "photos", "-w", "tiny.onnx", *flags, "--json", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert json.loads(out) == json.loads((place / "compare/compare.json").read_bytes())
    assert sorted(path.name for path in (place / "compare").iterdir()) == ["compare.json", "compare.md"]
    assert "pip install 'boxmill[plot]'" in (place / "compare/compare.md").read_text(encoding="utf-8")
    (plan,) = plans
    assert (plan.limits, plan.rounds, plan.factors) == (Limits(0.25, 0.5, 9), 3, True)
    assert plan.spec.input.size == (64, 96)
    assert plan.mill == ("--weights", "tiny.onnx", "--iou", "0.5", "--max-det", "9", "--imgsz", "64", "96")


def test_without_weights_it_takes_the_demos_detector_and_says_so(
    place: Path, plans: list[Plan], monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    for module in ("settings", "api"):  # a stand-in
        monkeypatch.setattr(f"boxmill.{module}.shipped_detector", lambda: place / "tiny.onnx")
    assert run_command(["compare", "photos"]) == 0
    assert plans[0].network == place / "tiny.onnx"
    assert ADVICE in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["photos", "--card", "card.yaml"], 2, "--weights"),
        (["photos", "-w", "tiny.onnx", "--batch", "0"], 2, "--batch"),
        (["photos", "-w", "tiny.onnx", "--conf", "2"], 2, "--conf"),
        (["photos", "-w", "tiny.onnx", "--gt", "other.json"], 3, "none of the 5 images"),
        (["photos", "-w", "tiny.onnx", "--gt", "names.json"], 2, "horse"),
        (["photos", "-w", "tiny.onnx", "--gt", "gone.json"], 3, "gone.json"),
        (["gone", "-w", "tiny.onnx"], 3, "gone"),
        (["photos", "-w", "gone.onnx"], 4, "gone.onnx"),
        (["photos", "-w", "photos/bad.jpg"], 4, "bad.jpg"),
        (["photos", "-w", "tiny.onnx", "--device", "cuda"], 2, "openvino computes on the CPU; add --runtime torch"),
        (["photos", "-w", "tiny.onnx", "--runtime", "onnxruntime", "--device", "cuda:x"], 2, "cuda:N or N"),
        (["photos", "-w", "tiny.onnx", "--runtime", "torch"], 4, "YOLOv9 checkpoint"),
        (["photos", "-w", "tiny.onnx", "--out", "photos/bad.jpg/out"], 6, "--out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_at_once(
    place: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    write_coco(place / "other.json", {"elsewhere.png": []}, {5: "cat"})
    write_coco(place / "names.json", {"000.png": [(1.0, 1.0, 9.0, 9.0, 5)]}, {5: "horse"})
    assert run_command(["compare", *arguments]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) <= 4


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch sees one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("a_gpu")
def test_without_the_cuda_provider_the_message_is_that_of_run(place: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    flags = ["photos", "-w", "tiny.onnx", "--runtime", "onnxruntime", "--device", "cuda"]
    said = []
    for command in ("run", "compare"):
        assert run_command([command, *flags]) == 2
        said.append(capfd.readouterr().err)
    assert said[0] == said[1]
    assert "has no CUDAExecutionProvider (it has CPUExecutionProvider); put onnxruntime-gpu in its place" in said[0]
    assert not (place / "compare").exists()


@pytest.mark.usefixtures("a_gpu")
def test_with_the_cuda_provider_all_programs_use_that_gpu(place: Path, plans: list[Plan], monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    flags = ["--runtime", "onnxruntime", "--device", "1", "--quiet"]
    assert run_command(["compare", "photos", "-w", "tiny.onnx", *flags]) == 0
    (plan,) = plans
    assert (plan.runtime, plan.device, plan.half) == ("onnxruntime", "cuda:1", NO_HALF)
    assert plan.mill == ("--weights", "tiny.onnx", "--runtime", "onnxruntime", "--device", "1")


@pytest.mark.usefixtures("a_gpu")
def test_a_checkpoint_is_converted_to_float16_for_a_gpu(place: Path, plans: list[Plan], monkeypatch) -> None:
    def converted(weights: Path, tell: object, precision: str = "fp32") -> Path:
        return place / ("half.onnx" if precision == "fp16" else "tiny.onnx")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("boxmill.convert.cached_network", converted)
    monkeypatch.setattr("boxmill.api.cached_network", converted)
    write_checkpoint(place / "tiny.pt")
    flags = ["--imgsz", "96", "--runtime", "onnxruntime", "--device", "cuda", "--quiet"]
    assert run_command(["compare", "photos", "-w", "tiny.pt", *flags]) == 0
    assert (plans[0].network, plans[0].half) == (place / "tiny.onnx", place / "half.onnx")


@pytest.mark.usefixtures("a_gpu")
def test_a_checkpoint_without_a_float16_form_is_a_row_that_is_missing(
    place: Path, plans: list[Plan], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def converted(weights: Path, tell: object, precision: str = "fp32") -> Path:
        if precision == "fp16":
            raise ModelError("its results would not be the checkpoint's\na table")
        return place / "tiny.onnx"

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("boxmill.convert.cached_network", converted)
    monkeypatch.setattr("boxmill.api.cached_network", converted)
    write_checkpoint(place / "tiny.pt")
    flags = ["--imgsz", "96", "--runtime", "onnxruntime", "--device", "cuda"]
    assert run_command(["compare", "photos", "-w", "tiny.pt", *flags]) == 0
    assert plans[0].half == "tiny.pt cannot be converted to float16: its results would not be the checkpoint's"


def test_the_table_through_pytorch(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(place / "tiny.pt")
    flags = ["--imgsz", "96", "--runtime", "torch", "--device", "cpu", "--conf", "0.1"]
    assert run_command(["compare", "photos", "-w", "tiny.pt", *flags, "--reload-images", "2", "--batch", "2"]) == 0
    document = json.loads((place / "compare/compare.json").read_bytes())
    rows = {row["row"]: row for row in document["rows"]}
    assert {"a", "b", "c", "d"} <= set(rows)
    assert rows["b"]["objects"] == rows["c"]["objects"] > 0
    assert document["boxmill_settings"]["d"]["runtime"] == "torch"


def test_without_psutil_it_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert run_command(["compare", "photos", "-w", "tiny.onnx"]) == 2
    assert "pip install 'boxmill[compare]'" in capfd.readouterr().err
    assert not (place / "compare").exists()


def test_without_an_evaluator_it_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setattr("boxmill.cli.compare.find_spec", lambda name: None)
    assert run_command(["compare", "photos", "-w", "tiny.onnx", "--gt", "gt.json"]) == 2
    assert "pip install 'boxmill[eval]'" in capfd.readouterr().err


def test_an_interruption_leaves_nothing_behind(place: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def interrupted(plan: Plan, work: Path, *_: object) -> Comparison:
        (work / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    monkeypatch.setattr("boxmill.compare.compare", interrupted)
    assert run_command(["compare", "photos", "-w", "tiny.onnx"]) == 5
    assert list((place / "compare").iterdir()) == []
    assert "interrupted" in capfd.readouterr().err
