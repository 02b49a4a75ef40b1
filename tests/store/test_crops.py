"""Objects cut out of their images: the right pixels, in folders whose names every file system takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boxmill.store import CropFiles
from boxmill.store.crops import folder_names
from boxmill.types import Detections, Failure, Frame, Outcome, Tags

Image = pytest.importorskip("PIL.Image", reason="Pillow is what reads the crops here")

RED, BLUE = (220, 30, 40), (20, 60, 200)


def picture() -> Frame:
    """60 x 40; the left half red, the right half blue."""
    pixels = np.empty((40, 60, 3), np.uint8)
    pixels[:, :30], pixels[:, 30:] = RED, BLUE
    return Frame("sub/a.jpg", pixels)


def outcome(boxes: list[list[float]], scores: list[float], size: tuple[int, int] = (60, 40)) -> Outcome:
    count = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.arange(count, dtype=np.int32), np.arange(count, dtype=np.int32),
    )  # fmt: skip
    return Outcome("sub/a.jpg", 3, found, size)


def colour(path: Path) -> tuple[float, ...]:
    return tuple(np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).mean(0))


def test_crops_have_the_box_s_size_and_colour(tmp_path: Path) -> None:
    crops = CropFiles(tmp_path, ("人", "car/van"), None)
    crops.add(picture(), outcome([[2.5, 3, 20.2, 30], [40, 0, 60, 40]], [0.9, 0.8]))
    person, car = tmp_path / "crops/人/sub/a.jpg-0.jpg", tmp_path / "crops/car_van/sub/a.jpg-1.jpg"
    assert sorted(path for path in (tmp_path / "crops").rglob("*") if path.is_file()) == sorted([person, car])
    assert Image.open(person).size == (19, 27)  # every pixel that the box touches: columns 2 to 20
    assert Image.open(car).size == (20, 40)
    assert colour(person) == pytest.approx(RED, abs=3)
    assert colour(car) == pytest.approx(BLUE, abs=3)
    assert Image.open(person).format == "JPEG"


def test_only_what_is_shown_is_cut_out(tmp_path: Path) -> None:
    CropFiles(tmp_path, ("a", "b"), 0.85).add(picture(), outcome([[0, 0, 9, 9], [0, 0, 9, 9]], [0.9, 0.8]))
    assert [path.name for path in (tmp_path / "crops").rglob("*.jpg")] == ["a.jpg-0.jpg"]


@pytest.mark.parametrize("box", [[60, 40, 60, 40], [0, 0, 0, 0], [59.5, 0, 60, 0]])
def test_a_box_without_area_still_gives_a_pixel(tmp_path: Path, box: list[float]) -> None:
    CropFiles(tmp_path, ("a",), None).add(picture(), outcome([box], [0.9]))
    assert Image.open(tmp_path / "crops/a/sub/a.jpg-0.jpg").size == (1, 1)


def test_boxes_of_the_full_image_fit_reduced_pixels(tmp_path: Path) -> None:
    CropFiles(tmp_path, ("a",), None).add(picture(), outcome([[80, 0, 120, 80]], [0.9], size=(120, 80)))
    assert Image.open(tmp_path / "crops/a/sub/a.jpg-0.jpg").size == (20, 40)


def test_failures_and_tags_give_no_crops(tmp_path: Path) -> None:
    crops = CropFiles(tmp_path, ("a",), None)
    crops.add(picture(), Outcome("a", 0, Failure("a", "decode", "truncated", "")))
    crops.add(picture(), Outcome("a", 0, Tags(np.zeros(1, np.int32), np.ones(1, np.float32)), (60, 40)))
    assert not (tmp_path / "crops").exists()


def test_a_crop_is_no_wider_than_jpeg_allows(tmp_path: Path) -> None:
    frame = Frame("wide", np.zeros((1, 70_000, 3), np.uint8))
    CropFiles(tmp_path, ("a",), None).add(frame, outcome([[0, 0, 70_000, 1]], [0.9], size=(70_000, 1)))
    assert Image.open(tmp_path / "crops/a/sub/a.jpg-0.jpg").size == (65_500, 1)


def test_folder_names_are_safe_and_never_the_same() -> None:
    names = ("人", "a/b", "..", "a:b", "", "A_b", "x" * 300, "行" * 60, "tab\there", "end. ", "a_b-3", "红绿灯")
    folders = folder_names(names)
    assert len({folder.casefold() for folder in folders}) == len(names)
    assert folders[0] == "人"
    assert folders[-1] == "红绿灯"
    for folder in folders:
        assert folder == folder.strip(". ")
        assert folder
        assert len(folder.encode()) < 110
        assert not set(folder) & set('/\\:*?"<>|\t\0')
