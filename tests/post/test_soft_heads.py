"""Raw heads to boxes with soft NMS: the native call equals the reference bit for bit, and a higher conf is a prefix."""

from __future__ import annotations

from dataclasses import replace

import heads
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_postprocess import GEOMETRY, KINDS, NETWORK, SEEDS, YOLOX, YOLOX_ANCHORS, assert_same, check, processor

from boxmill.errors import UsageError
from boxmill.post import Postprocessor, reference, soft_nms
from boxmill.types import Detections, HeadSpec

METHODS = ["soft", "soft-gaussian"]
OPTIONS = st.builds(
    reference.Options,
    conf=st.sampled_from([0.0, 0.001, 0.25, 0.5]) | st.floats(0, 1),
    iou=st.sampled_from([0.0, 0.3, 0.45, 1.0]),
    max_det=st.sampled_from([1, 3, 20, 300]),
    max_nms=st.sampled_from([1, 2, 20, 30000]),
    classes=st.none() | st.just((0, 2)),
    agnostic=st.booleans(),
    multi_label=st.booleans(),
    nms=st.sampled_from(METHODS),
    sigma=st.sampled_from([0.1, 0.5, 3.0]),
)


def found_in(raw, head: HeadSpec, options: reference.Options) -> Detections:
    return processor(head, options)(raw, NETWORK)[0]


def pairs(*anchors: tuple[float, ...]) -> np.ndarray:
    """(4 + C, A) yolo head of anchors cx, cy, w, h, scores."""
    return np.float32(anchors).T.copy()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["yolo", "yolov5"]),
    st.sampled_from(["none", "sigmoid"]),
    OPTIONS,
    KINDS,
    SEEDS,
    st.integers(0, 120),
    st.sampled_from([3, 9]),
    st.booleans(),
)
def test_equals_reference(kind, activation, options, rows, seed, anchors, classes, with_geometry):
    head = HeadSpec(kind, activation=activation)
    raw = heads.arranged(rows(np.random.default_rng(seed), anchors, classes), head)
    check(raw, head, options, GEOMETRY if with_geometry else None)


@settings(max_examples=40, deadline=None)
@given(OPTIONS, KINDS, SEEDS)
def test_yolox_equals_reference(options, rows, seed):
    check(heads.arranged(rows(np.random.default_rng(seed), YOLOX_ANCHORS, 4), YOLOX), YOLOX, options)


@settings(max_examples=40, deadline=None)
@given(OPTIONS, SEEDS)
def test_nanodet_equals_reference(options, seed):
    rng = np.random.default_rng(seed)
    head = HeadSpec("nanodet", strides=(16, 32), bins=4)
    check([rng.random((4 * 6 + 2 * 3, 3 + 16)).astype(np.float32)], head, options)


@settings(max_examples=150, deadline=None)
@given(OPTIONS, st.sampled_from([heads.uniform, heads.rare, heads.tied]), SEEDS, st.floats(0, 1))
def test_what_is_seen_above_a_higher_conf_is_the_run_at_that_conf(options, rows, seed, higher):
    """Which is why --keep-conf may be used with soft NMS (store/views.py)."""
    conf = max(options.conf, higher)
    head = HeadSpec("yolo")
    raw = heads.arranged(rows(np.random.default_rng(seed), 90, 3), head)
    low, high = found_in(raw, head, options), found_in(raw, head, replace(options, conf=conf))
    above = low.scores > np.float32(conf)
    cut = low.cut if low.cut is not None and low.cut > np.float32(conf) else None
    seen = replace(
        low,
        boxes=low.boxes[above],
        scores=low.scores[above],
        classes=low.classes[above],
        indices=low.indices[above],
        cut=cut,
    )
    assert_same(seen, high)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_soft_nms_of_the_candidates(method):
    raw = heads.arranged(heads.uniform(np.random.default_rng(4), 200, 1), HeadSpec("yolo"))
    centre, size = raw[:2], np.float32(0.5) * raw[2:4]
    boxes = np.concatenate([centre - size, centre + size]).T.copy()
    kept, scores = soft_nms(
        boxes, raw[4].copy(), method="linear" if method == "soft" else "gaussian", iou=0.45, conf=0.25
    )
    found = check(raw, HeadSpec("yolo"), reference.Options(nms=method))
    assert found.indices.tolist() == kept.tolist()
    assert found.scores.tolist() == scores.tolist()
    assert np.any(scores < raw[4][kept])  # some decayed


def test_by_hand():
    """IoU .5: hard NMS drops the second; soft halves its score, which leaves it behind the third."""
    raw = pairs((50, 50, 10, 10, 0.9), (50, 47.5, 10, 5, 0.8), (20, 20, 10, 10, 0.6))
    assert check(raw, HeadSpec("yolo")).indices.tolist() == [0, 2]
    found = check(raw, HeadSpec("yolo"), reference.Options(nms="soft"))
    assert found.indices.tolist() == [0, 2, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.4])
    assert check(raw, HeadSpec("yolo"), reference.Options(nms="soft", conf=0.41)).indices.tolist() == [0, 2]
    found = check(raw, HeadSpec("yolo"), reference.Options(nms="soft-gaussian", iou=None, sigma=0.2))
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.8 * np.exp(-0.25 / 0.2)][:2])  # .229 is not above .25


def test_classes_do_not_meet_unless_agnostic():
    raw = pairs((50, 50, 10, 10, 0.9, 0), (50, 50, 10, 10, 0, 0.8))
    assert len(check(raw, HeadSpec("yolo"), reference.Options(nms="soft"))) == 2
    assert len(check(raw, HeadSpec("yolo"), reference.Options(nms="soft", agnostic=True))) == 1


def test_cut_is_the_score_above_which_no_limit_matters():
    raw = pairs(*((20 * i, 20, 10, 10, 0.9 - i / 10) for i in range(4)), (0, 17.5, 10, 5, 0.85))
    every = reference.Options(nms="soft", conf=0.1)
    assert check(raw, HeadSpec("yolo"), every).scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.425])
    # The survivor that max_det takes has its decayed score, the candidate that max_nms takes its own.
    assert check(raw, HeadSpec("yolo"), replace(every, max_det=4)).cut == pytest.approx(0.425)
    assert check(raw, HeadSpec("yolo"), replace(every, max_nms=1)).cut == pytest.approx(0.85)
    # Of both: the candidate lost at .7 scores more than the survivor lost at .425.
    both = check(raw, HeadSpec("yolo"), replace(every, max_nms=3, max_det=2))
    assert (both.scores.tolist(), both.cut) == (pytest.approx([0.9, 0.8]), pytest.approx(0.7))
    assert check(raw, HeadSpec("yolo"), every).cut is None


def test_objects_are_above_conf_as_they_are_reported():
    """A score that decays in double to just above conf, and is conf once rounded, is not above it."""
    width = np.float32(10)
    for step in range(40):
        score = np.float32(0.8) + np.float32(step) * np.float32(2**-24)
        raw = pairs((50, 50, width, 10, 0.9), (50, 47, width, 4, score))
        low = check(raw, HeadSpec("yolo"), reference.Options(nms="soft", iou=0.3, conf=0.1))
        decayed = float(low.scores[1])
        assert len(check(raw, HeadSpec("yolo"), reference.Options(nms="soft", iou=0.3, conf=decayed))) == 1


def test_a_batch_of_float16_and_a_transposed_view_give_the_same():
    rng = np.random.default_rng(0)
    raw = np.stack([heads.arranged(heads.rare(rng, 80, 4), HeadSpec("yolo")) for _ in range(3)]).astype(np.float16)
    detect = Postprocessor(HeadSpec("yolo"), 0.05, nms="soft-gaussian")
    singles = [detect(image.astype(np.float32), NETWORK)[0] for image in raw]
    transposed = np.ascontiguousarray(raw.transpose(0, 2, 1)).transpose(0, 2, 1)
    for batch in (raw, transposed):
        for found, expected in zip(detect(batch, NETWORK), singles, strict=True):
            assert len(expected) > 0
            assert_same(found, expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head", ["detr", "end2end", "triple"])
def test_heads_that_select_inside_refuse(head, method):
    with pytest.raises(UsageError, match=f"a {head} head has already selected"):
        Postprocessor(HeadSpec(head), iou=None, nms=method)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nms": "linear"}, "nms must be one of hard, soft, soft-gaussian, got 'linear'"),
        ({"nms": "soft", "iou": None}, "above iou, which is None"),
        ({"sigma": 0}, "sigma must be a number above 0, got 0"),
        ({"sigma": float("inf")}, "sigma must be a number above 0"),
        ({"sigma": "1"}, "sigma must be a number above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Postprocessor(HeadSpec("yolo"), **options)
