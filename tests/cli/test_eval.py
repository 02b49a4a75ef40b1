"""`boxmill eval` as people type it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from judged_runs import NAMES, Object, Row, write_coco, write_run
from small_runs import boxmill

from boxmill.cli import run_command
from boxmill.labels import COCO80_EN, COCO80_ZH
from boxmill.store.exports.coco import COCO91

CATEGORIES = {7: "cat", 3: "狗", 90: "cow"}
A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 40.0, 20.0), (50.0, 50.0, 90.0, 90.0)
TRUTH: dict[str, list[Object]] = {
    "val/a.jpg": [(*A, 7), (*B, 3)], "val/b.jpg": [(*C, 3)], "val/c.jpg": [(*A, 7)], "val/d.jpg": [(*A, 7)],
}  # fmt: skip
FOUND: dict[str, list[Row] | None] = {
    "a.jpg": [(*A, 0.9, 0), (*B, 0.8, 1)], "b.jpg": [(*C, 0.7, 0), (*C, 0.2, 1)], "c.jpg": None,
    "extra.jpg": [(*A, 0.9, 2)],
}  # fmt: skip


@pytest.fixture
def evaluator() -> None:
    pytest.importorskip("hotcoco", reason="average precision needs hotcoco (the test extra has it)")


@pytest.fixture
def gt(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "gt.json", TRUTH, CATEGORIES)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", FOUND)


def document(arguments: list[Path | str], capfd: pytest.CaptureFixture[str]) -> Any:
    capfd.readouterr()
    assert run_command(["eval", *map(str, arguments), "--json", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return json.loads(out)


@pytest.mark.usefixtures("evaluator")
def test_one_run(run: Path, gt: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["eval", str(run), "--gt", str(gt)]) == 0
    out, err = capfd.readouterr()
    assert f"4 images with 5 objects in {gt}" in out
    assert "COCO" not in out
    assert next(line.split() for line in out.splitlines() if "狗" in line) == ["1", "狗", "2", "1.000", "1.000"]
    assert "precision 0.667, recall 0.400 (2 right, 1 wrong, 3 missed)" in out
    assert [line.split() for line in out.splitlines() if "missed)" in line][-1] == ["cat", "(missed)", "2"]
    assert "25.0% of all images that have an object (1 of 4, 95 %: 4.6%–69.9%) right" in out
    assert "images matched: 3 of 4, 0 by the whole path" in err
    assert "1 images have no result (failed)" in err
    assert "1 images have no result (not among the run's inputs)" in err
    assert "1 inputs of the run are not in the ground truth and are left out" in err
    assert "classes matched by name: 3 狗 = 1 狗, 7 cat = 0 cat, 90 cow = 2 cow" in err
    assert "not comparable" not in err


@pytest.mark.usefixtures("evaluator")
def test_json_says_it_all(run: Path, gt: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = document([run, "--gt", gt, "--conf", "0.1", "--sample", "2", "--seed", "3"], capfd)
    assert found["coco"]["AP"] == pytest.approx((34 / 101 + 1.0) / 2)  # a third of the cats at full precision
    assert found["coco"]["AR large"] is None
    assert [one["name"] for one in found["classes"]] == list(NAMES)
    assert found["classes"][2] == {"id": 2, "name": "cow", "objects": 0, "ap": None, "ap50": None}
    assert (found["shown"]["conf"], found["shown"]["right"], found["shown"]["missed"]) == (0.1, 3, 2)
    assert found["shown"]["confusions"][0] == {"true": "cat", "shown": None, "count": 2}
    assert (found["images_right"]["sample"], found["images_right"]["seed"]) == (2, 3)
    assert found["without_result"] == {"failed": 1, "absent": 1}
    assert found["class_map"][0] == ["3 狗", "1 狗"]
    assert (found["images"], found["objects"], found["comparable"], found["published"]) == (4, 5, True, None)


@pytest.mark.usefixtures("evaluator")
def test_a_threshold_that_spoils_average_precision_is_said(
    tmp_path: Path, gt: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "high", FOUND, keep_conf=0.25, weights="my nets/n.onnx")
    assert run_command(["eval", str(run), "--gt", str(gt)]) == 0
    assert (
        "AP is not comparable with other figures: the run kept only what scores above 0.25; "
        "for AP: boxmill run photos --weights 'my nets/n.onnx' --keep-conf 0.001 (and the run's other options)"
    ) in capfd.readouterr().err


@pytest.mark.usefixtures("evaluator")
@pytest.mark.parametrize("kind", ["yolo", "voc", "coco"])
def test_an_export_of_a_run_is_ground_truth_that_the_run_fits(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole: list[Row] = [(*A, 0.9, 0), (*B, 0.8, 1), (*C, 0.7, 2)]
    run = write_run(tmp_path / "run", {"sub/a.jpg": whole, "b.jpg": whole[:1], "c.jpg": []})
    assert run_command(["export", str(run), "-f", kind]) == 0
    inner = {"coco": "coco/instances.json", "yolo": "yolo", "voc": "voc"}[kind]
    found = document([run, "--gt", run / "exports" / inner], capfd)
    assert (found["images"], found["without_result"], found["inputs_left_out"]) == (3, {}, 0)
    assert (found["coco"]["AP"], found["shown"]["right"], found["shown"]["wrong"]) == (pytest.approx(1.0), 4, 0)
    assert found["matched_by_whole_path"] == 3


@pytest.mark.usefixtures("evaluator")
def test_two_runs_with_ground_truth(tmp_path: Path, run: Path, gt: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = write_run(tmp_path / "other", FOUND | {"a.jpg": [(*A, 0.9, 0)]})
    assert run_command(["eval", str(run), str(other), "--gt", str(gt), "--draws", "50"]) == 0
    out, err = capfd.readouterr()
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("AP")}
    assert lines["AP50"][1:4] == ["0.668", "0.421", "-0.2475"]
    assert "paired bootstrap over images, 50 draws, seed 0" in out
    assert "1 differences (moved: over 1 px; score: by over 0.01): 1 only A" in out
    assert "狗 0.800 [20.0, 0.0, 40.0, 20.0]" in out
    assert err.count("classes matched by name") == 1  # what holds for both is said once
    found = document([run, other, "--gt", gt, "--draws", "50"], capfd)
    step = found["ground_truth"]["bootstrap"]["AP50"]
    assert step["low"] <= step["delta"] <= step["high"]
    assert step["delta"] == pytest.approx(found["ground_truth"]["delta"]["AP50"])
    assert found == document([run, other, "--gt", gt, "--draws", "50"], capfd)


@pytest.mark.usefixtures("evaluator")
def test_ground_truth_without_objects(tmp_path: Path, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gt = write_coco(tmp_path / "none.json", {"a.jpg": [], "b.jpg": []}, CATEGORIES)
    found = document([run, "--gt", gt], capfd)
    assert set(found["coco"].values()) == {None}
    assert (found["shown"]["wrong"], found["shown"]["recall"]) == (3, None)
    assert run_command(["eval", str(run), "--gt", str(gt)]) == 0
    assert "no image of the ground truth has an object" in capfd.readouterr().out
    assert run_command(["eval", str(run), str(run), "--gt", str(gt)]) == 3
    assert "has no objects, so there is no average precision to compare" in capfd.readouterr().err


def test_two_runs_without_ground_truth(tmp_path: Path, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    many: list[Row] = [(5.0 * n, 0.0, 5.0 * n + 4, 4.0, 0.9 - n / 100, 0) for n in range(30)]
    other = write_run(tmp_path / "other", FOUND | {"extra.jpg": many})
    assert run_command(["eval", str(run), str(other)]) == 0
    out, err = capfd.readouterr()
    assert "3 images with a result in both, 2 of them alike to the last bit" in out
    assert "objects: 4 in A above 0.25, 33 in B above 0.25" in out
    assert "1 common inputs have no result in A" in out
    assert "… and 11 more, with --all" in out
    assert (out.count("only B  "), err) == (19, "")
    assert run_command(["eval", str(run), str(other), "--all"]) == 0
    assert capfd.readouterr().out.count("only B  ") == 30
    found = document([run, other], capfd)
    assert found["difference_counts"]["only B"] == 30
    assert found["differences"][1]["b"]["label"] == "cat"
    assert run_command(["eval", str(run), str(run)]) == 0
    assert "no differences beyond 1 px and 0.01 of score" in capfd.readouterr().out


@pytest.mark.usefixtures("evaluator")
@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ("nets/yolov9-c-converted.onnx", "published for YOLOv9-C on COCO val2017: 0.530"),
        ("yolov9t.onnx", "published for YOLOv9-T on COCO val2017: 0.383"),
        ("yolov9-c-seg.onnx", None),
        ("gelan-c.onnx", None),
    ],
)
def test_a_folder_of_coco(tmp_path: Path, weights: str, line: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "coco/annotations").mkdir(parents=True)
    names = dict(zip(COCO91, COCO80_EN, strict=True))
    write_coco(tmp_path / "coco/annotations/instances_val2017.json", {"1.jpg": [(*A, 90)], "2.jpg": []}, names)
    run = write_run(tmp_path / "run", {"1.jpg": [(*A, 0.9, 79)]}, COCO80_ZH, weights=weights)
    assert run_command(["eval", str(run), "--coco", str(tmp_path / "coco"), "--quiet"]) == 0
    out = capfd.readouterr().out
    assert "79  牙刷" in out
    if line is None:
        assert "published" not in out
    else:
        assert line in out
        assert "not comparable: that is of 5000 images, this of 2" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run"], 2, "give --gt or --coco, or a second run"),
        (["run", "--gt", "gt.json", "--coco", "coco"], 2, "give either --gt or --coco"),
        (["run", "--coco", "nowhere"], 3, "unpack annotations_trainval2017.zip"),
        (["run", "--gt", "nowhere.json"], 3, "cannot be read: No such file"),
        (["nowhere", "--gt", "gt.json"], 2, "is no run"),
        (["run", "--gt", "gt.json", "--conf", "0.0001"], 2, "kept what scores above 0.001"),
        (["run", "--gt", "gt.json", "--sample", "0"], 2, "--sample 0: expected at least 1"),
        (["run", "run", "--draws", "0"], 2, "--draws 0: expected at least 1"),
        (["run", "--gt", "gt.json", "--class-map", "none.json"], 3, "--class-map 'none.json' cannot be read"),
        (["run", "--what"], 2, "boxmill eval --help"),
    ],
)
def test_mistakes_get_one_sentence(
    run: Path, gt: Path, arguments: list[str], code: int, said: str,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(run.parent)
    assert gt.is_file()
    assert run_command(["eval", *arguments]) == code
    out, err = capfd.readouterr()
    assert said in err
    assert out == ""


def test_without_the_evaluator_one_sentence_says_what_to_install(
    run: Path, gt: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    assert run_command(["eval", str(run), "--gt", str(gt)]) == 2
    assert "needs the evaluator hotcoco: pip install 'boxmill[eval]'" in capfd.readouterr().err
    assert run_command(["eval", str(run), str(run)]) == 0  # agreement needs none


def test_help_tells_the_rules(tmp_path: Path) -> None:
    with boxmill("eval", "--help", cwd=tmp_path) as process:
        text = process.communicate(timeout=60)[0]
    assert all(
        word in text for word in ("--class-map", "--coco", "--all", "matched", "boxmill eval runs/fp32 runs/bf16")
    )
