"""Pictures, judged by their pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from render.shown import crowd, detections, grey

from boxmill.coco80 import COCO80_EN, COCO80_ZH
from boxmill.render import Painter, draw
from boxmill.render.colors import class_color, text_color


def painted(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def is_color(image: np.ndarray, class_id: int) -> np.ndarray:
    return (image == class_color(class_id)).all(axis=2)


@pytest.mark.parametrize("names", [COCO80_EN, COCO80_ZH])
def test_a_box_and_its_label(names: tuple[str, ...]) -> None:
    before = grey(480, 640)
    after = draw(before, detections([[100, 100, 300, 250]], [2]), names)
    assert (before == 128).all()
    color = is_color(after, 2)
    assert color[100:102, 100:300].all()
    assert color[248:250, 100:300].all()
    assert color[100:250, 100:102].all()
    assert color[100:250, 298:300].all()
    assert not painted(before, after)[102:248, 102:298].any()  # nothing inside
    assert not painted(before, after)[250:].any()
    label = after[82:100, 100:][:, : color[82, 100:].argmin()]
    assert label.shape[1] > 30
    ink = (label.astype(int) - class_color(2)) @ (np.array(text_color(class_color(2))) - class_color(2))
    assert 0.05 < (ink > ink.max() / 2).mean() < 0.4  # letters on their ground


def test_the_same_picture_every_time_and_the_same_colour_in_every_picture() -> None:
    boxes = detections([[10, 60, 90, 120], [200, 60, 290, 190]], [7, 11])
    first = draw(grey(200, 300), boxes, COCO80_ZH)
    assert np.array_equal(first, draw(grey(200, 300), boxes, COCO80_ZH))
    other = draw(grey(700, 900), detections([[300, 300, 400, 400]], [11]), COCO80_EN)
    assert is_color(first, 11).sum() > 400
    assert is_color(other, 11).sum() > 400


def test_the_best_box_is_on_top() -> None:
    after = draw(grey(200, 200), detections([[50, 50, 150, 150]] * 2, [0, 1]), ("a", "b"))
    assert is_color(after, 0)[50, 60:150].all()


def test_labels_of_boxes_at_one_place_do_not_overlap() -> None:
    before = grey(480, 640)
    after = draw(before, detections([[200, 200, 420, 300]] * 4, [0, 1, 2, 3]), ("one", "two", "three", "four"))
    assert all(is_color(after, index).sum() > 300 for index in range(4))


def test_a_crowd_of_500() -> None:
    before = grey(1080, 1920)
    found = crowd(500, 1080, 1920)
    after, seen = draw(before, found, COCO80_ZH), 0
    for box, class_id in zip(found.boxes.tolist(), found.classes.tolist(), strict=True):
        left, top, right, bottom = map(int, box)
        seen += is_color(after[top : bottom + 1, left : right + 1], class_id).sum() > (right - left) // 2
    assert seen > 475  # the others lie under two labels or a better box
    assert painted(before, after).mean() < 0.45


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (64, 64), (10_000, 12), (12, 10_000), (10_000, 200)])
def test_pictures_of_any_size(height: int, width: int) -> None:
    before = grey(height, width)
    after = draw(
        before, detections([[0, 0, width, height], [width / 2, height / 2, width, height]], [0, 1]), ("人", "车")
    )
    assert after.shape == before.shape
    assert is_color(after, 0)[0, 0]
    assert painted(before, after).mean() > (0.9 if height == 1 else 0.001)


def test_boxes_that_cannot_be_seen_are_not_drawn() -> None:
    nan, inf = float("nan"), float("inf")
    boxes = [[nan, 0, 5, 5], [-50, -50, -1, -1], [500, 0, 600, 5], [30, 30, 20, 40], [inf, inf, inf, inf]]
    before = grey(100, 100)
    assert np.array_equal(draw(before, detections(boxes), COCO80_EN), before)
    assert np.array_equal(draw(before, detections([]), COCO80_EN), before)
    after = draw(before, detections([[-10, 20, 500, 60.5], [50, 50, 50, 50]], [0, 1], [nan, 0.5]), ("a", "b"))
    assert is_color(after, 0)[60, 2:98].all()
    assert is_color(after, 1)[50, 50]


def test_names_of_every_kind_are_drawn_or_replaced() -> None:
    names = ("", "x" * 300, "长" * 300, "cat 🐱", "مرحبا", "a\nb", "\U00020000")
    boxes = [[50, 60 + 90 * index, 500, 120 + 90 * index] for index in range(8)]
    before = grey(800, 900)
    after = draw(before, detections(boxes), names)
    assert all(is_color(after, index).sum() > 1500 for index in range(8))
    assert not painted(before, after)[:, 700:].any()  # cut, not running over the picture


def test_several_threads_draw_with_one_painter() -> None:
    painter, found = Painter(COCO80_ZH), crowd(60, 300, 400)
    expected = draw(grey(300, 400), found, COCO80_ZH)
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(lambda _: painter.draw(grey(300, 400), found), range(24)))
    assert all(np.array_equal(picture, expected) for picture in pictures)


@pytest.mark.parametrize("wrong", [grey(5, 5).astype(np.float32), grey(5, 5)[..., 0], grey(5, 5)[:0]])
def test_what_is_no_picture_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected an \(H, W, 3\) uint8 array"):
        draw(wrong, detections([[0, 0, 3, 3]]), ("a",))
