"""What is written for each image: names, shape of the documents, and whole files or none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from boxmill.errors import OutputError
from boxmill.store import JsonFiles, create_run_directory
from boxmill.store.summary import MAX_LISTED_RESULTS, Tally
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


def test_image_document_is_the_documented_one(tmp_path: Path) -> None:
    JsonFiles(tmp_path, NAMES).write(outcome("商品/a.jpg", cut=0.3))
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
    files = JsonFiles(tmp_path, NAMES)
    files.write(Outcome("bad.jpg", 0, Failure("bad.jpg", "decode", "truncated", "it ends early")))
    files.write(outcome("empty.jpg", 1, count=0))
    bad = json.loads((tmp_path / "json/bad.jpg.json").read_bytes())
    assert bad["failure"] == {"stage": "decode", "code": "truncated", "message": "it ends early"}
    assert "objects" not in bad
    empty = json.loads((tmp_path / "json/empty.jpg.json").read_bytes())
    assert empty["objects"] == []
    assert empty["truncated"] is False


def test_jpg_and_png_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    files = JsonFiles(tmp_path, NAMES)
    files.write(outcome("a.jpg"))
    files.write(outcome("a.png", 1))
    assert sorted(path.name for path in (tmp_path / "json").iterdir()) == ["a.jpg.json", "a.png.json"]


def test_the_summary_stays_small_for_many_images() -> None:
    tally = Tally()
    for index in range(MAX_LISTED_RESULTS + 1):
        tally.keep(index, {})
    assert "results" not in tally.document(NAMES)


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    names = [create_run_directory(tmp_path / "runs", "photos").name for _ in range(3)]
    assert names == ["photos", "photos2", "photos3"]


def test_a_project_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(OutputError, match="runs"):
        create_run_directory(tmp_path / "runs", "photos")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    files = JsonFiles(tmp_path, NAMES)
    (tmp_path / "json").mkdir()
    os.symlink("/dev/full", tmp_path / "json" / "a.jpg.json.tmp")
    with pytest.raises(OutputError, match=r"cannot write .*No space left"):
        files.write(outcome("a.jpg"))
    assert not (tmp_path / "json/a.jpg.json").exists()
