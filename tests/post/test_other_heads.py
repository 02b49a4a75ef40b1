"""Heads whose class values and boxes lie apart: native equals reference, in every layout that is exported."""

from __future__ import annotations

from dataclasses import replace

import heads
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_postprocess import GEOMETRY, NETWORK, OPTIONS, SEEDS, assert_same, processor

from boxmill.errors import UsageError
from boxmill.post import Postprocessor, reference
from boxmill.types import Detections, HeadSpec

STRIDES = (16, 24)  # 24 does not divide 64: its level has 3 x 4 cells
CELLS = (4 * 6, 3 * 4)
ANCHORS = sum(CELLS)
BINS = 5
NANODET = HeadSpec("nanodet", strides=STRIDES, bins=BINS)
DETR = HeadSpec("detr")
END2END = HeadSpec("end2end")
TRIPLE = HeadSpec("triple")
KINDS = st.sampled_from(heads.KINDS)
LABELS = {
    "f2": [0, 1, 2, 2.5, 1.5, -0.4, -0.6, -1, np.nan, np.inf, -np.inf],
    "f4": [0, 1, 2, 2.5, 1.5, -0.4, -0.6, -1, np.nan, np.inf, -np.inf, 2.0**31, 2.0**31 - 128],
    "f8": [0, 1, 2, 0.5, -1, np.nan, 2.0**31 - 1, 2.0**31 - 0.4, -1e300],
    "i1": [0, 1, 2, -1, 127],
    "u1": [0, 1, 2, 255],
    "i4": [0, 1, 2, -1, 2**31 - 1],
    "i8": [0, 1, 2, -1, 2**31 - 1, 2**31, -(2**63), 2**63 - 1],
    ">i8": [0, 1, 2, -1, 2**40],
    "u8": [0, 1, 2, 2**31 - 1, 2**31, 2**64 - 1],
}


def check(raw, head, options=None, geometry=None) -> Detections:
    """The native answer for one image, after it was compared with the reference."""
    options = options or reference.Options()
    (got,) = processor(head, options)(raw, NETWORK, None if geometry is None else [geometry])
    assert_same(got, reference.postprocess(raw, head, NETWORK, options, geometry))
    return got


def nanodet_rows(kind, rng, classes: int) -> np.ndarray:
    """(A, C + 4 * bins)"""
    return np.ascontiguousarray(kind(rng, ANCHORS, classes + 4 * BINS)[5:].T)


def nanodet_maps(rows: np.ndarray) -> list[np.ndarray]:
    """The same as one class map and one distribution map a level."""
    levels = np.split(rows, np.cumsum(CELLS)[:-1])
    classes = rows.shape[1] - 4 * BINS
    return [level[:, :classes] for level in levels] + [level[:, classes:] for level in levels]


def detr_pair(kind, rng, queries: int, columns: int, head: HeadSpec) -> list[np.ndarray]:
    rows = kind(rng, queries, columns)
    boxes = rows[:4] / 64 if head.boxes == "normalized" else rows[:4]
    return [np.ascontiguousarray(rows[5:].T), np.ascontiguousarray(boxes.T)]


def triple_of(kind, rng, rows: int, dtype: str = "i8") -> list[np.ndarray]:
    values = kind(rng, rows, 1)
    boxes = np.concatenate([values[:2] - values[2:4] / 2, values[:2] + values[2:4] / 2]).T
    return [np.ascontiguousarray(boxes), values[4], rng.choice(np.array(LABELS[dtype], dtype), rows)]


ACTIVATIONS = st.sampled_from(["none", "sigmoid"])
BOXES = st.sampled_from(["pixels", "normalized"])
GEOMETRIES = st.sampled_from([None, GEOMETRY])


@settings(max_examples=120, deadline=None)
@given(
    ACTIVATIONS, OPTIONS, KINDS, SEEDS, st.sampled_from([3, 9, 20]), GEOMETRIES, st.sampled_from(["centre", "corner"])
)
def test_nanodet_equals_reference(activation, options, kind, seed, classes, geometry, origin):
    head = replace(NANODET, activation=activation, origin=origin)
    rows = nanodet_rows(kind, np.random.default_rng(seed), classes)
    expected = check(rows, head, options, geometry)
    assert_same(check(nanodet_maps(rows), head, options, geometry), expected)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["none", "sigmoid", "softmax"]),
    BOXES,
    OPTIONS,
    KINDS,
    SEEDS,
    st.integers(0, 60),
    st.sampled_from([4, 5, 9, 20]),
    GEOMETRIES,
)
def test_detr_equals_reference(activation, boxes, options, kind, seed, queries, columns, geometry):
    head = replace(DETR, activation=activation, boxes=boxes)
    pair = detr_pair(kind, np.random.default_rng(seed), queries, columns, head)
    expected = check(pair, head, options, geometry)
    assert_same(check([np.concatenate(pair[::-1], axis=1)], head, options, geometry), expected)


@settings(max_examples=120, deadline=None)
@given(BOXES, OPTIONS, KINDS, SEEDS, st.integers(0, 60), st.sampled_from(sorted(LABELS)), GEOMETRIES)
def test_selected_equal_reference(boxes, options, kind, seed, rows, dtype, geometry):
    arrays = triple_of(kind, np.random.default_rng(seed), rows, dtype)
    expected = check(arrays, replace(TRIPLE, boxes=boxes), options, geometry)
    if dtype in ("f2", "f4"):
        columns = np.concatenate([arrays[0], arrays[1][:, None], arrays[2][:, None]], axis=1, dtype=np.float32)
        assert_same(check(columns, replace(END2END, boxes=boxes), options, geometry), expected)


BATCHES = {
    "nanodet": (NANODET, lambda rng, kind: [nanodet_rows(kind, rng, 4)]),
    "nanodet maps": (NANODET, lambda rng, kind: nanodet_maps(nanodet_rows(kind, rng, 4))),
    "detr softmax": (
        replace(DETR, activation="softmax"),
        lambda rng, kind: detr_pair(kind, rng, 20, 5, DETR),
    ),
    "detr sigmoid": (replace(DETR, activation="sigmoid"), lambda rng, kind: detr_pair(kind, rng, 20, 5, DETR)),
    "detr one array": (DETR, lambda rng, kind: [np.concatenate(detr_pair(kind, rng, 20, 5, DETR)[::-1], axis=1)]),
    "end2end": (END2END, lambda rng, kind: [np.ascontiguousarray(kind(rng, 20, 1).T)]),
    "triple": (TRIPLE, lambda rng, kind: triple_of(kind, rng, 20)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_batch_equals_singles_in_any_layout(name):
    head, make = BATCHES[name]
    rng = np.random.default_rng(4)
    singles = [make(rng, kind) for kind in heads.KINDS]
    batch = [np.stack(arrays) for arrays in zip(*singles, strict=True)]
    places = [replace(GEOMETRY, pad=(i, 2 * i)) for i in range(len(singles))]
    post = Postprocessor(head, conf=0.1)
    together = post(batch, NETWORK, places)
    assert sum(len(image) for image in together) > 0
    for other in ([np.asfortranarray(array) for array in batch], tuple(array[::-1][::-1] for array in batch)):
        for got, expected in zip(post(other, NETWORK, tuple(places)), together, strict=True):
            assert_same(got, expected)
    for image, geometry, expected in zip(singles, places, together, strict=True):
        assert_same(post(image, NETWORK, [geometry])[0], expected)
        assert_same(post([array[None] for array in image], NETWORK, [geometry])[0], expected)
    assert post([array[:0] for array in batch], NETWORK, []) == []


@pytest.mark.parametrize("name", BATCHES)
def test_float16_converts_exactly_and_input_is_left_alone(name):
    head, make = BATCHES[name]
    raw = make(np.random.default_rng(5), heads.rare)
    if name == "triple":
        raw[2] = raw[2] % 100
    narrow = [array.astype(np.float16) for array in raw]
    before = [array.copy() for array in narrow]
    for array in narrow:
        array.flags.writeable = False
    post = Postprocessor(head, conf=0.05)
    (found,) = post(narrow, NETWORK)
    assert len(found) > 0
    assert_same(found, post([array.astype(np.float32) for array in narrow], NETWORK)[0])
    for array, same in zip(narrow, before, strict=True):
        np.testing.assert_array_equal(array, same)


def peaked(*bins: int) -> list[float]:
    """Distributions that are certain of one bin each: left, top, right, bottom."""
    return [50.0 if i == at else -50.0 for at in bins for i in range(BINS)]


@pytest.mark.parametrize(("origin", "shift"), [("centre", 0.5), ("corner", 0.0)])
def test_nanodet_boxes(origin, shift):
    rows = np.zeros((ANCHORS, 2 + 4 * BINS), np.float32)
    rows[7] = [0, 0.9, *peaked(1, 1, 2, 3)]  # second row, second cell of stride 16
    rows[CELLS[0] + 4 + 2] = [0.8, 0, *peaked(0, 1, 1, 1)]  # second row, third cell of stride 24
    found = check(rows, replace(NANODET, origin=origin))
    x, y, u, v = (1 + shift) * 16, (1 + shift) * 16, (2 + shift) * 24, (1 + shift) * 24
    assert found.boxes.tolist() == [[x - 16, y - 16, x + 32, y + 48], [u, v - 24, u + 24, v + 24]]
    assert (found.classes.tolist(), found.indices.tolist()) == ([1, 0], [7, CELLS[0] + 6])


def test_nanodet_distance_is_the_expectation():
    rows = np.zeros((ANCHORS, 1 + 4 * BINS), np.float32)
    rows[0, 0] = 0.9
    found = check(rows, NANODET)
    assert found.boxes.tolist() == [[8 - 32, 8 - 32, 8 + 32, 8 + 32]]  # (0 + 1 + 2 + 3 + 4) / 5 strides of 16


def test_nanodet_infinite_bin_has_no_distance():
    rows = np.zeros((ANCHORS, 1 + 4 * BINS), np.float32)
    rows[3] = [0.9, *[np.inf] * 4 * BINS]
    found = check(rows, NANODET)
    assert (len(found), found.nan) == (0, 1)


def test_softmax_leaves_no_object_out():
    head = replace(DETR, activation="softmax")
    logits = np.float32([[2, 1, 0], [1, 1, 9], [0, 3, 3]])
    boxes = np.float32([[10, 10, 4, 4], [30, 30, 4, 4], [50, 50, 4, 4]])
    found = check([logits, boxes], head, reference.Options(conf=0.4, iou=None))
    assert found.indices.tolist() == [0, 2]
    assert found.classes.tolist() == [0, 1]
    powers = np.exp(np.float64([2, 1, 0]))
    assert found.scores[0] == np.float32(powers[0] / powers.sum())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_softmax_of_a_row_that_is_no_number(value):
    head = replace(DETR, activation="softmax")
    logits = np.float32([[2, 1, value], [3, 0, 0], [-np.inf] * 3, [3, -np.inf, -np.inf]])
    boxes = np.tile(np.float32([10, 10, 4, 4]), (4, 1))
    found = check([logits, boxes], head, reference.Options(iou=None))
    assert (found.indices.tolist(), found.nan) == ([3, 1], 2)
    pairs = check([logits, boxes], head, reference.Options(iou=None, multi_label=True))
    assert (pairs.indices.tolist(), pairs.nan) == ([3, 1], 4)
    wanted = check([logits, boxes], head, reference.Options(iou=None, multi_label=True, classes=(1,)))
    assert (wanted.indices.tolist(), wanted.nan) == ([], 2)


@pytest.mark.parametrize("conf", [0.05, 0.25, 0.5, 0.9])
def test_softmax_is_decided_on_the_rounded_score(conf):
    """Every float32 logit around the one that gives conf."""
    head = replace(DETR, activation="softmax")
    start = np.float32(np.log(conf / (1 - conf)) if conf != 0.5 else 1e-6)
    logits = (start.view(np.int32) + np.arange(-200, 200, dtype=np.int32)).view(np.float32)
    raw = [np.stack([logits, 0 * logits], axis=1), np.ones((400, 4), np.float32)]
    check(raw, head, reference.Options(conf=conf, iou=None, max_det=400))
    kept = check(raw, head, reference.Options(conf=float(np.float32(conf)), iou=None, max_det=400))
    if conf != 0.5:
        assert 0 < len(kept) < 400


def test_without_nms_order_limits_and_cut_remain():
    rows = np.tile(np.float32([10, 10, 20, 20, 0, 1]), (5, 1))
    rows[:, 4] = [0.5, 0.9, 0.5, 0.7, 0.2]
    found = check(rows, END2END, reference.Options(iou=None))
    assert (found.indices.tolist(), found.cut) == ([1, 3, 0, 2], None)
    for limit in ("max_det", "max_nms"):
        found = check(rows, END2END, reference.Options(iou=None, **{limit: 2}))
        assert (found.indices.tolist(), found.cut) == ([1, 3], 0.5)
    assert check(rows, END2END).indices.tolist() == [1]


def test_rows_that_are_not_used_are_not_counted():
    boxes = np.full((5, 4), np.nan, np.float32)
    boxes[0] = 1, 2, 3, 4
    scores = np.float32([0.9, 0, 0.9, np.nan, 0])
    labels = np.array([2, 0, -1, -1, 7])
    found = check([boxes, scores, labels], TRIPLE)
    assert (found.classes.tolist(), found.boxes.tolist(), found.nan) == ([2], [[1, 2, 3, 4]], 0)
    floats = np.float32([2.4, np.nan, -1, -7, np.nan])
    assert check([boxes, scores, floats], TRIPLE).nan == 0


def test_nan_is_dropped_and_counted_once():
    boxes = np.float32([[1, 2, 3, 4], [1, 2, np.nan, 4], [1, 2, 3, 4], [np.nan, 2, 3, 4]])
    scores = np.float32([np.nan, 0.9, 0.9, np.nan])
    labels = np.float32([0, 0, np.nan, np.nan])
    assert check([boxes, scores, labels], TRIPLE).nan == 4
    assert (
        check([boxes, scores, labels], TRIPLE, reference.Options(classes=(1,))).nan == 2
    )  # classes 0 are not looked at


def test_class_filter_compares_ids():
    boxes, scores = np.zeros((3, 4), np.float32), np.float32([0.9, 0.8, 0.7])
    labels = np.array([5, 90, 2**31 - 1])
    for wanted, kept in (((90,), [1]), ((5, 2**31 - 1, 2**70), [0, 2]), ((), []), ((4,), [])):
        options = reference.Options(classes=wanted, iou=None)
        assert check([boxes, scores, labels], TRIPLE, options).indices.tolist() == kept


@pytest.mark.parametrize("head", [END2END, TRIPLE])
def test_normalized_corners(head):
    rows = np.float32([[0.25, 0.5, 0.5, 1, 0.9, 3]])
    raw = rows if head.type == "end2end" else [rows[:, :4], rows[:, 4], rows[:, 5]]
    found = check(raw, replace(head, boxes="normalized"))
    assert (found.boxes.tolist(), found.classes.tolist()) == ([[24, 32, 48, 64]], [3])


def test_deformable_detr_ranks_pairs_together():
    logits = np.float32([[2, 1], [0, 3]])
    boxes = np.float32([[0.5, 0.5, 0.25, 0.5], [0.5, 0.5, 0.5, 0.25]])
    head = HeadSpec("detr", boxes="normalized", activation="sigmoid")
    found = check([logits, boxes], head, reference.Options(conf=0.6, iou=None, multi_label=True, max_det=2))
    assert (found.indices.tolist(), found.classes.tolist()) == ([1, 0], [1, 0])
    assert found.boxes.tolist() == [[24, 24, 72, 40], [36, 16, 60, 48]]
    assert found.cut == np.float32(1 / (1 + np.exp(-1.0)))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (replace(NANODET, activation="softmax"), "activation of a nanodet head must be none or sigmoid, got 'softmax'"),
        (replace(NANODET, boxes="normalized"), "always to pixels"),
        (replace(NANODET, strides=()), "needs strides"),
        (replace(NANODET, bins=1), "2 or more values for each side of a box, got 1"),
        (replace(NANODET, origin="edge"), "centre or corner, got 'edge'"),
        (replace(END2END, activation="sigmoid"), "activation of a end2end head must be none, got 'sigmoid'"),
        (replace(TRIPLE, activation="softmax"), "must be none, got 'softmax'"),
        (replace(DETR, activation="tanh"), "none or sigmoid or softmax, got 'tanh'"),
    ],
)
def test_wrong_heads_are_refused(head, message):
    with pytest.raises(UsageError, match=message):
        Postprocessor(head)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


SOFTMAX = replace(DETR, activation="softmax")


@pytest.mark.parametrize(
    ("head", "raw", "message"),
    [
        (NANODET, zeros(ANCHORS, 4 * BINS), "at least 21 columns"),
        (NANODET, zeros(ANCHORS + 1, 30), "give 36 anchors at network size 64x96, but the head has 37"),
        (NANODET, [zeros(24, 3)] * 3, "is 1 array, or 4: .* got 3 arrays"),
        (
            NANODET,
            [zeros(24, 3), zeros(12, 3), zeros(24, 20), zeros(11, 20)],
            r"stride 24 must have shapes \(1, 12, 3\)",
        ),
        (NANODET, [zeros(24, 3), zeros(12, 4), zeros(24, 20), zeros(12, 20)], "stride 24"),
        (
            NANODET,
            [zeros(24, 3), zeros(12, 3), zeros(24, 32), zeros(12, 32)],
            r"\(1, 24, 20\).*correct head.strides, head.bins",
        ),
        (NANODET, [zeros(24, 0), zeros(12, 0), zeros(24, 20), zeros(12, 20)], "stride 16"),
        (DETR, zeros(9, 4), "at least 5 columns"),
        (SOFTMAX, zeros(9, 5), "at least 6 columns .4 box, then classes and no object"),
        (SOFTMAX, [zeros(9, 1), zeros(9, 4)], "at least 2 columns"),
        (DETR, [zeros(9, 4), zeros(9, 3)], "class values .* then boxes"),
        (DETR, [zeros(9, 3), zeros(8, 4)], r"got \(1, 9, 3\) and \(1, 8, 4\)"),
        (DETR, [zeros(9, 3), zeros(2, 9, 4)], "then boxes"),
        (DETR, [zeros(9, 3)] * 3, "got 3 arrays"),
        (END2END, zeros(9, 7), r"6 columns .*got shape \(1, 9, 7\)"),
        (END2END, [zeros(9, 6)] * 2, "is one array, got 2"),
        (TRIPLE, zeros(9, 6), "boxes, scores and labels, got 1 arrays"),
        (TRIPLE, [zeros(9, 4), zeros(8), zeros(9)], r"got \(9, 4\), \(8,\) and \(9,\)"),
        (TRIPLE, [zeros(9, 5), zeros(9), zeros(9)], r"got \(9, 5\)"),
        (TRIPLE, [zeros(2, 9, 4), zeros(9), zeros(9)], "boxes .images, rows, 4."),
        (TRIPLE, [zeros(9, 4), zeros(9), zeros(9) > 0], "labels must be integers or floats, got bool"),
        (TRIPLE, [zeros(9, 4), zeros(9), [1] * 9], "must be a numpy array, got list"),
        (TRIPLE, [zeros(9, 4), zeros(9).astype(int), zeros(9)], "scores must be float32 .* got int64"),
        (TRIPLE, [zeros(9, 4).astype(float), zeros(9), zeros(9)], "boxes must be float32 .* got float64"),
        (TRIPLE, [zeros(4), zeros(1), zeros(1)], r"boxes must have shape .images, rows, 4. or .rows, 4., got \(4,\)"),
    ],
)
def test_wrong_inputs_are_refused(head, raw, message):
    with pytest.raises(UsageError, match=message):
        Postprocessor(head)(raw, NETWORK)


def test_unknown_class_id_is_refused_where_the_head_tells():
    with pytest.raises(UsageError, match="class id 2 does not exist: the head has 2 classes"):
        Postprocessor(SOFTMAX, classes=(2,))([zeros(9, 3), zeros(9, 4)], NETWORK)
