"""Sizes and places, judged by counting pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from render.shown import crowd

from boxmill.render.layout import Placer, sizes, visible_boxes


def whole(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(boxes, np.int64).reshape(-1, 4)


@pytest.mark.parametrize(
    ("height", "width", "font", "line"),
    [(1, 1, 11, 1), (64, 64, 11, 1), (480, 640, 13, 2), (1080, 1920, 27, 3), (2160, 3840, 45, 6),
     (10_000, 10_000, 115, 14), (10_000, 20, 11, 1), (30_000, 30_000, 120, 15)],
)  # fmt: skip
def test_lines_and_letters_grow_with_the_picture(height: int, width: int, font: int, line: int) -> None:
    one = sizes(height, width, whole((0, 0, width, height)))
    assert (one.font, one.line) == (font, line)
    assert 11 <= one.small <= one.font


def test_letters_shrink_in_a_crowd_and_where_objects_are_small() -> None:
    alone, _ = whole((0, 0, 900, 900)), None
    many = np.repeat(alone, 300, axis=0)
    assert sizes(1080, 1920, many).font < sizes(1080, 1920, np.repeat(alone, 60, axis=0)).font
    assert sizes(1080, 1920, many).line == 2 < sizes(1080, 1920, alone).line
    assert sizes(1080, 1920, whole(*[(9, 9, 39, 39)] * 9)).font == 13
    assert sizes(1080, 1920, whole()).font == 27


def test_boxes_outside_and_without_area() -> None:
    nan, inf = float("nan"), float("inf")
    boxes = [
        [-5, -5, 3.2, 4],  # clipped
        [2, 3, 2, 3],  # a point
        [9, 5, 9, 99],  # a line at the right edge
        [-9, 0, -1, 5],  # outside
        [10, 0, 20, 5],  # outside: begins after the last pixel
        [5, 5, 2, 8],  # inside out
        [0, nan, 5, 5],
        [-inf, -inf, inf, inf],
        [inf, inf, inf, inf],
    ]
    seen, which = visible_boxes(np.array(boxes, np.float32), 8, 10)
    assert which.tolist() == [0, 1, 2, 7]
    assert seen.tolist() == [[0, 0, 4, 4], [2, 3, 3, 4], [9, 5, 10, 8], [0, 0, 10, 8]]
    seen, which = visible_boxes(np.zeros((0, 4), np.float32), 8, 10)
    assert (seen.shape, which.shape) == ((0, 4), (0,))


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((30, 30, 70, 70), (30, 20)),  # above
        ((80, 30, 99, 70), (70, 20)),  # above, moved in from the edge
        ((0, 4, 100, 96), (0, 4)),  # inside, at the top
        ((0, 5, 25, 40), (0, 40)),  # too small to hold it: below
        ((0, 0, 100, 100), (0, 0)),
        ((0, 0, 20, 100), (20, 0)),  # only beside it
    ],
)
def test_where_one_label_goes(box: tuple[int, int, int, int], place: tuple[int, int]) -> None:
    assert Placer(100, 100, whole(box)).place(0, (30, 10)) == place


def test_the_second_label_evades_the_first_and_no_room_is_no_label() -> None:
    placer = Placer(100, 100, whole(*[(30, 40, 70, 60)] * 9))
    places = [placer.place(index, (35, 12)) for index in range(9)]
    assert places[:3] == [(30, 28), (30, 60), None]  # above right and below right would overlap these
    assert Placer(20, 20, whole((0, 0, 20, 20))).place(0, (21, 5)) is None


def test_a_label_hides_no_other_object() -> None:
    placer = Placer(100, 100, whole((30, 40, 70, 60), (32, 30, 50, 38)))
    left, top = placer.place(0, (35, 12)) or (0, 0)
    assert (left, top) == (30, 60)


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(5, 60), st.integers(5, 20))
@settings(max_examples=60, deadline=None)
def test_labels_never_overlap_nor_leave_the_picture(seed: int, count: int, wide: int, high: int) -> None:
    boxes, _ = visible_boxes(crowd(count, 200, 300, seed).boxes, 200, 300)
    placer = Placer(200, 300, boxes)
    canvas = np.zeros((200, 300), int)
    for index in range(len(boxes)):
        place = placer.place(index, (wide, high))
        if place is not None:
            left, top = place
            assert left >= 0
            assert top >= 0
            area = canvas[top : top + high, left : left + wide]
            assert area.shape == (high, wide)
            area += 1
            for other, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
                mask = np.zeros_like(canvas, bool)
                mask[top : top + high, left : left + wide] = True
                assert other == index or mask[y1:y2, x1:x2].mean() <= 0.5
    assert canvas.max() <= 1
