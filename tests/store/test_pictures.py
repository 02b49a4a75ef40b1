"""The files of --save-img."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from boxmill.errors import OutputError
from boxmill.store import PictureFiles
from boxmill.types import Detections, Failure, Frame, Outcome, Tags, UInt8


def picture(height: int = 40, width: int = 60) -> Frame:
    return Frame("sub/a.jpg", np.full((height, width, 3), (200, 30, 90), np.uint8))


def outcome(boxes: list[list[float]], scores: list[float], size: tuple[int, int] = (60, 40)) -> Outcome:
    count = len(boxes)
    numbers = np.arange(count, dtype=np.int32)
    found = Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), numbers, numbers)
    return Outcome("sub/a.jpg", 0, found, size)


class Painting:
    """Remembers what it was asked to paint, and paints the boxes black."""

    def __init__(self) -> None:
        self.asked: list[list[list[float]]] = []

    def __call__(self, pixels: UInt8, found: Detections) -> UInt8:
        self.asked.append(found.boxes.tolist())
        image = pixels.copy()
        for left, top, right, bottom in found.boxes.astype(int).tolist():
            image[top:bottom, left:right] = 0
        return image


def written(folder: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(folder / "images/sub/a.jpg.jpg")), cv2.COLOR_BGR2RGB)


def test_a_picture_has_the_image_s_size_and_colours(tmp_path: Path) -> None:
    frame = picture()
    PictureFiles(tmp_path, Painting(), None).add(frame, outcome([[8, 8, 24, 32]], [0.9]))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.jpg.jpg"]
    image = written(tmp_path).astype(int)
    assert image.shape == (40, 60, 3)
    assert np.abs(image[:, 40:] - (200, 30, 90)).max() <= 8
    assert image[12:28, 12:20].max() <= 8
    assert (frame.pixels == (200, 30, 90)).all()


def test_what_is_shown_is_drawn_in_the_pixels_that_there_are(tmp_path: Path) -> None:
    painting = Painting()
    PictureFiles(tmp_path, painting, 0.85).add(
        picture(), outcome([[60, 40, 120, 80], [0, 0, 9, 9]], [0.9, 0.8], (120, 80))
    )
    assert painting.asked == [[[30, 20, 60, 40]]]


def test_an_image_without_objects_has_a_picture_and_failures_and_tags_have_none(tmp_path: Path) -> None:
    pictures = PictureFiles(tmp_path, Painting(), None)
    pictures.add(picture(), Outcome("a", 0, Failure("a", "decode", "truncated", "")))
    pictures.add(picture(), Outcome("a", 0, Tags(np.zeros(1, np.int32), np.ones(1, np.float32)), (60, 40)))
    assert not (tmp_path / "images").exists()
    pictures.add(picture(), outcome([], []))
    assert np.abs(written(tmp_path).astype(int) - (200, 30, 90)).max() <= 8


def test_a_side_that_jpeg_cannot_hold_is_made_smaller(tmp_path: Path) -> None:
    painting = Painting()
    PictureFiles(tmp_path, painting, None).add(picture(2, 131_000), outcome([[0, 0, 131_000, 2]], [0.9], (131_000, 2)))
    assert painting.asked == [[[0, 0, 65_500, 1]]]
    assert written(tmp_path).shape == (1, 65_500, 3)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        PictureFiles(tmp_path, Painting(), None).add(picture(), outcome([], []))
