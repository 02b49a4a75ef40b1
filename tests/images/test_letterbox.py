"""The native letterbox: the reference's bits, and OpenCV's."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxmill import _native
from boxmill.images import geometry, preprocess, reference_letterbox
from boxmill.types import Frame, InputSpec

NANODET = {"mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395), "scale": 1.0}
SPECS = {
    "unit": InputSpec(size=(64, 96)),
    "BGR": InputSpec(size=(64, 96), color="BGR", scale=1.0),
    "NHWC": InputSpec(size=(64, 96), layout="NHWC"),
    "NHWC BGR": InputSpec(size=(64, 96), layout="NHWC", color="BGR", **NANODET),
    "mean and std": InputSpec(size=(64, 96), color="BGR", **NANODET),
    "top left": InputSpec(size=(64, 96), resize="letterbox_topleft", pad=0),
    "stretch": InputSpec(size=(61, 83), resize="stretch"),
}
SOURCES = [(64, 96), (128, 192), (192, 288), (37, 211), (301, 45), (20, 20), (1, 1), (1, 300), (300, 1), (2, 2), (5, 3)]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def ours(pixels: np.ndarray, spec: InputSpec, *, rect: bool = False) -> np.ndarray:
    return preprocess(Frame("x", pixels), geometry(pixels.shape[:2], spec, rect=rect), spec)


def expected(pixels: np.ndarray, spec: InputSpec, *, rect: bool = False) -> np.ndarray:
    return reference_letterbox(pixels, geometry(pixels.shape[:2], spec, rect=rect), spec)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", SPECS)
def test_same_bits_as_the_reference(name, source):
    pixels = noise(*source)
    np.testing.assert_array_equal(ours(pixels, SPECS[name]), expected(pixels, SPECS[name]), strict=True)


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from(list(SPECS.values())),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_same_bits_as_the_reference_at_any_size(source, size, like, rect):
    spec = InputSpec(
        size=size,
        layout=like.layout,
        color=like.color,
        scale=like.scale,
        mean=like.mean,
        std=like.std,
        resize=like.resize,
    )
    pixels = noise(*source)
    np.testing.assert_array_equal(ours(pixels, spec, rect=rect), expected(pixels, spec, rect=rect), strict=True)


def check_against_opencv(pixels: np.ndarray, resized: tuple[int, int]) -> None:
    """Equal on x86-64; OpenCV's other builds round otherwise here and there."""
    spec = InputSpec(size=resized, scale=1.0, layout="NHWC", resize="stretch")
    theirs = cv2.resize(pixels, resized[::-1], interpolation=cv2.INTER_LINEAR)
    if platform.machine() in ("x86_64", "AMD64"):
        np.testing.assert_array_equal(ours(pixels, spec), theirs)
    else:
        assert np.abs(ours(pixels, spec) - theirs).max() <= 1


SIZES = [  # source, resized
    ((1080, 1920), (360, 640)),
    ((720, 1280), (360, 640)),
    ((427, 640), (427, 640)),
    ((333, 500), (426, 640)),
    ((1200, 1601), (480, 640)),
    ((90, 160), (360, 640)),
    ((64, 64), (32, 32)),  # exactly half, where OpenCV takes another path
    ((65, 64), (32, 32)),
    ((2160, 3840), (1080, 1920)),
    ((480, 640), (480, 320)),
    ((37, 41), (2111, 1999)),
    ((3000, 4000), (7, 5)),
    ((3, 5), (7, 9)),
    ((2, 2), (1, 1)),
    ((1, 1), (33, 70)),
    ((1, 300), (1, 640)),
    ((3000, 1), (640, 1)),
    ((1, 2), (640, 641)),
]


@pytest.mark.parametrize(("source", "resized"), SIZES)
def test_equal_to_opencv(source, resized):
    check_against_opencv(noise(*source), resized)
    check_against_opencv(noise(*source) // 128 * 255, resized)  # the most that sums can reach


@given(
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.integers(0, 9),
)
@settings(max_examples=200, deadline=None)
def test_equal_to_opencv_at_any_size(source, resized, seed):
    check_against_opencv(noise(*source, seed), resized)


@pytest.mark.parametrize("source", [(1080, 1920), (427, 640), (641, 360), (90, 160)])
def test_the_resized_image_lies_where_the_geometry_says(source):
    spec = InputSpec(scale=1.0, layout="NHWC")
    pixels = noise(*source)
    placed = geometry(source, spec, rect=True)
    (height, width), (left, top) = placed.resized, placed.pad
    stretched = InputSpec(size=placed.resized, scale=1.0, layout="NHWC", resize="stretch")
    image = ours(pixels, spec, rect=True)
    np.testing.assert_array_equal(image[top : top + height, left : left + width], ours(pixels, stretched))
    assert (np.delete(image, np.s_[top : top + height], axis=0) == 114).all()
    assert (np.delete(image, np.s_[left : left + width], axis=1) == 114).all()


def test_unscaled_pixels_come_through_exactly():
    pixels = noise(32, 64)
    image = ours(pixels, InputSpec(size=(32, 64), scale=1.0, layout="NHWC"))
    np.testing.assert_array_equal(image, pixels.astype(np.float32))


def test_border_is_the_normalised_grey():
    spec = InputSpec(size=(32, 32), color="BGR", **NANODET)
    image = ours(noise(16, 32), spec)
    grey = (np.float32(114) - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    for channel in range(3):
        assert (image[channel, :8] == grey[channel]).all()
        assert (image[channel, 24:] == grey[channel]).all()


def test_writes_into_one_slot_of_a_batch_and_nowhere_else():
    pixels, spec = noise(50, 70), InputSpec(size=(32, 32))
    batch = np.full((3, 3, 32, 32), -7, np.float32)
    out = batch[1]
    assert preprocess(Frame("x", pixels), geometry((50, 70), spec), spec, out) is out
    np.testing.assert_array_equal(batch[1], expected(pixels, spec))
    assert (batch[[0, 2]] == -7).all()


def views() -> dict[str, np.ndarray]:
    whole = noise(60, 80)
    frozen = noise(60, 80)
    frozen.flags.writeable = False
    return {
        "window": whole[5:45, 7:67],
        "last rows": whole[-9:, -11:],
        "every other row": whole[::2],
        "upside down": whole[::-1],
        "mirrored": whole[:, ::-1],
        "every other column": whole[:, ::2],
        "one odd pixel": whole[:1, :2][:, ::2],
        "channels reversed": whole[..., ::-1],
        "same row again": np.broadcast_to(whole[:1], whole.shape),
        "same pixel again": np.broadcast_to(whole[:1, :1], whole.shape),
        "Fortran order": np.asfortranarray(whole),
        "read-only": frozen,
    }


@pytest.mark.parametrize("name", views())
def test_strided_sources(name):
    view, spec = views()[name], InputSpec(size=(48, 48))
    np.testing.assert_array_equal(ours(view, spec), expected(view.copy(), spec))


def test_threads_agree():
    pixels, spec = noise(300, 400), InputSpec(size=(128, 128))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: ours(pixels, spec), range(16)))
    assert all((result == expected(pixels, spec)).all() for result in results)


def test_wrong_source_is_refused():
    spec = InputSpec(size=(32, 32))
    placed = geometry((10, 10), spec)
    with pytest.raises(ValueError, match=r"k.jpg: expected uint8 pixels of \(10, 10, 3\)"):
        preprocess(Frame("k.jpg", noise(10, 11)), placed, spec)
    with pytest.raises(ValueError, match="got float32"):
        preprocess(Frame("k.jpg", noise(10, 10).astype(np.float32)), placed, spec)


@pytest.mark.parametrize(
    "out",
    [np.empty((32, 32, 3), np.float32), np.empty((3, 32, 32)), np.empty((3, 32, 64), np.float32)[..., ::2]],
)
def test_wrong_target_is_refused(out):
    spec = InputSpec(size=(32, 32))
    with pytest.raises(ValueError, match="out must be C-contiguous float32"):
        preprocess(Frame("x", noise(10, 10)), geometry((10, 10), spec), spec, out)


@pytest.mark.parametrize(
    ("source", "shape", "place", "message"),
    [
        (noise(4, 4)[:, ::-1], (3, 8, 8), (0, 0, 8, 8), "packed"),
        (noise(4, 4), (4, 8, 8), (0, 0, 8, 8), "3 channels"),
        (noise(4, 4), (3, 8, 8), (1, 0, 8, 8), "inside the target"),
        (noise(4, 4), (3, 8, 8), (0, -1, 8, 8), "inside the target"),
        (noise(4, 4), (3, 8, 8), (0, 0, 0, 8), "inside the target"),
        (noise(4, 4), (3, 8, 8), (0, 2**31 - 1, 8, 8), "inside the target"),
        (noise(4, 4)[:0], (3, 8, 8), (0, 0, 8, 8), "rows and columns"),
    ],
)
def test_the_native_door_checks_what_it_is_given(source, shape, place, message):
    with pytest.raises(ValueError, match=message):
        _native.letterbox(source, np.empty(shape, np.float32), place, (1, 0, 0, 0, 1, 1, 1, 114), False, False)
