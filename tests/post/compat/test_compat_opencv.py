"""cv2.dnn.NMSBoxes and NMSBoxesBatched: exact by default, OpenCV's own answer where asked for."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from post import cases

from boxmill.errors import UsageError
from boxmill.post import reference
from boxmill.post.compat import opencv as compat

Array = npt.NDArray[Any]


def rectangles(boxes: Array) -> Array:
    """x1, y1, x2, y2 on a grid coarse enough that left + width is exact."""
    boxes = np.round(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) or isinstance(theirs, tuple):
        return ours == theirs == ()
    return ours.dtype == theirs.dtype == np.int32 and np.array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [cases.crowded, cases.tied, cases.few_scores, cases.grid])
@pytest.mark.parametrize("seed", range(4))
def test_exact_equals_the_reference(kind: Any, seed: int) -> None:
    boxes, scores, classes = kind(np.random.default_rng(seed), 80)
    boxes = np.round(boxes)
    chosen = np.flatnonzero(scores > np.float32(0.2))
    for iou in (0.0, 0.3, 0.5, 1.0):
        for ids in (None, classes):
            expected = reference.nms(boxes[chosen], scores[chosen], None if ids is None else ids[chosen], iou=iou).kept
            arguments = (rectangles(boxes), scores) if ids is None else (rectangles(boxes), scores, ids)
            found = (compat.NMSBoxes if ids is None else compat.NMSBoxesBatched)(*arguments, 0.2, iou)
            assert same(found, chosen[expected].astype(np.int32) if len(expected) else ())


@pytest.mark.parametrize("seed", range(150))
def test_like_original_equals_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = (cases.crowded, cases.tied, cases.degenerate, cases.grid)[seed % 4]
    boxes, scores, classes = kind(rng, int(rng.choice([0, 1, 5, 60])))
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    boxes[:, :2] -= 300 * (seed % 3 == 0)  # negative coordinates
    options = (float(rng.choice([0, 0.2])), float(rng.choice([0, 0.1, 0.5, 1 / 3, 0.7, 0.9])))
    eta, top_k = float(rng.choice([1, 0.9, 0.5, 1.3])), int(rng.choice([0, 3, 20, -2]))
    theirs = cv2.dnn.NMSBoxes(boxes, scores, *options, eta, top_k)
    assert same(compat.NMSBoxes(boxes, scores, *options, eta, top_k, like_original=True), theirs)
    ids = classes.astype(np.int32)
    theirs = cv2.dnn.NMSBoxesBatched(boxes, scores, ids, *options, eta, top_k)
    assert same(compat.NMSBoxesBatched(boxes, scores, ids, *options, eta, top_k, like_original=True), theirs)


@pytest.mark.parametrize("seed", range(20))
def test_falling_threshold_on_sound_boxes_equals_opencv(seed: int) -> None:
    """Away from thresholds exact and original agree, so the adaptive branch of the exact path can be checked, too."""
    rng = np.random.default_rng(seed)
    boxes, scores, classes = cases.crowded(rng, 80)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    boxes -= boxes.min()
    boxes = rectangles(boxes)
    eta = float(rng.choice([0.99, 0.9, 0.6]))
    assert same(compat.NMSBoxes(boxes, scores, 0.1, 0.8, eta), cv2.dnn.NMSBoxes(boxes, scores, 0.1, 0.8, eta))
    theirs = cv2.dnn.NMSBoxesBatched(boxes, scores, classes.astype(np.int32), 0.1, 0.8, eta)
    assert same(compat.NMSBoxesBatched(boxes, scores, classes, 0.1, 0.8, eta), theirs)


def test_lists_in() -> None:
    boxes, scores = [[0, 0, 10, 10], (1, 1, 10, 10), [20.5, 20, 5, 5]], [0.5, 0.9, 0.3]
    assert same(compat.NMSBoxes(boxes, scores, 0.2, 0.4), np.int32([1, 2]))
    assert same(compat.NMSBoxesBatched(boxes, scores, [0, 1, 1], 0.2, 0.4), np.int32([1, 0, 2]))
    assert compat.NMSBoxes([], [], 0.2, 0.4) == ()
    assert compat.NMSBoxesBatched([], [], [], 0.2, 0.4, like_original=True) == ()
    assert compat.NMSBoxes(boxes, scores, 0.95, 0.4) == ()


def test_boxes_without_area() -> None:
    """OpenCV takes two of them for the same box, wherever they lie."""
    boxes, scores = [[0, 0, 0, 0], [500, 500, 0, 7]], [0.9, 0.8]
    assert same(compat.NMSBoxes(boxes, scores, 0.1, 0.5), np.int32([0, 1]))
    assert same(compat.NMSBoxes(boxes, scores, 0.1, 0.5, like_original=True), np.int32([0]))


def test_negative_coordinates_collide_across_classes() -> None:
    boxes, scores, ids = [[-9, -9, 5, 5], [-10, -10, 5, 5]], [0.9, 0.8], [0, 1]
    assert same(compat.NMSBoxesBatched(boxes, scores, ids, 0.1, 0.3), np.int32([0, 1]))
    assert same(compat.NMSBoxesBatched(boxes, scores, ids, 0.1, 0.3, like_original=True), np.int32([0]))


@pytest.mark.parametrize("eta", [1.0, 0.9])
def test_exact_drops_nan(eta: float) -> None:
    boxes = np.float32([[np.nan, 0, 9, 9], [0, 0, 9, 9], [50, 50, 9, 9]])
    assert same(compat.NMSBoxes(boxes, [0.9, np.nan, 0.7], 0.1, 0.8, eta), np.int32([2]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([[0, 0, 1]], [1.0], 0.1, 0.5), r"bboxes must have shape \(N, 4\)"),
        (([[0, 0, 1, 1]], [1.0, 0.5], 0.1, 0.5), r"scores must have shape \(1,\)"),
        (([[0, 0, 1, 1]], [1.0], -0.1, 0.5), "score_threshold must be 0 or more"),
        (([[0, 0, 1, 1]], [1.0], 0.1, 1.5), "nms_threshold must be from 0 to 1"),
        (([[0, 0, 1, 1]], [1.0], 0.1, 0.5, 0.0), "eta must be greater than 0"),
    ],
)
def test_refusals(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compat.NMSBoxes(*arguments)
    with pytest.raises(UsageError, match=said):
        compat.NMSBoxesBatched(*arguments[:2], [0], *arguments[2:])


@pytest.mark.parametrize("ids", [[0, 1], [0.5]])
def test_class_ids_must_be_integers(ids: list[float]) -> None:
    with pytest.raises(UsageError, match=r"class_ids must be \(1,\) integers"):
        compat.NMSBoxesBatched([[0, 0, 1, 1]], [1.0], ids, 0.1, 0.5)
