"""What a run writes: names, shape of the documents, and whole files or none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from boxmill.errors import OutputError
from boxmill.store import RunStore, create_run_directory
from boxmill.store.summary import Tally
from boxmill.types import Detections, Failure, Outcome

NAMES = ("人", "dog")


def outcome(key: str, index: int = 0, count: int = 1, cut: float | None = None) -> Outcome:
    detections = Detections(
        boxes=np.array([[1.005, 2.25, 30.999, 40.1]] * count, np.float32).reshape(-1, 4),
        scores=np.array([0.9123456] * count, np.float32),
        classes=np.zeros(count, np.int32),
        indices=np.arange(count, dtype=np.int32),
        cut=cut,
    )
    return Outcome(key, index, detections, (1920, 1080))


def failed(key: str, index: int = 0) -> Outcome:
    return Outcome(key, index, Failure(key, "decode", "truncated", "it ends early"))


def test_image_document_is_the_documented_one(tmp_path: Path) -> None:
    RunStore(tmp_path, NAMES).add(outcome("商品/a.jpg", cut=0.3))
    text = (tmp_path / "json/商品/a.jpg.json").read_text(encoding="utf-8")
    assert '"label": "人"' in text
    assert json.loads(text) == {
        "image": "商品/a.jpg",
        "width": 1920,
        "height": 1080,
        "truncated": True,
        "objects": [{"label": "人", "class_id": 0, "confidence": 0.912346, "bbox": [1.0, 2.25, 31.0, 40.1]}],
    }
    assert text.startswith('{\n  "image"')


def test_failed_and_empty_images_have_a_document_too(tmp_path: Path) -> None:
    store = RunStore(tmp_path, NAMES)
    store.add(failed("bad.jpg"))
    store.add(outcome("empty.jpg", 1, count=0))
    bad = json.loads((tmp_path / "json/bad.jpg.json").read_bytes())
    assert bad["failure"] == {"stage": "decode", "code": "truncated", "message": "it ends early"}
    assert "objects" not in bad
    empty = json.loads((tmp_path / "json/empty.jpg.json").read_bytes())
    assert empty["objects"] == []
    assert empty["truncated"] is False


def test_jpg_and_png_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    store = RunStore(tmp_path, NAMES)
    store.add(outcome("a.jpg"))
    store.add(outcome("a.png", 1))
    assert sorted(path.name for path in (tmp_path / "json").iterdir()) == ["a.jpg.json", "a.png.json"]


def test_summary_counts_and_keeps_the_listing_order(tmp_path: Path) -> None:
    store = RunStore(tmp_path, NAMES)
    for one in (outcome("c.jpg", 2, cut=0.5), failed("b.jpg", 1), outcome("a.jpg", 0, count=0)):
        store.add(one)
    summary = store.finish({"wall": 1.5})
    assert summary == json.loads((tmp_path / "summary.json").read_bytes())
    assert (summary["processed"], summary["objects"], summary["empty"], summary["truncated"]) == (2, 1, 1, 1)
    assert summary["failed"]["count"] == 1
    assert summary["failed"]["by_code"] == {"truncated": 1}
    assert summary["failed"]["first"][0]["image"] == "b.jpg"
    assert summary["classes"] == {"人": 1}
    assert [row["image"] for row in summary["results"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert summary["wall"] == 1.5


def test_summary_stays_small_for_many_images() -> None:
    tally = Tally()
    for index in range(10_001):
        tally.add(failed(f"{index}.jpg", index), {})
    document = tally.document(NAMES)
    assert "results" not in document
    assert document["failed"]["count"] == 10_001
    assert len(document["failed"]["first"]) == 1000


def test_no_temporary_file_remains(tmp_path: Path) -> None:
    store = RunStore(tmp_path, NAMES)
    store.add(outcome("a.jpg"))
    store.finish({})
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    names = [create_run_directory(tmp_path / "runs", "photos").name for _ in range(3)]
    assert names == ["photos", "photos2", "photos3"]


def test_a_project_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(OutputError, match="runs"):
        create_run_directory(tmp_path / "runs", "photos")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    store = RunStore(tmp_path, NAMES)
    (tmp_path / "json").mkdir()
    os.symlink("/dev/full", tmp_path / "json" / "a.jpg.json.tmp")
    with pytest.raises(OutputError, match=r"cannot write .*No space left"):
        store.add(outcome("a.jpg"))
    assert not (tmp_path / "json/a.jpg.json").exists()
