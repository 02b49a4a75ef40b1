"""Where an image lies in the network's input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxmill.images import geometry, tensor_shape
from boxmill.types import InputSpec


def test_wide_image_in_a_square():
    placed = geometry((1080, 1920), InputSpec())
    assert placed.network == (640, 640)
    assert placed.pad == (0, 140)
    assert placed.source == (1080, 1920)
    assert placed.scale == (float(np.float32(1 / 3)),) * 2
    assert placed.resized == (360, 640)


def test_a_letterbox_has_one_scale_though_sizes_are_rounded():
    # 427 * 640 / 500 = 546.56 becomes 547 rows, but labels were multiplied by 1.28 in training.
    placed = geometry((427, 500), InputSpec())
    assert placed.resized == (547, 640)
    assert placed.scale == (float(np.float32(1.28)),) * 2
    line = geometry((1, 10_000), InputSpec(resize="letterbox_topleft"))
    assert line.resized == (1, 640)
    assert line.scale == (float(np.float32(0.064)),) * 2


def test_rect_takes_the_smallest_multiples_of_the_stride():
    placed = geometry((1080, 1920), InputSpec(), rect=True)
    assert placed.network == (384, 640)
    assert placed.pad == (0, 12)


def test_odd_borders_put_the_smaller_half_first():
    assert geometry((639, 640), InputSpec()).pad == (0, 0)
    assert geometry((637, 640), InputSpec()).pad == (0, 1)


def test_top_left():
    spec = InputSpec(size=(416, 416), resize="letterbox_topleft")
    assert geometry((100, 200), spec).pad == (0, 0)
    assert geometry((100, 200), spec).network == (416, 416)
    assert geometry((100, 200), spec, rect=True).network == (224, 416)


def test_stretch_scales_each_axis_by_itself():
    placed = geometry((100, 200), InputSpec(size=(320, 320), resize="stretch"), rect=True)
    assert placed.network == placed.resized == (320, 320)
    assert placed.scale == (float(np.float32(1.6)), float(np.float32(3.2)))
    assert placed.pad == (0, 0)


def test_rounding():
    # 3 * 0.5 and 5 * 0.5: halves go to the even neighbour, or down.
    assert geometry((3, 20), InputSpec(size=(10, 10))).resized == (2, 10)
    assert geometry((5, 20), InputSpec(size=(10, 10))).resized == (2, 10)
    assert geometry((7, 20), InputSpec(size=(10, 10))).resized == (4, 10)
    assert geometry((7, 20), InputSpec(size=(10, 10), rounding="floor")).resized == (3, 10)


def test_a_line_keeps_one_pixel():
    assert geometry((1, 10_000), InputSpec()).resized == (1, 640)
    assert geometry((1, 10_000), InputSpec(), rect=True).network == (32, 640)


@pytest.mark.parametrize("source", [(0, 5), (5, 0), (-1, 5)])
def test_no_pixels_is_an_error(source):
    with pytest.raises(ValueError, match="at least 1x1"):
        geometry(source, InputSpec())


def test_tensor_shape_follows_the_layout():
    assert tensor_shape((4, 6), InputSpec()) == (3, 4, 6)
    assert tensor_shape((4, 6), InputSpec(layout="NHWC")) == (4, 6, 3)


@given(
    st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    st.sampled_from(["letterbox", "letterbox_topleft", "stretch"]),
    st.sampled_from(["round", "floor"]),
    st.booleans(),
)
def test_the_image_lies_inside_and_the_way_back_is_known(source, resize, rounding, rect):
    placed = geometry(source, InputSpec(resize=resize, rounding=rounding), rect=rect)
    (height, width), (left, top) = placed.resized, placed.pad
    assert height >= 1
    assert width >= 1
    assert left + width <= placed.network[1]
    assert top + height <= placed.network[0]
    fitted = np.float32(min(640 / source[1], 640 / source[0]))
    stretched = (float(np.float32(640 / source[1])), float(np.float32(640 / source[0])))
    assert placed.scale == (stretched if resize == "stretch" else (float(fitted),) * 2)
    if rect and resize != "stretch":
        assert placed.network[0] - height < 32
        assert placed.network[1] - width < 32
        assert placed.network[0] % 32 == placed.network[1] % 32 == 0
