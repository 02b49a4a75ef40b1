"""Differences from another NMS are put down to what causes them, and to nothing where nothing does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench import candidates
from bench.differences import CAUSES, DOUBLE, LIMIT, TIES, UNEXPLAINED, Case, Flips, explanation, kept, rows_of
from boxmill.post import nms, reference

IOU = 0.45


def crowd(n: int = 400, seed: int = 0, **changes: object) -> Case:
    boxes, scores, classes = candidates.crowded(n, 5, seed)
    return Case(**{"boxes": boxes, "scores": scores, "classes": classes, "iou": IOU, "max_det": None, **changes})


def matrix_nms(case: Case, over: Callable[[np.ndarray], np.ndarray], boxes: np.ndarray, apart: bool) -> list[int]:
    """Another program's NMS, written on its own: all ratios at once, then one pass over them."""
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    low, top = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(top - low, np.float32(0))
    inter, areas = shared[..., 0] * shared[..., 1], wide * high
    hit = over(inter / (areas[:, None] + areas[None] - inter))
    if apart:
        hit &= case.classes[:, None] == case.classes[None]
    order = np.argsort(-case.scores, kind="stable")
    gone, found = np.zeros(len(order), bool), []
    for row in order:
        if not gone[row]:
            found.append(int(row))
            gone |= hit[row]
    return found


def at_the_threshold(iou: float) -> Case:
    """Two boxes whose IoU is float32(iou) exactly; that is above, or below, the double that people type."""
    boxes = np.array([[0, 0, 1, 1], [0, 0, np.float32(iou), 1]], np.float32)
    return Case(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64), iou)


@pytest.mark.parametrize("seed", range(5))
def test_with_nothing_changed_it_is_the_reference(seed: int) -> None:
    case = crowd(seed=seed)
    expected = reference.nms(case.boxes, case.scores, case.classes, iou=IOU).kept
    assert kept(case).tolist() == expected.tolist()
    assert kept(case).tolist() == nms(case.boxes, case.scores, case.classes, iou=IOU).tolist()
    assert explanation(case, rows_of(case, expected)) is None


def test_a_threshold_in_double() -> None:
    case = at_the_threshold(0.6)  # float32(0.6) > 0.6
    theirs = matrix_nms(case, lambda ratio: ratio.astype(np.float64) > 0.6, case.boxes, apart=True)
    assert (kept(case).tolist(), theirs) == ([0, 1], [0])
    assert explanation(case, rows_of(case, theirs)) == DOUBLE


def test_offsets_that_round_coordinates() -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 5000, (60, 2)).repeat(2, axis=0)
    size = rng.uniform(0.2, 0.6, (60, 2)).repeat(2, axis=0)
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    boxes[1::2, [0, 2]] += (0.38 * size[1::2, 0]).astype(np.float32)[:, None]  # IoU .449
    case = Case(boxes, rng.random(120).astype(np.float32), np.repeat(np.arange(60) + 20, 2), IOU)
    offsets = case.classes.astype(np.float32) * (boxes.max() + np.float32(1))
    theirs = matrix_nms(case, lambda ratio: ratio > np.float32(IOU), boxes + offsets[:, None], apart=False)
    assert set(theirs) != set(kept(case).tolist())
    assert explanation(case, rows_of(case, theirs)) == "classes are moved apart by offsets in float32"


def test_a_fused_multiplication_is_rounded_once() -> None:
    """Boxes for which only that decides are found among many pairs at the threshold."""
    rng = np.random.default_rng(1)
    for _ in range(2000):
        wide, high = rng.uniform(10, 200, 2).astype(np.float32)
        share = np.float32(rng.uniform(0.3, 0.7))
        boxes = np.array([[0, 0, wide, high], [0, 0, wide * share, high * np.float32(0.9)]], np.float32)
        ratio = reference.iou_with(boxes[0], boxes[1:])[0]
        case = Case(
            boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64), float(np.nextafter(ratio, 0, dtype="f4"))
        )
        if len(kept(case)) == 1 and len(kept(case, Flips(fused="b"))) == 2:
            break
    assert explanation(case, rows_of(case, np.array([0, 1]))) == "a multiplication and an addition of the IoU are fused"


def test_equal_scores_in_another_order_also_behind_a_cut() -> None:
    case = crowd(scores=np.full(400, 0.5, np.float32), max_det=10)
    survivors = kept(case)
    assert len(survivors) > 12
    assert explanation(case, rows_of(case, survivors[:10][::-1])) == TIES
    assert explanation(case, rows_of(case, survivors[3:13])) == TIES
    lost = np.setdiff1d(np.arange(400), survivors)[:1]
    assert explanation(case, rows_of(case, np.concatenate([survivors[:9], lost]))) == UNEXPLAINED


def test_of_equal_scores_the_other_one_survives() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    case = Case(boxes, np.full(2, 0.5, np.float32), np.zeros(2, np.int64), IOU)
    assert explanation(case, rows_of(case, np.array([1]))) == "of equal scores the higher row is better"


def test_another_limit() -> None:
    case = crowd(max_det=20)
    survivors = kept(case)
    assert len(survivors) > 30
    for count in (7, 30):
        assert explanation(case, rows_of(case, survivors[:count])) == LIMIT


def test_what_has_no_cause_is_unexplained() -> None:
    case = crowd()
    survivors = kept(case)
    assert explanation(case, rows_of(case, np.delete(survivors, 3))) == UNEXPLAINED
    assert explanation(case, rows_of(case, survivors[[1, 0, *range(2, len(survivors))]])) == UNEXPLAINED
    moved = Case(case.boxes + np.float32(1), case.scores, case.classes, IOU)
    assert explanation(case, rows_of(moved, survivors)) == UNEXPLAINED


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_keeps_most_boxes_and_nothing_twice(cause: str) -> None:
    case, plain = crowd(800, 4), None
    for flips in CAUSES[cause]:
        found = kept(case, flips).tolist()
        plain = kept(case).tolist() if plain is None else plain
        assert len(set(found)) == len(found)
        assert len(set(found) ^ set(plain)) < 0.2 * len(plain) or flips.offsets is np.float16


def test_nothing_is_kept_of_nothing() -> None:
    case = Case(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), IOU)
    for flips in (Flips(), *(one for variants in CAUSES.values() for one in variants)):
        assert kept(case, flips).tolist() == []
    assert explanation(case, []) is None
