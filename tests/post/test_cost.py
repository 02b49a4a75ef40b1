"""The cost report: the answer of nms, and counts that the definition of greedy NMS allows."""

from __future__ import annotations

import cases
import numpy as np
import pytest

from boxmill.errors import UsageError
from boxmill.post import nms, reference
from boxmill.post.cost import nms_cost

STEPS = ("filter", "group", "sort", "suppress")


@pytest.mark.parametrize("kind", [*cases.KINDS, cases.spread], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("size", [0, 1, 60, 900])
def test_the_answer_is_that_of_nms(kind, size: int) -> None:
    boxes, scores, classes = kind(np.random.default_rng(size), size)
    cost = nms_cost(boxes, scores, classes, iou=0.4)
    assert cost.kept.tolist() == nms(boxes, scores, classes, iou=0.4).tolist()
    assert cost.nan == reference.nms(boxes, scores, classes, iou=0.4).nan
    assert cost.candidates == size - cost.nan


def test_the_grid_gives_the_same_and_spares_tests() -> None:
    boxes, scores, classes = cases.spread(np.random.default_rng(5), 6000)
    cost = nms_cost(boxes, scores, classes)
    assert cost.kept.tolist() == nms(boxes, scores, classes).tolist()
    assert 0 < cost.tests < len(cost.kept) ** 2 / 20


def test_boxes_apart_are_all_tested_with_each_other() -> None:
    corner = np.arange(100, dtype=np.float32)[:, None] * 10
    boxes = np.concatenate([corner, corner, corner + 5, corner + 5], 1)
    scores = np.linspace(0.9, 0.1, 100, dtype=np.float32)
    assert nms_cost(boxes, scores).tests == 100 * 99 / 2
    pairs = np.repeat(np.arange(50), 2)  # two of each class
    assert nms_cost(boxes, scores, pairs).tests == 50


def test_copies_are_tested_once_each() -> None:
    boxes = np.tile(np.float32([[0, 0, 9, 9]]), (40, 1))
    cost = nms_cost(boxes, np.full(40, 0.5, np.float32))
    assert (cost.kept.tolist(), cost.tests, cost.candidates) == ([0], 39, 40)


def test_limits_end_the_work_early() -> None:
    boxes, scores, classes = cases.uniform(np.random.default_rng(0), 500)
    every = nms_cost(boxes, scores, classes)
    few = nms_cost(boxes, scores, classes, max_nms=100)
    assert (few.candidates, every.candidates) == (100, 500)
    first = nms_cost(boxes, scores, classes, max_det=10)
    assert first.kept.tolist() == every.kept[:10].tolist()
    assert few.tests < every.tests
    assert first.tests < every.tests


def test_every_step_takes_time() -> None:
    boxes, scores, classes = cases.crowded(np.random.default_rng(0), 3000)
    cost = nms_cost(boxes, scores, classes)
    assert all(getattr(cost, step) > 0 for step in STEPS)
    assert nms_cost(boxes, scores).kept.tolist() == nms(boxes, scores).tolist()


def test_what_nms_refuses_is_refused() -> None:
    boxes, scores, classes = cases.uniform(np.random.default_rng(0), 5)
    with pytest.raises(UsageError, match="float32"):
        nms_cost(boxes.astype(np.float64), scores)
    with pytest.raises(UsageError, match="iou"):
        nms_cost(boxes, scores, classes, iou=2)
    with pytest.raises(UsageError, match="0 or more"):
        nms_cost(boxes, scores, classes, max_det=-1)
