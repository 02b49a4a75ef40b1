"""torchvision's nms and batched_nms: exact by default, torchvision's own answer where asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from post import cases

from boxmill.errors import UsageError
from boxmill.post import reference
from boxmill.post.compat import torchvision as compat

KINDS = [cases.crowded, cases.tied, cases.degenerate, cases.grid, cases.with_nan]
THRESHOLDS = [0.0, 0.1, 0.3, 0.45, 0.5, 0.6, 1.0]
Array = npt.NDArray[Any]


def kernel(boxes: Array, scores: Array, iou: float) -> list[int]:
    """torchvision's CPU kernel, slow and obvious: float32 IoU, threshold in double, NaN scores first."""
    order = sorted(range(len(scores)), key=lambda i: (not np.isnan(scores[i]), -np.nan_to_num(scores[i]), i))
    kept: list[int] = []
    for i in order:
        ratios = reference.iou_with(boxes[i], boxes[kept]).astype(np.float64)  # a NaN ratio does not suppress
        if not np.any(ratios > iou):
            kept.append(i)
    return kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_exact_equals_the_reference(kind: Any, seed: int) -> None:
    boxes, scores, classes = kind(np.random.default_rng(seed), 90)
    for iou in THRESHOLDS:
        plain = reference.nms(boxes, scores, iou=iou).kept
        by_class = reference.nms(boxes, scores, classes, iou=iou).kept
        assert compat.nms(boxes, scores, iou).tolist() == plain.tolist()
        found = compat.batched_nms(boxes, scores, classes, iou)
        assert found.tolist() == by_class.tolist()
        assert found.dtype == np.int64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_like_original_equals_the_kernel(kind: Any, seed: int) -> None:
    boxes, scores, _ = kind(np.random.default_rng(seed), 90)
    for iou in THRESHOLDS:
        assert compat.nms(boxes, scores, iou, like_original=True).tolist() == kernel(boxes, scores, iou)


def test_threshold_in_double() -> None:
    """IoU = 3 / 10 in float32, which lies above the double 0.3."""
    boxes, scores = np.float32([[0, 0, 10, 1], [0, 0, 3, 1]]), np.float32([0.9, 0.8])
    assert compat.nms(boxes, scores, 0.3).tolist() == [0, 1]
    assert compat.nms(boxes, scores, 0.3, like_original=True).tolist() == [0]


def test_negative_coordinates_collide_across_classes() -> None:
    """Largest coordinate -1: the offsets of all classes are 0."""
    boxes, scores, ids = np.float32([[-9, -9, -1, -1]] * 2), np.float32([0.9, 0.8]), np.array([0, 1])
    assert compat.batched_nms(boxes, scores, ids, 0.5).tolist() == [0, 1]
    assert compat.batched_nms(boxes, scores, ids, 0.5, like_original=True).tolist() == [0]


def test_one_nan_ends_suppression() -> None:
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 9], [np.nan, 0, 9, 9]])
    scores, ids = np.float32([0.9, 0.8, 0.7]), np.zeros(3, np.int32)
    assert compat.batched_nms(boxes, scores, ids, 0.5).tolist() == [0]
    assert compat.batched_nms(boxes, scores, ids, 0.5, like_original=True).tolist() == [0, 1, 2]


def test_float16_offsets_merge_boxes() -> None:
    """Class 30 of an image 600 pixels wide lies at 18030, where a step of float16 is 16 pixels."""
    boxes = np.float16([[0, 0, 600, 600], [100, 100, 106, 106], [103, 103, 109, 109]])
    scores, ids = np.float32([0.5, 0.9, 0.8]), np.array([0, 30, 30])
    assert compat.batched_nms(boxes, scores, ids, 0.45).tolist() == [1, 2, 0]
    assert compat.batched_nms(boxes, scores, ids, 0.45, like_original=True).tolist() == [1, 0]


@pytest.mark.parametrize("n", [1000, 1001])
def test_like_original_changes_algorithm_above_1000_boxes(n: int) -> None:
    boxes, scores, ids = cases.crowded(np.random.default_rng(0), n)
    boxes -= boxes.max() + 1  # every offset is 0: the classes collide
    found = compat.batched_nms(boxes, scores, ids, 0.5, like_original=True).tolist()
    classes = None if n == 1000 else ids
    assert found == reference.nms(boxes, scores, classes, iou=0.5).kept.tolist()
    assert (
        compat.batched_nms(boxes, scores, ids, 0.5).tolist() == reference.nms(boxes, scores, ids, iou=0.5).kept.tolist()
    )


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("ids", ["i1", "i4", "i8", "u8", "f4", "f8"])
def test_every_dtype(dtype: str, ids: str) -> None:
    boxes, scores, classes = cases.grid(np.random.default_rng(1), 50)
    expected = reference.nms(boxes, scores.astype(dtype).astype("f4"), classes, iou=0.5).kept
    found = compat.batched_nms(boxes.astype(dtype), scores.astype(dtype), classes.astype(ids), 0.5)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("like_original", [False, True])
def test_no_boxes(like_original: bool) -> None:
    boxes, scores, ids = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
    for found in (
        compat.nms(boxes, scores, 0.5, like_original=like_original),
        compat.batched_nms(boxes, scores, ids, 0.5, like_original=like_original),
    ):
        assert found.shape == (0,)
        assert found.dtype == np.int64


BOXES, SCORES, IDS = np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(3, np.int64)


@pytest.mark.parametrize("like_original", [False, True])
@pytest.mark.parametrize(
    ("boxes", "scores", "ids", "iou", "said"),
    [
        (BOXES.tolist(), SCORES, IDS, 0.5, "boxes must be a torch tensor or a numpy array, got list"),
        (BOXES.astype(int), SCORES, IDS, 0.5, "boxes must be floating point, got int64"),
        (BOXES[:, :3], SCORES, IDS, 0.5, r"\(3, 3\)"),
        (BOXES, SCORES[:2], IDS, 0.5, r"\(2,\)"),
        (BOXES, SCORES, IDS[:2], 0.5, r"\(2,\)"),
        (BOXES, SCORES, SCORES + 0.5, 0.5, "idxs must be whole numbers"),
        (BOXES, SCORES, IDS, 1.5, "iou must be a number from 0 to 1, got 1.5"),
    ],
)
def test_refusals(boxes: Any, scores: Array, ids: Array, iou: float, said: str, like_original: bool) -> None:
    with pytest.raises(UsageError, match=said):
        compat.batched_nms(boxes, scores, ids, iou, like_original=like_original)
