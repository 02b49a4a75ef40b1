"""A photo gives the same boxes however it is stored: the EXIF orientation is applied, once, before all else."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import write_detector

import boxmill
from boxmill import Detections

sys.path.insert(0, str(Path(__file__).parent.parent / "images"))
from encoded import encode, exif_block, jpeg_with_exif, png_with_exif

CARDS = Path(__file__).parent.parent / "cards"
# EXIF 2.32, 4.6.4, tag 274: how an upright picture is stored for each orientation
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: upright[::-1].transpose(1, 0, 2),
}


def same(a: Detections, b: Detections) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("boxes", "scores", "classes"))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_every_orientation_gives_the_same_boxes(tmp_path: Path, suffix: str) -> None:
    """PNG: any pixels. JPEG: blocks of one colour each, which lose nothing whichever way they are stored."""
    upright = np.random.default_rng(4).integers(0, 256, (9, 14, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b"))
    with boxmill.load(weights, conf=0.5, precision="fp32") as model:
        expected = model.predict(encode_as(tmp_path, upright, suffix, 1))
        assert len(expected) > 3
        for orientation, stored in STORED.items():
            found = model.predict(encode_as(tmp_path, np.ascontiguousarray(stored(upright)), suffix, orientation))
            assert same(found, expected), orientation


def encode_as(folder: Path, stored: np.ndarray, suffix: str, orientation: int) -> Path:
    block = exif_block(orientation)
    if suffix == ".png":
        data = png_with_exif(encode(stored, suffix), block)
    else:
        sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        data = jpeg_with_exif(encode(stored, suffix, cv2.IMWRITE_JPEG_QUALITY, 100, *sampling), block)
    path = folder / f"{orientation}{suffix}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["yolov5n_640", "yolox_nano_416"])
def test_the_public_example_photos_show_the_same_person(assets: Path, name: str) -> None:
    folder = assets / "hostile/recurser+exif-orientation-examples"
    card = CARDS / f"{name}.yaml"
    with boxmill.load(assets / f"models/{name}.onnx", card=card, conf=0.5, precision="fp32") as model:
        people = [best_person(model.predict(path), model.names) for path in sorted(folder.glob("*.jpg"))]
    assert len(people) == 9
    for person in people[1:]:
        assert iou(person, people[0]) >= 0.95


def best_person(found: Detections, names: tuple[str, ...]) -> np.ndarray:
    return found.boxes[found.classes == names.index("person")][0]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    inter = np.prod(np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])))
    return float(inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter))
