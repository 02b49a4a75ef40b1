"""Soft-NMS: the native core equals its float64 twin, and both do what the paper says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxmill.errors import UsageError
from boxmill.post import nms, reference, soft_nms

SEEDS = st.integers(0, 2**32 - 1)
METHODS = ["linear", "gaussian"]


def check(boxes, scores, classes=None, **options):
    """The native answer, after it was compared with the reference."""
    kept, decayed = soft_nms(boxes, scores, classes, **options)
    rows, expected = reference.soft_nms(boxes, scores, classes, **options)
    np.testing.assert_array_equal(kept, rows)
    assert (decayed.dtype, decayed.tobytes()) == (np.float32, expected.tobytes())
    return kept, decayed


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(cases.KINDS),
    SEEDS,
    st.integers(0, 120),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "method": st.sampled_from(METHODS),
            "iou": st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0]),
            "sigma": st.sampled_from([1e-300, 0.1, 0.5, 3.0]),
            "conf": st.sampled_from([0.0, 0.001, 0.25, 1.0]),
            "max_det": st.none() | st.integers(0, 60),
        }
    ),
)
def test_equals_reference(kind, seed, n, agnostic, options):
    boxes, scores, classes = kind(np.random.default_rng(seed), n)
    check(boxes, scores, None if agnostic else classes, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1000, 2500])
def test_many_boxes(method, n):
    boxes, scores, classes = cases.crowded(np.random.default_rng(n), n)
    check(boxes, scores, classes, method=method)
    check(boxes, scores, method=method, max_det=300)


def test_linear_by_hand():
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 60]])
    scores = np.float32([0.9, 0.8, 0.7, 0.1])
    kept, decayed = check(boxes, scores, iou=0.3)
    assert kept.tolist() == [0, 2, 1, 3]  # the second loses half: IoU .5; the third keeps its score: .2
    # The third has an IoU of .4 with the second.
    assert decayed.tolist() == pytest.approx([0.9, 0.7, 0.8 * 0.5 * 0.6, 0.1])


def test_gaussian_by_hand():
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 5]])
    kept, decayed = check(boxes, np.float32([0.9, 0.8]), method="gaussian", sigma=0.5)
    assert kept.tolist() == [0, 1]
    assert decayed.tolist() == pytest.approx([0.9, 0.8 * np.exp(-(0.5**2) / 0.5)])


def test_threshold_is_strict_and_rounded_to_float32():
    pair, scores = np.float32([[0, 0, 10, 10], [0, 0, 10, 6]]), np.float32([0.9, 0.8])
    assert check(pair, scores, iou=0.6)[1].tolist() == scores.tolist()
    below = float(np.nextafter(np.float32(0.6), np.float32(0)))
    assert check(pair, scores, iou=below)[1][1] == pytest.approx(0.8 * 0.4)


def test_conf_is_strict_before_and_after_decay():
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60], [70, 70, 80, 80]])
    scores = np.float32([0.9, 0.5, 0.25, 0.26])
    assert check(boxes, scores, conf=0.25)[0].tolist() == [0, 3]
    assert check(boxes, scores, conf=0.2)[0].tolist() == [0, 3, 1, 2]  # the decayed .25 ties


def test_copies_of_a_box_go_and_classes_do_not_meet():
    boxes, scores = np.float32([[0, 0, 10, 10]] * 4), np.float32([0.5] * 4)
    assert check(boxes, scores)[0].tolist() == [0]
    assert check(boxes, scores, np.array([7, -7, 7, 2**40]))[0].tolist() == [0, 1, 3]


def test_without_overlap_it_is_nms():
    corners = np.arange(0, 4000, 40)[:, None] * [1, 1]
    boxes = np.concatenate([corners, corners + 30], axis=1).astype(np.float32)
    scores = np.random.default_rng(0).random(len(boxes)).astype(np.float32)
    kept, decayed = check(boxes, scores, conf=0)
    np.testing.assert_array_equal(kept, nms(boxes, scores))
    np.testing.assert_array_equal(decayed, scores[kept])


def test_max_det_is_a_prefix_and_scores_never_rise():
    boxes, scores, classes = cases.crowded(np.random.default_rng(3), 400)
    kept, decayed = soft_nms(boxes, scores, classes, method="gaussian")
    assert np.all(decayed[1:] <= decayed[:-1])
    assert np.all(decayed <= scores[kept])
    for limit in (0, 1, 100, 10**30):
        first, values = soft_nms(boxes, scores, classes, method="gaussian", max_det=limit)
        np.testing.assert_array_equal(first, kept[:limit])
        np.testing.assert_array_equal(values, decayed[:limit])


def test_forms_of_the_input():
    boxes, scores, classes = cases.crowded(np.random.default_rng(1), 64)
    kept, decayed = soft_nms(boxes, scores, classes)
    wide = np.asfortranarray(boxes)
    for same in ((wide, scores.astype(">f4"), classes.astype(np.uint8)), (boxes[::-1][::-1], scores, classes.tolist())):
        other, values = soft_nms(same[0], same[1], np.asarray(same[2]))
        assert (other.tobytes(), values.tobytes()) == (kept.tobytes(), decayed.tobytes())
    assert kept.flags.writeable
    assert decayed.flags.writeable
    narrow = boxes.astype(np.float16), scores.astype(np.float16)
    np.testing.assert_array_equal(
        soft_nms(*narrow)[0], reference.soft_nms(*(array.astype(np.float32) for array in narrow))[0]
    )


def test_threads_give_the_same_answers():
    inputs = [cases.crowded(np.random.default_rng(seed), 300) for seed in range(6)]
    expected = [soft_nms(*case)[1].tobytes() for case in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert [found[1].tobytes() for found in pool.map(lambda case: soft_nms(*case), inputs)] == expected


BOXES, SCORES = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((BOXES[:, :3], SCORES), {}, r"boxes must have shape \(N, 4\)"),
        ((BOXES, SCORES[:2]), {}, r"scores must have shape \(3,\)"),
        ((BOXES, SCORES, SCORES), {}, "classes must be integers"),
        ((BOXES, SCORES), {"method": "cubic"}, "linear or gaussian, got 'cubic'"),
        ((BOXES, SCORES), {"iou": 1.5}, "iou must be a number from 0 to 1"),
        ((BOXES, SCORES), {"sigma": 0}, "sigma must be a number above 0, got 0"),
        ((BOXES, SCORES), {"sigma": float("nan")}, "sigma must be a number above 0, got nan"),
        ((BOXES, SCORES), {"conf": -0.1}, "conf must be a number, 0 or more, got -0.1"),
        ((BOXES, SCORES), {"conf": None}, "conf must be a number"),
        ((BOXES, SCORES), {"max_det": -1}, "max_det must be a whole number"),
    ],
)
def test_errors_say_what_was_expected(arguments, options, message):
    with pytest.raises(UsageError, match=message):
        soft_nms(*arguments, **options)
