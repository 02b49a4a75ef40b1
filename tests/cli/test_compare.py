"""`boxmill compare` as people type it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from judged_runs import write_coco
from networks import write_detector
from small_runs import write_photos

from boxmill.cli import run_command
from boxmill.compare import Comparison, Limits, Plan, Row, Sample
from boxmill.demo.detector import ADVICE


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
