from __future__ import annotations

import pytest

from boxmill.models.shapes import STRIDE_SETS, anchor_count, anchors_per_cell, match_heads, square_side

USUAL = STRIDE_SETS[0]


@pytest.mark.parametrize(
    ("size", "strides", "expected"),
    [
        ((640, 640), USUAL, 8400),
        ((416, 416), USUAL, 3549),
        ((320, 320), USUAL, 2100),
        ((384, 640), USUAL, 5040),
        ((1280, 1280), (8, 16, 32, 64), 34000),
        ((33, 8), (8,), 5),
    ],
)
def test_anchor_count(size: tuple[int, int], strides: tuple[int, ...], expected: int) -> None:
    assert anchor_count(size, strides) == expected
    assert anchors_per_cell(expected, size, strides) == 1
    assert anchors_per_cell(3 * expected, size, strides) == 3
    assert anchors_per_cell(2 * expected, size, strides) is None


def test_square_side() -> None:
    assert square_side((84, 2100), USUAL) == 320
    assert square_side((25200, 85), USUAL) == 640
    assert square_side((84, "anchors"), USUAL) is None
    assert square_side((None, None), USUAL) is None
    assert square_side((84, 34000), (8, 16, 32, 64)) == 1280


def test_symbolic_dims_need_the_number_of_classes() -> None:
    assert match_heads((None, None), (640, 640), None, [USUAL]) == []
    assert [shape.type for shape in match_heads((None, None), (640, 640), 3, [USUAL])] == ["yolo", "yolov5", "yolox"]
    assert [shape.type for shape in match_heads((None, 85), (640, 640), 80, [USUAL])] == ["yolov5", "yolox"]
    assert [shape.type for shape in match_heads((84, None), (640, 640), 80, [USUAL])] == ["yolo"]
    assert match_heads((84, None), (640, 640), 3, [USUAL]) == []
