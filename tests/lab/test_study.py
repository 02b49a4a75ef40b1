"""A visit to the lab: differences are found, documents have their form, statements follow from what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from boxmill.errors import SourceError, UsageError
from boxmill.lab import Plan, Scene, Selection, Study, claims, crossovers, dumped_scenes, markdown, plots, study
from boxmill.lab.accuracy import accuracies, read_truth
from boxmill.lab.candidates import candidates_of
from boxmill.lab.measure import Difference, Latency, differences
from boxmill.lab.synthetic import crowd, synthetic_scenes
from boxmill.post import Postprocessor, nms, reference
from boxmill.post.backends import Backend, Rule, load_backend
from boxmill.post.cost import nms_cost
from boxmill.store import DumpHeader, HeadDump, HeadFiles
from boxmill.types import Geometry, HeadSpec

HEAD = HeadSpec("yolo")
PLACE = Geometry((0.5, 0.5), (0, 8), (240, 256), (256, 256), (480, 512))
QUICK = Plan(backends=("boxmill, Top-500", "boxmill soft, linear", "OpenCV NMSBoxesBatched"), sizes=(20, 40),
             seconds=0.001)  # fmt: skip


def raw_head(seed: int, objects: int = 60) -> np.ndarray:
    """(1, 4 + 3, 300) with many boxes around few places."""
    rng = np.random.default_rng(seed)
    head = (rng.random((7, 300)) * 0.02).astype(np.float32)
    place = rng.uniform(40, 200, (6, 2))[rng.integers(0, 6, 300)]
    head[:2] = (place + rng.normal(0, 2, (300, 2))).T
    head[2:4] = rng.uniform(30, 40, (2, 300))
    head[4 + rng.integers(0, 3, objects), rng.permutation(300)[:objects]] = rng.uniform(0.3, 0.9, objects)
    return head[None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three dumps."""
    files = HeadFiles(tmp_path, DumpHeader(HEAD, ("a", "b", "c"), "n.onnx", "fake", "fp32"))
    for number in range(3):
        files.add(f"sub/{number}.jpg", [raw_head(number)], PLACE)
    return tmp_path


@pytest.fixture(scope="module")
def visit() -> Study:
    return study(QUICK)


@pytest.mark.parametrize("multi_label", [False, True])
def test_replayed_candidates_give_the_boxes_of_the_postprocessor(multi_label: bool) -> None:
    raw = raw_head(7)
    found = candidates_of(HeadDump("a", (raw,), PLACE), HEAD, 0.01, multi_label=multi_label)
    kept = nms(*found.arrays(), iou=0.45, max_det=300)
    (expected,) = Postprocessor(HEAD, conf=0.01, multi_label=multi_label)([raw], PLACE.network, [PLACE])
    assert reference.to_source(found.boxes[kept], PLACE).tobytes() == expected.boxes.tobytes()
    assert found.scores[kept].tobytes() == expected.scores.tobytes()
    assert found.classes[kept].tolist() == expected.classes.tolist()
    assert np.any(np.diff(found.scores) > 0)  # as the network has them, not sorted


def test_few_dumps_are_scenes_of_their_own_and_many_are_one(run: Path) -> None:
    scenes, remarks = dumped_scenes(run, Selection())
    assert [scene.name for scene in scenes] == ["sub/0.jpg", "sub/1.jpg", "sub/2.jpg"]
    assert [len(scene.sets[0]) for scene in scenes] == [60, 60, 60]
    assert remarks == []
    files = HeadFiles(run, DumpHeader(HEAD, ("a", "b", "c"), "n.onnx", "fake", "fp32"))
    for number in range(3, 10):
        files.add(f"{number}.jpg", [raw_head(number, 60 if number < 9 else 0)], PLACE)
    (scene,), _ = dumped_scenes(run, Selection())
    assert (len(scene.sets), scene.empty) == (9, 1)
    few, remarks = dumped_scenes(run, Selection(images=2))
    assert len(few) == 2
    assert "first 2 of 10" in remarks[0]


def test_counts_are_met(run: Path) -> None:
    scenes, _ = dumped_scenes(run, Selection(counts=(10, 20, 50)))
    assert [len(scene.sets[0]) for scene in scenes] == [10, 20, 50]
    assert [scene.heads[0].postprocessor.conf > 0.3 for scene in scenes] == [True] * 3
    with pytest.raises(UsageError, match="one for each of 3 dumps"):
        dumped_scenes(run, Selection(counts=(10, 20)))


def test_an_empty_folder_of_dumps_is_told(tmp_path: Path) -> None:
    HeadFiles(tmp_path, DumpHeader(HEAD, ("a",), "n.onnx", "fake", "fp32"))
    with pytest.raises(SourceError, match="empty"):
        dumped_scenes(tmp_path, Selection())


def test_a_wrong_back_end_is_found_out() -> None:
    right = load_backend("boxmill", Rule())
    sets = [scene.sets[0] for scene in synthetic_scenes()]
    kept = [right.suppress(*one.arrays())[0] for one in sets]
    assert differences(right, sets, Rule()) == Difference(sum(map(len, kept)), 0, 0, None)

    def wrong(*arrays):
        rows = right.suppress(*arrays)[0]
        suppressed = np.setdiff1d(np.arange(len(arrays[1])), rows)
        return np.concatenate([rows[3:], suppressed[:2]]), None

    unlike = differences(Backend("wrong", "1", wrong), sets, Rule())
    assert (unlike.missing, unlike.extra) == (9, 6)


def test_a_wrong_decay_is_found_out() -> None:
    right = load_backend("boxmill soft, linear", Rule())
    sets = [crowd(100)]
    assert differences(right, sets, Rule()).score == 0

    def wrong(*arrays):
        rows, scores = right.suppress(*arrays)
        return rows, scores - np.float32(0.125)

    unlike = differences(Backend("wrong", "1", wrong, "linear"), sets, Rule())
    assert unlike.score == pytest.approx(0.125)


def test_what_a_pre_filter_cuts_is_missing(visit: Study) -> None:
    crowded = next(scene for scene in visit.scenes if scene.name == "crowd")
    assert crowded.difference["boxmill"].missing == 0
    assert crowded.difference["boxmill, Top-500"].missing > 0
    assert crowded.difference["boxmill, Top-500"].extra == 0


def test_the_document_has_the_form_of_a_study(visit: Study) -> None:
    document = json.loads(json.dumps(visit.document()))
    assert msgspec.convert(document, Study) == visit
    assert document["format"] == 1
    assert [scene["candidates"] for scene in document["scenes"]] == [[80] * 3, [1200] * 3, [950] * 3]
    assert set(document["scenes"][0]["latency"]) == {"boxmill", *QUICK.backends}
    assert document["growth"]["sizes"] == [20, 40]
    for latency in document["scenes"][1]["latency"].values():
        assert 0 < latency["best"] <= latency["median"] <= latency["p95"]
        assert latency["calls"] >= 3


def test_the_internals_are_those_of_the_cost_report(visit: Study) -> None:
    for scene, made in zip(visit.scenes, synthetic_scenes(), strict=True):
        report = nms_cost(*made.sets[0].arrays(), iou=0.45)
        one = scene.internals
        assert (one.candidates, one.tests, one.kept) == (report.candidates, report.tests, len(report.kept))
        assert min(one.filter, one.group, one.sort, one.suppress) > 0
        assert f"| {scene.name} | {one.candidates} | {one.tests} |" in markdown(visit)


def test_a_missing_back_end_is_listed_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "powerboxes", None)
    found = study(replace(QUICK, backends=("powerboxes",)))
    assert [one.name for one in found.missing] == ["powerboxes"]
    assert [one.name for one in found.used] == ["boxmill"]
    assert "powerboxes: did not take part, not installed: pip install powerboxes" in markdown(found)


def test_the_tables_have_a_row_for_each_back_end(visit: Study) -> None:
    text = markdown(visit, "lab.png")
    lines = text.splitlines()
    for name in ("boxmill", *QUICK.backends):
        assert sum(line.startswith(f"| {name} | ") for line in lines) == len(visit.scenes) + 1
    assert "## crowd: 1200 candidates" in lines
    assert "![time against N](lab.png)" in lines
    assert "boxmill[plot]" in markdown(visit)


def test_the_curves_change_places_where_they_cross() -> None:
    curves = {"flat": [10.0, 10.0, 10.0], "steep": [1.0, 10.0, 100.0], "near": [10.5, 10.5, 10.5]}
    found = crossovers([10, 100, 1000], curves)
    assert [(one.below, one.above) for one in found] == [("steep", "flat"), ("steep", "near")]
    assert found[0].size == pytest.approx(100)
    assert crossovers([10, 100], {"one": [1.0, 2.0], "other": [1.05, 1.9]}) == []


def latency(micros: float) -> Latency:
    return Latency(micros, micros, micros, 3)


def verdicts(found: Study) -> dict[str, str]:
    return {claim.text.split()[0]: claim.verdict for claim in claims(found)}


def test_statements_follow_from_the_measurements(visit: Study) -> None:
    assert verdicts(visit) == {
        "YOLOv9": "does not hold",
        "OpenCV's": "does not hold",
        "torchvision's": "not measured",
        "post-processing": "does not hold",
        "a": "does not hold",
    }
    curve = {"torchvision batched_nms": (latency(300), latency(3000))}
    growth = replace(visit.growth, sizes=(1000, 1001), latency=curve)
    assert verdicts(replace(visit, growth=growth))["torchvision's"] == "holds"
    level = replace(growth, latency={"torchvision batched_nms": (latency(300), latency(310))})
    assert verdicts(replace(visit, growth=level))["torchvision's"] == "does not hold"
    (scene,) = visit.scenes[:1]
    wrong = replace(scene, difference={**scene.difference, "OpenCV NMSBoxesBatched": Difference(100, 3, 0, None)})
    assert verdicts(replace(visit, scenes=(wrong,)))["OpenCV's"] == "holds"


def test_the_share_of_a_run_comes_from_its_summary(visit: Study) -> None:
    def share(stages: dict[str, float]) -> str:
        found = claims(replace(visit, stages=stages))
        return next(claim.verdict for claim in found if "few per cent" in claim.text)

    assert share({}) == "not measured"
    assert share({"model": 90.0, "postprocess": 2.0, "write": 500.0}) == "holds"
    assert share({"model": 50.0, "postprocess": 50.0}) == "does not hold"


def test_the_pictures_are_pictures(visit: Study) -> None:
    pytest.importorskip("matplotlib")
    drawn = plots(visit.growth, {one.name: one.method for one in visit.used}, "title")
    assert drawn["png"].startswith(b"\x89PNG")
    assert b"<svg" in drawn["svg"]


def test_without_matplotlib_there_is_no_picture(visit: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert plots(visit.growth, {}, "title") is None


# Average precision


def truth(scene: Scene, *, shift: float = 0.0) -> dict[str, object]:
    """Ground truth that is exactly what the reference keeps."""
    annotations = []
    for image, found in enumerate(scene.sets, 1):
        kept = reference.nms(*found.arrays(), iou=0.45).kept
        boxes = reference.to_source(found.boxes[kept], found.geometry).astype(float)
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), found.classes[kept].tolist(), strict=True):
            box = [x1 + shift, y1, x2 - x1, y2 - y1]
            annotations.append({"id": len(annotations) + 1, "image_id": image, "category_id": label + 5, "bbox": box,
                                "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
    images = [{"id": image, "file_name": f"val/{found.name.rpartition('/')[2]}", "width": 512, "height": 480}
              for image, found in enumerate(scene.sets, 1)]  # fmt: skip
    return {"images": images, "annotations": annotations, "categories": [{"id": n, "name": str(n)} for n in (5, 6, 7)]}


def test_average_precision_tells_back_ends_apart(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    scenes, _ = dumped_scenes(run, Selection())
    scene = Scene("all", tuple(one.sets[0] for one in scenes))
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(truth(scene)), encoding="utf-8")
    right = load_backend("boxmill", Rule())
    half = Backend("half", "1", lambda *arrays: (right.suppress(*arrays)[0][::2], None))
    found = accuracies([right, half], scene.sets, read_truth(path, scene.sets, 3))
    assert (found["boxmill"].ap, found["boxmill"].delta) == (pytest.approx(1.0), 0.0)
    assert found["half"].delta < -0.2
    assert found["half"].ap == pytest.approx(1 + found["half"].delta)


def test_ground_truth_that_does_not_fit_is_refused(run: Path, tmp_path: Path) -> None:
    scenes, _ = dumped_scenes(run, Selection())
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(truth(scenes[0])), encoding="utf-8")
    with pytest.raises(UsageError, match="3 categories, but the model 80 classes"):
        read_truth(path, scenes[0].sets, 80)
    with pytest.raises(SourceError, match="none of the images"):
        read_truth(path, [replace(scenes[0].sets[0], name="other.jpg")], 3)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(SourceError, match="no COCO ground truth"):
        read_truth(path, scenes[0].sets, 3)
