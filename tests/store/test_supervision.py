"""supervision takes our results, in memory and through files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exported_runs import HEIGHT, WIDTH, detected, detections, failed, write_run

from boxmill.store.exports import export

sv = pytest.importorskip("supervision", reason="the package supervision is not installed")

NAMES = ("人", "dog", "红绿灯")
COUNTS = {"a.png": 4, "b 人.png": 0, "d.png": 6}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    found = [detected(key, index, count) for index, (key, count) in enumerate(COUNTS.items())]
    return write_run(tmp_path, [*found, failed("e.png", 3)], names=NAMES)


def by_name(dataset: object) -> dict[str, object]:
    return {Path(path).name: found for path, _, found in dataset}


def test_detections_are_what_its_constructor_documents() -> None:
    """(N, 4) xyxy, (N,) confidence, (N,) class_id: it checks dtypes and shapes itself."""
    for count in (0, 5):
        ours = detections(1, count)
        theirs = sv.Detections(
            xyxy=ours.boxes, confidence=ours.scores, class_id=ours.classes,
            data={"class_name": np.array(NAMES)[ours.classes]},
        )  # fmt: skip
        assert len(theirs) == count
        assert np.array_equal(theirs.xyxy, ours.boxes)
        assert list(theirs["class_name"]) == [NAMES[c] for c in ours.classes.tolist()]
        if count:
            assert len(theirs[theirs.confidence > ours.scores[2]]) == 2
            assert np.array_equal(theirs.with_nms(0.999, class_agnostic=True).xyxy[0], ours.boxes[0])


def test_its_yolo_loader_reads_ours(run: Path) -> None:
    folder = Path(export(run, "yolo").path)
    dataset = sv.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml")
    )  # fmt: skip
    assert dataset.classes == list(NAMES)
    loaded = by_name(dataset)
    assert {name: len(found) for name, found in loaded.items()} == COUNTS
    for index, key in enumerate(COUNTS):
        ours = detections(index, COUNTS[key])
        np.testing.assert_allclose(loaded[key].xyxy.reshape(-1, 4), ours.boxes, atol=1e-4)
        assert loaded[key].class_id.tolist() == ours.classes.tolist()


def test_its_coco_loader_reads_ours(run: Path) -> None:
    folder = Path(export(run, "coco").path)
    dataset = sv.DetectionDataset.from_coco(str(run.parent / "photos"), str(folder / "instances.json"))
    assert dataset.classes == list(NAMES)
    loaded = by_name(dataset)
    assert {name: len(found) for name, found in loaded.items()} == COUNTS
    for index, key in enumerate(COUNTS):
        ours = detections(index, COUNTS[key])
        np.testing.assert_allclose(loaded[key].xyxy.reshape(-1, 4), ours.boxes, atol=1e-4)
        assert loaded[key].class_id.tolist() == ours.classes.tolist()


def test_its_voc_loader_reads_ours(run: Path) -> None:
    folder = Path(export(run, "voc").path)
    dataset = sv.DetectionDataset.from_pascal_voc(str(run.parent / "photos"), str(folder / "Annotations"))
    loaded = by_name(dataset)
    assert {name: len(found) for name, found in loaded.items()} == COUNTS
    for index, key in enumerate(COUNTS):
        ours = detections(index, COUNTS[key])
        np.testing.assert_allclose(loaded[key].xyxy.reshape(-1, 4), ours.boxes, atol=1.0)
        assert [dataset.classes[c] for c in loaded[key].class_id] == [NAMES[c] for c in ours.classes.tolist()]
        assert (loaded[key].xyxy <= (WIDTH, HEIGHT, WIDTH, HEIGHT)).all()


def test_its_labelme_loader_reads_ours(run: Path) -> None:
    if not hasattr(sv.DetectionDataset, "from_labelme"):
        pytest.skip("this version of supervision does not read labelme files")
    folder = Path(export(run, "labelme").path)
    dataset = sv.DetectionDataset.from_labelme(str(run.parent / "photos"), str(folder / "annotations"))
    loaded = by_name(dataset)
    assert {name: len(found) for name, found in loaded.items()} == COUNTS
    for index, key in enumerate(COUNTS):
        ours = detections(index, COUNTS[key])
        np.testing.assert_allclose(loaded[key].xyxy.reshape(-1, 4), ours.boxes, atol=1e-4)
