"""NMS of a batch is NMS of its images."""

from __future__ import annotations

import cases
import numpy as np
import pytest

from boxmill.errors import UsageError
from boxmill.post import batched_nms, nms

RNG = np.random.default_rng(0)
IMAGES = [cases.crowded(RNG, n) for n in (40, 0, 7, 90)]


def padded() -> list[np.ndarray]:
    """The images as arrays of one length; what lies behind an image would win."""
    longest = max(len(scores) for _, scores, _ in IMAGES)
    boxes, scores = np.zeros((4, longest, 4), np.float32), np.full((4, longest), 9, np.float32)
    classes = np.zeros((4, longest), np.int64)
    for i, image in enumerate(IMAGES):
        for whole, part in zip((boxes, scores, classes), image, strict=True):
            whole[i, : len(part)] = part
    return [boxes, scores, classes]


@pytest.mark.parametrize("agnostic", [False, True])
def test_list_and_padded_arrays_equal_singles(agnostic):
    expected = [nms(b, s, None if agnostic else c, iou=0.5, max_det=9).tolist() for b, s, c in IMAGES]
    columns = [list(column) for column in zip(*IMAGES, strict=True)][: 2 if agnostic else 3]
    assert [kept.tolist() for kept in batched_nms(*columns, iou=0.5, max_det=9)] == expected
    arrays = padded()[: 2 if agnostic else 3]
    for counts in ([40, 0, 7, 90], np.array([40, 0, 7, 90], np.int32)):
        assert [kept.tolist() for kept in batched_nms(*arrays, counts=counts, iou=0.5, max_det=9)] == expected


def test_all_rows_are_used_without_counts():
    boxes, scores, classes = padded()
    expected = [nms(*image).tolist() for image in zip(boxes, scores, classes, strict=True)]
    assert [kept.tolist() for kept in batched_nms(boxes, scores, classes)] == expected
    assert batched_nms([], []) == []


@pytest.mark.parametrize(
    ("arguments", "counts", "message"),
    [
        ((np.zeros((2, 3, 4), np.float32), np.zeros((1, 3), np.float32)), None, "expected scores of 2 images.* got 1"),
        ((np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32), []), None, "expected classes of 1 images"),
        (
            (np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32)),
            [3, 3],
            "expected counts of 1 images.* got 2",
        ),
        (
            (np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32)),
            [4],
            r"counts\[0\] must .* from 0 to 3.*got 4",
        ),
        ((np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32)), [-1], "got -1"),
        ((np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32)), [1.5], "got 1.5"),
        ((np.zeros((3, 4), np.float32), np.zeros(3, np.float32)), None, r"boxes must have shape \(N, 4\)"),
    ],
)
def test_errors_say_what_was_expected(arguments, counts, message):
    with pytest.raises(UsageError, match=message):
        batched_nms(*arguments, counts=counts)
