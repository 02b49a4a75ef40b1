"""The native NMS equals the reference bit for bit, and both have the properties that greedy NMS promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boxmill import _native
from boxmill.errors import UsageError
from boxmill.post import nms, reference

NO_LIMIT = 2**31 - 1
SEEDS = st.integers(0, 2**32 - 1)
KINDS = st.sampled_from(cases.KINDS)
THRESHOLDS = st.sampled_from([0.0, 0.25, 1 / 3, 0.45, 0.5, 0.7, 1.0]) | st.floats(0, 1)


def check(boxes, scores, classes, iou=0.45, max_nms=None, max_det=None):
    """Native and reference agree in indices, NaN count and cut; returns the reference's answer."""
    expected = reference.nms(boxes, scores, classes, iou=iou, max_nms=max_nms, max_det=max_det)
    limits = (NO_LIMIT if max_nms is None else max_nms, NO_LIMIT if max_det is None else max_det)
    kept, nan, cut = _native.nms(boxes, scores, classes, iou, *limits, True)
    np.testing.assert_array_equal(np.frombuffer(kept, np.int64), expected.kept)
    assert (nan, cut) == (expected.nan, expected.cut)
    early, nan, cut = _native.nms(boxes, scores, classes, iou, *limits, False)
    assert (early, nan, cut) == (kept, expected.nan, None)
    return expected


@settings(max_examples=150, deadline=None)
@given(KINDS, SEEDS, st.integers(0, 200), THRESHOLDS, st.booleans())
def test_equals_reference(kind, seed, n, iou, agnostic):
    boxes, scores, classes = kind(np.random.default_rng(seed), n)
    check(boxes, scores, None if agnostic else classes, iou)


@settings(max_examples=60, deadline=None)
@given(KINDS, SEEDS, st.integers(0, 120), st.none() | st.integers(0, 120), st.none() | st.integers(0, 60))
def test_limits_equal_reference(kind, seed, n, max_nms, max_det):
    boxes, scores, classes = kind(np.random.default_rng(seed), n)
    check(boxes, scores, classes, 0.45, max_nms, max_det)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 24), THRESHOLDS)
def test_arbitrary_floats_equal_reference(data, n, iou):
    coordinates = st.floats(width=32) | st.integers(-4, 4).map(float)
    boxes = data.draw(hnp.arrays(np.float32, (n, 4), elements=coordinates))
    scores = data.draw(hnp.arrays(np.float32, n, elements=st.floats(width=32) | st.sampled_from([0.0, -0.0, 0.5])))
    classes = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2) | st.integers(-(2**63), 2**63 - 1)))
    check(boxes, scores, classes, iou)


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 1000, 1001, 4200])
@pytest.mark.parametrize("kind", [cases.uniform, cases.crowded, cases.tied, cases.many_classes])
def test_sizes(kind, n):
    boxes, scores, classes = kind(np.random.default_rng(n), n)
    check(boxes, scores, classes)
    if n <= 1001:
        check(boxes, scores, None)


GRID_SCALES = [1.0, 2.0**40, 2.0**-52, 2.0**-66]  # ordinary; huge; areas near the denormals; areas that are denormal


@settings(max_examples=10, deadline=None)
@given(
    SEEDS, st.sampled_from(GRID_SCALES), st.sampled_from([0.0, 0.005, 0.05, 0.3, 0.45, 0.55, 0.9, 1.0]), st.booleans()
)
def test_many_survivors_equal_reference(seed, scale, iou, agnostic):
    boxes, scores, classes = cases.spread(np.random.default_rng(seed), 1600)
    answer = check(boxes * np.float32(scale), scores, None if agnostic else classes, iou)
    assert np.bincount(classes[answer.kept]).max() > 512


def test_many_survivors_with_limits_equal_reference():
    boxes, scores, classes = cases.spread(np.random.default_rng(0), 1800)
    scores[::100] = np.nan
    check(boxes, scores, classes, 0.45, 1700, 1100)
    check(boxes, scores, None, 0.45, 1500, None)


@pytest.mark.parametrize("far", [1e6, 1e30])
def test_many_survivors_and_one_far_away(far):
    """An outlier makes the grid's cells too coarse to be of use; the answer stays."""
    boxes, scores, classes = cases.spread(np.random.default_rng(1), 1200)
    boxes[5] = far, far, far * 1.01, far * 1.01
    check(boxes, scores, classes * 0)


def test_many_survivors_of_boxes_that_cannot_overlap():
    boxes = np.zeros((700, 4), np.float32)
    assert len(nms(boxes, np.ones(700, np.float32))) == 700


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from([cases.crowded, cases.grid, cases.tiny, cases.beyond_8k]))
def test_iou_exactly_at_the_threshold(seed, kind):
    rng = np.random.default_rng(seed)
    boxes = kind(rng, 40)[0]
    for other in range(1, 40):
        pair = boxes[[0, other]]
        ratio = reference.iou_with(pair[0], pair[1:])[0]
        if not 0 < ratio < 1:
            continue
        scores = np.float32([0.9, 0.8])
        below, above = np.nextafter(ratio, np.float32([0, 1]))
        assert list(nms(pair, scores, iou=ratio)) == [0, 1]
        assert list(nms(pair, scores, iou=above)) == [0, 1]
        assert list(nms(pair, scores, iou=below)) == [0]


def test_threshold_is_rounded_to_float32():
    pair = np.float32([[0, 0, 10, 10], [0, 0, 10, 6]])
    assert reference.iou_with(pair[0], pair[1:])[0] == np.float32(0.6)
    assert np.float32(0.6) > np.float64(0.6)  # so a comparison in double precision would drop the second box
    assert list(nms(pair, np.float32([0.9, 0.8]), iou=0.6)) == [0, 1]


def test_chain():
    """B falls to A; C overlaps only B and therefore stays."""
    boxes = np.float32([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])
    assert list(nms(boxes, np.float32([0.9, 0.8, 0.7]))) == [0, 2]
    assert list(nms(boxes, np.float32([0.8, 0.9, 0.7]))) == [1]


def test_infinite_box_is_never_suppressed_and_never_suppresses():
    infinite = [-np.inf, -np.inf, np.inf, np.inf]
    boxes = np.float32([infinite, infinite, [0, 0, 10, 10], [0, 0, 10, 10]])
    assert list(nms(boxes, np.float32([0.9, 0.8, 0.7, 0.6]))) == [0, 1, 2]


def test_scores_that_tie_keep_the_lower_index():
    boxes = np.float32([[0, 0, 10, 10]] * 3)
    assert list(nms(boxes, np.float32([0.0, -0.0, 0.0]))) == [0]
    assert list(nms(boxes, np.float32([-0.0, 0.0, 0.0]), np.array([1, 2, 2]))) == [0, 1]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([cases.uniform, cases.crowded, cases.grid, cases.degenerate]), SEEDS, st.integers(1, 150))
def test_kept_set_is_independent_and_maximal(kind, seed, n):
    boxes, scores, classes = kind(np.random.default_rng(seed), n)
    kept = nms(boxes, scores, classes)
    better = np.lexsort((np.arange(n), -scores)).argsort()  # (n,) place of each box
    assert np.all(np.diff(better[kept]) > 0)
    for i in range(n):
        rivals = kept[(classes[kept] == classes[i]) & (better[kept] < better[i])]
        overlaps = bool(np.any(reference.iou_with(boxes[i], boxes[rivals]) > np.float32(0.45)))
        assert overlaps != (i in kept)


@settings(max_examples=40, deadline=None)
@given(KINDS, SEEDS, st.integers(0, 150), st.integers(0, 150))
def test_max_det_is_a_prefix(kind, seed, n, max_det):
    boxes, scores, classes = kind(np.random.default_rng(seed), n)
    everything = nms(boxes, scores, classes)
    np.testing.assert_array_equal(nms(boxes, scores, classes, max_det=max_det), everything[:max_det])


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 300))
def test_permutation_relabelling_and_scaling_change_nothing(seed, n):
    rng = np.random.default_rng(seed)
    boxes, _, classes = cases.crowded(rng, n)
    scores = rng.permutation(n).astype(np.float32) / np.float32(n)  # distinct
    kept = nms(boxes, scores, classes)
    order = rng.permutation(n)
    np.testing.assert_array_equal(order[nms(boxes[order], scores[order], classes[order])], kept)
    labels = rng.choice(10**12, 5, replace=False)
    np.testing.assert_array_equal(nms(boxes, scores, labels[classes]), kept)
    np.testing.assert_array_equal(nms(boxes * np.float32(2.0**9), scores, classes), kept)
    np.testing.assert_array_equal(nms(boxes * np.float32(2.0**-9), scores, classes), kept)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">i8", ">u8", "q", "l"])
def test_every_integer_dtype_of_classes(dtype):
    boxes, scores, classes = cases.crowded(np.random.default_rng(0), 200)
    expected = reference.nms(boxes, scores, classes).kept
    np.testing.assert_array_equal(nms(boxes, scores, classes.astype(dtype)), expected)
    top = np.array([np.iinfo(dtype).max - id_ for id_ in classes.tolist()], dtype)
    np.testing.assert_array_equal(nms(boxes, scores, top), expected)


def test_arrays_in_unusual_forms():
    boxes, scores, classes = cases.crowded(np.random.default_rng(1), 64)
    expected = nms(boxes, scores, classes)
    wide = np.full((64, 7), np.nan, np.float32)
    wide[:, 1:5], wide[:, 6] = boxes, scores
    unaligned = np.zeros(64 * 4 + 1, np.uint8)[1:].view(np.float32)
    unaligned[:] = scores
    for same_boxes, same_scores in [
        (wide[:, 1:5], wide[:, 6]),
        (np.asfortranarray(boxes), scores[::-1].copy()[::-1]),
        (boxes.astype(">f4"), scores.astype(">f4")),
        (boxes, unaligned),
    ]:
        np.testing.assert_array_equal(nms(same_boxes, same_scores, np.repeat(classes, 2)[::2]), expected)
    for array in (boxes, scores, classes):
        array.flags.writeable = False
    np.testing.assert_array_equal(nms(boxes, scores, classes), expected)


def test_float16_converts_exactly():
    boxes, scores, classes = cases.crowded(np.random.default_rng(2), 100)
    boxes, scores = boxes.astype(np.float16), scores.astype(np.float16)
    expected = reference.nms(boxes.astype(np.float32), scores.astype(np.float32), classes).kept
    np.testing.assert_array_equal(nms(boxes, scores, classes), expected)


def test_answer_is_an_ordinary_array():
    kept = nms(np.float32([[0, 0, 1, 1]]), np.float32([1]))
    assert (kept.dtype, kept.shape, kept.flags.writeable) == (np.int64, (1,), True)
    empty = nms(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))
    assert (empty.dtype, empty.shape) == (np.int64, (0,))


BOXES, SCORES, CLASSES = np.zeros((3, 4), np.float32), np.zeros(3, np.float32), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((BOXES[:, :3], SCORES), {}, r"boxes must have shape \(N, 4\).* got \(3, 3\)"),
        ((BOXES[0], SCORES), {}, r"boxes must have shape \(N, 4\).* got \(4,\)"),
        ((BOXES, SCORES[:2]), {}, r"scores must have shape \(3,\).* got \(2,\)"),
        ((BOXES, SCORES[:, None]), {}, r"scores must have shape \(3,\).* got \(3, 1\)"),
        ((BOXES, SCORES, CLASSES[:2]), {}, r"classes must have shape \(3,\).* got \(2,\)"),
        ((BOXES.astype(np.float64), SCORES), {}, r"boxes must be float32.* float64.*boxes\.astype\(numpy\.float32\)"),
        ((BOXES, SCORES.astype(np.float64)), {}, r"scores must be float32.* float64"),
        ((BOXES, [0.1, 0.2, 0.3]), {}, r"scores must be float32.* float64"),
        ((BOXES, SCORES, SCORES), {}, r"classes must be integers, got float32.*classes\.astype\(numpy\.int64\)"),
        ((BOXES, SCORES, SCORES > 0), {}, r"classes must be integers, got bool"),
        ((BOXES, SCORES), {"iou": 1.5}, r"iou must be a number from 0 to 1, got 1\.5"),
        ((BOXES, SCORES), {"iou": -0.1}, r"iou must be a number from 0 to 1, got -0\.1"),
        ((BOXES, SCORES), {"iou": float("nan")}, r"iou must be a number from 0 to 1, got nan"),
        ((BOXES, SCORES), {"iou": None}, r"iou must be a number from 0 to 1, got None"),
        ((BOXES, SCORES), {"iou": "0.5"}, r"iou must be a number from 0 to 1, got '0\.5'"),
        ((BOXES, SCORES), {"max_det": -1}, r"max_det must be a whole number, 0 or more.* got -1"),
        ((BOXES, SCORES), {"max_det": 2.0}, r"max_det must be a whole number, 0 or more.* got 2\.0"),
    ],
)
def test_errors_say_what_was_expected(arguments, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        nms(*arguments, **options)
    assert isinstance(caught.value, ValueError)


def test_a_limit_beyond_every_integer_is_no_limit():
    assert list(nms(BOXES, SCORES, max_det=10**30)) == [0, 1, 2]


def test_threads_give_the_same_answers():
    inputs = [cases.crowded(np.random.default_rng(seed), 500 + 300 * seed) for seed in range(6)]
    expected = [reference.nms(*case).kept for case in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for kept, right in zip(pool.map(lambda case: nms(*case), inputs), expected, strict=True):
                np.testing.assert_array_equal(kept, right)
