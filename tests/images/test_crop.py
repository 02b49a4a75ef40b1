"""Resizing as taggers are trained with it: Pillow's bits, torchvision's crop."""

from __future__ import annotations

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from boxmill import _native
from boxmill.errors import ModelError
from boxmill.images import check_resize, geometry, preprocess, reference_antialias, reference_letterbox
from boxmill.types import Frame, InputSpec

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
EXACT = platform.machine() in (
    "x86_64",
    "AMD64",
)  # compilers for other processors fuse multiply-adds in Pillow's weights


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def extremes(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Black and white only: bicubic then leaves 0-255 as far as it can."""
    return noise(height, width, seed) // 128 * 255


def ours(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    return preprocess(Frame("x", pixels), geometry(pixels.shape[:2], spec), spec)


def plain(size: tuple[int, int], resize: str = "stretch", **options: object) -> InputSpec:
    """A specification that leaves grey levels as they are."""
    return InputSpec(size=size, scale=1.0, layout="NHWC", resize=resize, antialias=True, **options)


def pillow(pixels: np.ndarray, resized: tuple[int, int], interpolation: str) -> np.ndarray:
    """Across, then down, a call each: from Pillow 13 on, one call goes down first where the height shrinks more."""
    height, width = resized
    across = Image.fromarray(pixels).resize((width, len(pixels)), FILTERS[interpolation])
    return np.asarray(across.resize((width, height), FILTERS[interpolation]))


def assert_like_pillow(actual: np.ndarray, expected: np.ndarray) -> None:
    if EXACT:
        np.testing.assert_array_equal(actual, expected)
    else:
        assert np.abs(actual.astype(int) - expected.astype(int)).max() <= 1


SIZES = [  # source, resized
    ((1080, 1920), (256, 455)),
    ((427, 640), (256, 383)),
    ((480, 640), (384, 384)),
    ((90, 160), (224, 398)),
    ((256, 256), (256, 256)),
    ((256, 300), (256, 100)),
    ((37, 41), (511, 399)),
    ((1000, 1300), (7, 5)),
    ((3, 5), (7, 9)),
    ((2, 2), (1, 1)),
    ((1, 1), (33, 70)),
    ((1, 20_000), (3, 2)),
    ((20_000, 1), (2, 3)),
    ((1, 2), (64, 65)),
]


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("source", "resized"), SIZES)
def test_equal_to_pillow(source, resized, interpolation):
    for pixels in (noise(*source), extremes(*source)):
        assert_like_pillow(
            ours(pixels, plain(resized, interpolation=interpolation)), pillow(pixels, resized, interpolation)
        )


SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 90))


@given(SHAPES, SHAPES, st.sampled_from(list(FILTERS)), st.integers(0, 9), st.sampled_from([noise, extremes]))
@settings(max_examples=200, deadline=None)
def test_equal_to_pillow_at_any_size(source, resized, interpolation, seed, make):
    pixels = make(*source, seed)
    assert_like_pillow(
        ours(pixels, plain(resized, interpolation=interpolation)), pillow(pixels, resized, interpolation)
    )


@given(SHAPES, SHAPES, st.sampled_from(list(FILTERS)))
@settings(max_examples=60, deadline=None)
def test_the_reference_is_equal_to_pillow(source, resized, interpolation):
    pixels = extremes(*source)
    assert_like_pillow(reference_antialias(pixels, *resized, interpolation), pillow(pixels, resized, interpolation))


@given(
    SHAPES,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["letterbox", "letterbox_topleft", "stretch", "center_crop"]),
    st.sampled_from([("bilinear", False), ("bilinear", True), ("bicubic", True)]),
    st.sampled_from([("NCHW", "RGB"), ("NHWC", "BGR"), ("NCHW", "BGR"), ("NHWC", "RGB")]),
    st.integers(0, 20),
)
@settings(max_examples=200, deadline=None)
def test_same_bits_as_the_reference(source, size, resize, filters, order, margin):
    spec = InputSpec(
        size=size,
        layout=order[0],
        color=order[1],
        resize=resize,
        crop_from=max(size) + margin,
        interpolation=filters[0],
        antialias=filters[1],
        **IMAGENET,
    )
    pixels = noise(*source)
    placed = geometry(source, spec)
    np.testing.assert_array_equal(ours(pixels, spec), reference_letterbox(pixels, placed, spec), strict=True)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    "source", [(427, 640), (640, 427), (1080, 1920), (256, 256), (100, 300), (257, 259), (31, 500)]
)
def test_center_crop_is_resize_and_crop(source, interpolation):
    pixels = noise(*source)
    short = min(source)
    resized = tuple(256 if side == short else int(256 * side / short) for side in source)
    whole = pillow(pixels, resized, interpolation)
    top, left = (round((side - 224) / 2) for side in resized)
    cut = whole[top : top + 224, left : left + 224]
    spec = plain((224, 224), "center_crop", crop_from=256, interpolation=interpolation)
    assert_like_pillow(ours(pixels, spec), cut)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("source", [(480, 640), (640, 480), (427, 640), (1000, 300)])
def test_one_call_of_any_pillow_is_as_good_as_equal(source, interpolation):
    """Whichever order it takes: a smooth picture differs by a grey level at most."""
    pixels = cv2.resize(noise(6, 6), source[::-1], interpolation=cv2.INTER_LINEAR)
    for resized in ((256, 256), (384, 200)):
        one_call = Image.fromarray(pixels).resize(resized[::-1], FILTERS[interpolation])
        difference = ours(pixels, plain(resized, interpolation=interpolation)) - np.asarray(one_call)
        assert np.abs(difference).max() <= 1


def test_center_crop_without_antialiasing_is_opencv_and_crop():
    pixels = noise(300, 401)
    spec = InputSpec(size=(224, 224), scale=1.0, layout="NHWC", resize="center_crop", crop_from=256)
    whole = cv2.resize(pixels, (342, 256), interpolation=cv2.INTER_LINEAR)
    difference = np.abs(ours(pixels, spec) - whole[16:240, 59:283])
    assert difference.max() <= (0 if EXACT else 1)


@pytest.mark.parametrize(
    ("source", "resized", "pad"),
    [
        ((1080, 1920), (256, 455), (-116, -16)),  # (455 - 224) / 2 = 115.5: to the even 116
        ((1920, 1080), (455, 256), (-16, -116)),
        ((427, 640), (256, 383), (-80, -16)),  # 79.5
        ((640, 427), (383, 256), (-16, -80)),
        ((300, 300), (256, 256), (-16, -16)),
        ((1, 100_000_000), (256, 25_600_000_000), (-12_799_999_888, -16)),
    ],
)
def test_center_crop_geometry(source, resized, pad):
    placed = geometry(source, InputSpec(size=(224, 224), resize="center_crop", crop_from=256), rect=True)
    assert (placed.network, placed.resized, placed.pad, placed.source) == ((224, 224), resized, pad, source)
    assert placed.scale == (float(np.float32(resized[1] / source[1])), float(np.float32(resized[0] / source[0])))


def test_without_crop_from_the_shorter_side_becomes_the_longer_of_the_size():
    placed = geometry((100, 200), InputSpec(size=(192, 224), resize="center_crop"))
    assert placed.resized == (224, 448)
    assert placed.pad == (-112, -16)


def test_a_network_of_other_proportions_is_cut_out():
    spec = plain((64, 100), "center_crop", crop_from=110)
    pixels = noise(200, 150)
    whole = pillow(pixels, (146, 110), "bilinear")
    assert_like_pillow(ours(pixels, spec), whole[41:105, 5:105])


@pytest.mark.parametrize("size", [(257, 224), (224, 257)])
def test_a_crop_larger_than_the_resized_image_is_refused(size):
    spec = InputSpec(size=size, resize="center_crop", crop_from=256)
    with pytest.raises(ModelError, match=r"crop_from of at least 257.*got 256"):
        check_resize(spec)
    with pytest.raises(ModelError, match="crop_from"):
        geometry((300, 300), spec)
    check_resize(InputSpec(size=size, resize="stretch", crop_from=256))


def test_bicubic_without_antialiasing_is_refused():
    with pytest.raises(ModelError, match="set antialias: true"):
        geometry((300, 300), InputSpec(interpolation="bicubic"))
    check_resize(InputSpec(interpolation="bicubic", antialias=True))


@pytest.mark.parametrize("shape", [(1, 140_000), (3, 300_000)])
def test_rows_so_long_that_their_weights_are_computed_in_parts(shape):
    pixels = noise(*shape)
    for interpolation in FILTERS:
        assert_like_pillow(
            ours(pixels, plain((2, 61), interpolation=interpolation)), pillow(pixels, (2, 61), interpolation)
        )


def test_a_line_of_a_million_pixels_keeps_its_middle():
    pixels = np.zeros((1, 1_000_000, 3), np.uint8)
    pixels[0, 500_000:] = 200
    image = ours(pixels, plain((8, 8), "center_crop", crop_from=8))
    assert (image[:, :4] < 100).all()
    assert (image[:, 4:] > 100).all()


def views() -> dict[str, np.ndarray]:
    whole = noise(60, 80)
    return {
        "window": whole[5:45, 7:67],
        "last rows": whole[-9:, -11:],
        "every other row": whole[::2],
        "upside down": whole[::-1],
        "mirrored": whole[:, ::-1],
        "channels reversed": whole[..., ::-1],
        "same row again": np.broadcast_to(whole[:1], whole.shape),
        "Fortran order": np.asfortranarray(whole),
    }


@pytest.mark.parametrize("name", views())
def test_strided_sources(name):
    view, spec = views()[name], plain((48, 48), "center_crop", crop_from=50, interpolation="bicubic")
    np.testing.assert_array_equal(ours(view, spec), ours(view.copy(), spec))


GUARDED = """
import ctypes, mmap
import numpy as np
from boxmill.images import geometry, preprocess
from boxmill.types import Frame, InputSpec

memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
whole = np.frombuffer(memory, np.uint8)
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
assert protect(whole.ctypes.data + mmap.PAGESIZE, mmap.PAGESIZE, 0) == 0
for width in range(1, 40):
    pixels = whole[mmap.PAGESIZE - 9 * width * 3 : mmap.PAGESIZE].reshape(9, width, 3)
    for resized in (3, 11, 50):
        spec = InputSpec(size=(resized, resized), resize="stretch", antialias=True, interpolation="bicubic")
        preprocess(Frame("x", pixels), geometry((9, width), spec), spec)
print("unharmed")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_is_read_behind_the_last_pixel():
    run = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, check=False)
    assert run.stdout == "unharmed\n", (run.returncode, run.stderr)


def test_writes_into_one_slot_of_a_batch_and_nowhere_else():
    pixels = noise(50, 70)
    spec = InputSpec(size=(32, 32), resize="center_crop", crop_from=40, antialias=True, **IMAGENET)
    batch = np.full((3, 3, 32, 32), -7, np.float32)
    placed = geometry((50, 70), spec)
    assert preprocess(Frame("x", pixels), placed, spec, batch[1]).base is batch
    np.testing.assert_array_equal(batch[1], reference_letterbox(pixels, placed, spec))
    assert (batch[[0, 2]] == -7).all()


def test_threads_agree():
    pixels, spec = noise(300, 400), plain((96, 96), "center_crop", crop_from=100)
    expected = ours(pixels, spec)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: ours(pixels, spec), range(16)))
    assert all((result == expected).all() for result in results)


@pytest.mark.parametrize(
    "place", [(1, 0, 8, 8), (0, -1, 8, 8), (0, 0, 0, 8), (-1, 0, 8, 8), (0, 0, 2**49, 8), (-(2**49), 0, 2**48, 8)]
)
def test_the_native_door_refuses_a_place_that_neither_fits_nor_covers(place):
    target = np.empty((3, 8, 8), np.float32)
    with pytest.raises(ValueError, match="inside the target, or cover it"):
        _native.resample(noise(4, 4), target, place, (1, 0, 0, 0, 1, 1, 1, 114), False, False, False)
