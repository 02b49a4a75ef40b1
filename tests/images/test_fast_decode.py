"""Reduced decoding: fewer pixels of the same image, never fewer than the network gets."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from encoded import encode, exif_block, jpeg_with_exif
from hypothesis import given
from hypothesis import strategies as st

from boxmill.images import decode, geometry, preprocess, read_header, wanted_by
from boxmill.images.reduce import reduction
from boxmill.types import InputSpec

SPEC = InputSpec(size=(64, 64))
PHOTO = cv2.resize(
    np.random.default_rng(1).integers(0, 256, (9, 12, 3), np.uint8), (401, 299), interpolation=cv2.INTER_CUBIC
)
JPEG = encode(PHOTO, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)


@pytest.mark.parametrize(
    ("source", "wanted", "expected"),
    [
        ((800, 800), (100, 100), 8),
        ((800, 800), (101, 100), 4),
        ((793, 793), (100, 100), 8),
        ((792, 793), (100, 100), 4),
        ((400, 1600), (100, 100), 4),
        ((199, 200), (100, 100), 2),
        ((198, 200), (100, 100), 1),
        ((50, 50), (100, 100), 1),
    ],
)
def test_the_smallest_that_will_do(source, wanted, expected):
    assert reduction(source, wanted) == expected


@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.sampled_from(["letterbox", "letterbox_topleft", "stretch"]),
    st.booleans(),
)
def test_a_network_never_gets_enlarged_pixels_because_of_it(source, resize, rect):
    spec = replace(SPEC, resize=resize)
    n = reduction(source, wanted_by(spec, rect=rect)(source))
    resized = geometry(source, spec, rect=rect).resized
    assert n == 1 or all(-(-side // n) >= least for side, least in zip(source, resized, strict=True))


def test_a_jpeg_is_decoded_at_a_part_of_its_size():
    frame = decode(JPEG, "x", fast=wanted_by(SPEC))
    assert frame.pixels.shape == (75, 101, 3)
    assert frame.source == (299, 401)
    averaged = cv2.resize(PHOTO, (101, 75), interpolation=cv2.INTER_AREA)
    assert np.abs(frame.pixels.astype(int) - averaged).mean() < 4
    assert frame.pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photo_is_reduced_as_it_stands(orientation):
    data = jpeg_with_exif(JPEG, exif_block(orientation))
    assert read_header(data).orientation == orientation
    frame, whole = decode(data, "x", fast=wanted_by(SPEC)), decode(data, "x")
    assert frame.source == whole.source == whole.pixels.shape[:2]
    assert frame.pixels.shape == ((75, 101, 3) if orientation in (1, 3) else (101, 75, 3))


def test_the_network_gets_nearly_the_same():
    frame, whole = decode(JPEG, "x", fast=wanted_by(SPEC)), decode(JPEG, "x")
    placed = geometry(frame.source, SPEC)
    assert placed == geometry(whole.source, SPEC)
    difference = np.abs(preprocess(frame, placed, SPEC) - preprocess(whole, placed, SPEC))
    assert 0 < difference.mean() < 0.02


def test_other_formats_and_small_photos_are_decoded_whole():
    fast = wanted_by(SPEC)
    assert decode(encode(PHOTO, ".png"), "x", fast=fast).pixels.shape == PHOTO.shape
    assert decode(JPEG, "x", fast=wanted_by(InputSpec(size=(320, 320)))).pixels.shape == PHOTO.shape
    assert decode(JPEG, "x").pixels.shape == PHOTO.shape


def test_a_reduced_frame_of_another_image_is_refused():
    frame = decode(JPEG, "x", fast=wanted_by(SPEC))
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        preprocess(frame, geometry(frame.pixels.shape[:2], SPEC), SPEC)
