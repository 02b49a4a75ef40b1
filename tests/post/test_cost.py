"""The cost reports: the answers of nms and of a Postprocessor, and counts that the definition of NMS allows."""

from __future__ import annotations

import cases
import heads
import numpy as np
import pytest
from test_postprocess import GEOMETRY, NETWORK, YOLOX, YOLOX_ANCHORS, assert_same

from boxmill.errors import UsageError
from boxmill.post import Postprocessor, nms, reference
from boxmill.post.cost import cost_table, nms_cost
from boxmill.types import HeadSpec

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


def crowd(images: int, anchors: int = 400) -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.stack([heads.arranged(heads.rare(rng, anchors, 3), HeadSpec("yolo")) for _ in range(images)])


@pytest.mark.parametrize("method", ["hard", "soft", "soft-gaussian"])
def test_a_head_costs_what_its_answer_says(method: str) -> None:
    raw = crowd(3)
    detect = Postprocessor(HeadSpec("yolo"), 0.1, nms=method, max_det=40)
    costs = detect.cost(raw, NETWORK, [GEOMETRY] * 3)
    for cost, found, image in zip(costs, detect(raw, NETWORK, [GEOMETRY] * 3), raw, strict=True):
        assert_same(cost.detections, found)
        assert cost.candidates == np.count_nonzero(image[4:].max(axis=0) > np.float32(0.1))
        assert (cost.kept, cost.detections.cut is not None) == (len(found), True)
        assert cost.tests > 0
        assert all(getattr(cost, step) > 0 for step in (*STEPS, "scale"))
        assert cost.total == pytest.approx(sum(getattr(cost, step) for step in (*STEPS, "scale")))


def test_hard_tests_are_those_of_nms_alone() -> None:
    (image,) = crowd(1)
    detect = Postprocessor(HeadSpec("yolo"), 0.0, agnostic=True, iou=0.4, max_nms=100)
    (cost,) = detect.cost(image, NETWORK)
    boxes = reference.DECODERS["yolo"]([image], HeadSpec("yolo"), NETWORK).boxes
    alone = nms_cost(boxes, image[4:].max(axis=0), iou=0.4, max_nms=100)
    assert (cost.candidates, cost.kept) == (alone.candidates, len(alone.kept)) == (100, cost.kept)
    assert cost.tests == alone.tests


def test_soft_nms_tests_no_pair_twice() -> None:
    raw = crowd(1)
    (cost,) = Postprocessor(HeadSpec("yolo"), 0.05, agnostic=True, nms="soft").cost(raw, NETWORK)
    assert cost.candidates > cost.kept
    assert cost.kept * (cost.kept - 1) / 2 <= cost.tests <= cost.kept * cost.candidates


def test_other_heads_have_a_cost_too() -> None:
    rng = np.random.default_rng(1)
    rows = heads.arranged(heads.rare(rng, YOLOX_ANCHORS, 3), YOLOX)
    nanodet = HeadSpec("nanodet", strides=(16, 32), bins=4)
    maps = [rng.random((4 * 6 + 2 * 3, 3 + 16)).astype(np.float32)]
    selected = np.float32([[[0, 0, 9, 9, 0.9, 0], [20, 0, 29, 9, 0.8, 1]]])
    for head, raw in ((YOLOX, rows), (nanodet, maps), (HeadSpec("end2end"), selected)):
        detect = Postprocessor(head, 0.1, iou=None if head.type == "end2end" else 0.45)
        (cost,) = detect.cost(raw, NETWORK)
        assert_same(cost.detections, detect(raw, NETWORK)[0])
        assert cost.candidates >= cost.kept > 0
    assert (cost.candidates, cost.tests, cost.kept) == (2, 0, 2)


def test_the_table_has_a_row_for_each_image() -> None:
    raw = crowd(2)
    costs = Postprocessor(HeadSpec("yolo"), 0.1, max_det=5).cost(raw, NETWORK)
    head, rule, *rows = cost_table(costs).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == [
        "image", "candidates", "IoU tests", "kept", "cut", "filter", "group", "sort", "suppress", "scale", "total",
    ]  # fmt: skip
    assert len({len(line) for line in (head, rule, *rows)}) == 1
    for image, (row, cost) in enumerate(zip(rows, costs, strict=True)):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:4] == [str(image), str(cost.candidates), str(cost.tests), "5"]
        assert float(cells[4]) == pytest.approx(cost.detections.cut, rel=1e-3)
    assert "–" in cost_table(Postprocessor(HeadSpec("yolo"), 1.0).cost(raw, NETWORK))
    assert len(cost_table([]).splitlines()) == 2


def test_what_the_postprocessor_refuses_its_cost_refuses() -> None:
    with pytest.raises(UsageError, match="float32"):
        Postprocessor(HeadSpec("yolo")).cost(crowd(1).astype(np.float64), NETWORK)
