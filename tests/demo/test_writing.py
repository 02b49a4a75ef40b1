"""Scenes on the disk: whole, the same for any number of processes, and never into somebody's files."""

from __future__ import annotations

import json
import resource
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from boxmill.demo.classes import CLASSES
from boxmill.demo.glyphs import Atlas
from boxmill.demo.scenes import KINDS, SceneSpec, generate
from boxmill.demo.writing import GROUND_TRUTH, Job, write_scenes
from boxmill.errors import OutputError, UsageError

SPEC = SceneSpec(KINDS["crowd"], 200, 160, "held-out", "all")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def written(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "crowd"
    seen: list[int] = []
    things = write_scenes(Job(folder, SPEC, 5, 4, 1), atlas, seen.append)
    assert seen == [1, 2, 3, 4]
    assert things == len(json.loads((folder / GROUND_TRUTH).read_bytes())["annotations"])
    return folder


def test_the_bytes_do_not_depend_on_the_number_of_processes(written: Path, atlas: Atlas, tmp_path: Path) -> None:
    write_scenes(Job(tmp_path, SPEC, 5, 4, 3), atlas, lambda done: None)
    assert contents(tmp_path) == contents(written)
    assert len(contents(tmp_path)) == 5
    assert contents(written)["000002.jpg"] == generate(SPEC, 5, 2, atlas).jpeg


def test_pycocotools_reads_the_ground_truth(written: Path, atlas: Atlas) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="the oracle for COCO files").COCO
    with redirect_stdout(StringIO()):
        truth = coco(str(written / GROUND_TRUTH))
    scene = generate(SPEC, 5, 1, atlas)
    rows = truth.loadAnns(truth.getAnnIds(imgIds=[2]))
    assert truth.loadImgs([2])[0]["file_name"] == "000001.jpg"
    corners = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
    assert corners == scene.boxes.tolist()
    assert [row["category_id"] - 1 for row in rows] == scene.classes.tolist()
    assert [row["iscrowd"] for row in rows] == scene.ignored.tolist()
    assert [row["area"] for row in rows] == scene.areas.tolist()
    assert [row["unseen"] for row in rows] == scene.unseen.tolist()
    categories = truth.loadCats(truth.getCatIds())
    assert [(row["name"], row["name_zh"]) for row in categories] == [(thing.name, thing.name_zh) for thing in CLASSES]


def test_a_folder_with_files_is_left_alone(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        write_scenes(Job(tmp_path, SPEC, 0, 1), atlas, lambda done: None)
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_scenes(Job(tmp_path / "mine.txt" / "x", SPEC, 0, 1), atlas, lambda done: None)
    assert contents(tmp_path) == {"mine.txt": b"keep"}


def test_a_disk_that_refuses_is_said_clearly(atlas: Atlas, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: the kernel refuses to write either way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*00000[01]\.jpg"):
            write_scenes(Job(tmp_path, SPEC, 0, 2, 2), atlas, lambda done: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / GROUND_TRUTH).exists()


def test_counts_are_checked(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one image"):
        write_scenes(Job(tmp_path, SPEC, 0, 0), atlas, lambda done: None)
