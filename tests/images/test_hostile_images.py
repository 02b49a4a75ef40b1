"""Malformed and odd files from other projects' corpora: each ends in a frame or an ImageError, never anything else."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from boxmill.errors import ImageError
from boxmill.images import DecodeLimits, decode, read_header

ASSETS = os.environ.get("BOXMILL_ASSETS")
pytestmark = pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS is unset: no hostile images to decode")
HOSTILE = Path(ASSETS or ".") / "hostile"
CODES = {"empty", "unsupported", "too_large", "corrupt", "truncated"}
LIMITS = DecodeLimits(max_pixels=4_000_000)  # all real images there are smaller; keeps the test light


def decoded(data: bytes) -> np.ndarray | str:
    """Pixels, or the code of the refusal."""
    try:
        return decode(data, "x", LIMITS).pixels
    except ImageError as error:
        return error.code


@pytest.mark.parametrize("corpus", ["image-rs+image-png", "libjpeg-turbo+seed-corpora"])
def test_every_file_ends_in_a_frame_or_a_known_code(corpus):
    seen: set[str] = set()
    for path in (HOSTILE / corpus).rglob("*"):
        if path.is_file():
            result = decoded(path.read_bytes())
            if isinstance(result, str):
                assert result in CODES, path.name
                seen.add(result)
            else:
                assert result.dtype == np.uint8
                assert result.shape[2:] == (3,)
                seen.add("frame")
    assert {"frame", "corrupt", "truncated", "unsupported"} <= seen


def test_png_suite_decodes_all_but_the_broken_files():
    for path in (HOSTILE / "image-rs+image-png/tests/pngsuite").glob("*.png"):
        refused = isinstance(decoded(path.read_bytes()), str)
        assert refused == path.name.startswith("x"), path.name


def test_example_photos_stand_upright():
    photos = sorted((HOSTILE / "recurser+exif-orientation-examples").glob("*.jpg"))
    found, small = [], []
    for path in photos:
        data = path.read_bytes()
        found.append(read_header(data).orientation)
        small.append(cv2.resize(decode(data, "x").pixels, (60, 80), interpolation=cv2.INTER_AREA).astype(int))
    assert found == [1, *range(1, 9)]  # the photo named 0 carries the value 0, which means nothing
    for picture in small[2:]:
        assert np.abs(picture - small[1]).mean() < 2
