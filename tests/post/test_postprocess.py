"""Raw heads to boxes: the native call equals the reference bit for bit, whatever the head, options and neighbours."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import heads
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxmill.errors import UsageError
from boxmill.post import Postprocessor, reference
from boxmill.types import Detections, Geometry, HeadSpec

NETWORK = (64, 96)  # height, width
YOLOX = HeadSpec("yolox", strides=(8, 16, 32))
YOLOX_ANCHORS = 8 * 12 + 4 * 6 + 2 * 3
GEOMETRY = Geometry(
    scale=(float(np.float32(0.3)), float(np.float32(0.31))),
    pad=(5, 0),
    resized=(62, 84),
    network=NETWORK,
    source=(200, 280),
)

HEADS = st.builds(
    HeadSpec,
    type=st.sampled_from(["yolo", "yolov5"]),
    boxes=st.sampled_from(["pixels", "normalized"]),
    activation=st.sampled_from(["none", "sigmoid"]),
)
OPTIONS = st.builds(
    reference.Options,
    conf=st.sampled_from([0.0, -0.0, 0.001, 0.25, 0.5, 0.9999999, 1.0]) | st.floats(0, 1),
    iou=st.sampled_from([0.0, 0.45, 0.7, 1.0, None]),
    max_det=st.sampled_from([1, 3, 300]),
    max_nms=st.sampled_from([1, 2, 20, 30000]),
    classes=st.none() | st.sampled_from([(), (0,), (0, 2), (2, 1)]),
    agnostic=st.booleans(),
    multi_label=st.booleans(),
)
KINDS = st.sampled_from(heads.KINDS)
SEEDS = st.integers(0, 2**32 - 1)


def processor(head: HeadSpec, options: reference.Options) -> Postprocessor:
    return Postprocessor(head, **{name: getattr(options, name) for name in options.__slots__})


def assert_same(got: Detections, expected: Detections) -> None:
    for name in ("boxes", "scores", "classes", "indices"):
        ours, theirs = getattr(got, name), getattr(expected, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), name
        assert ours.tobytes() == theirs.tobytes(), name
    assert (got.cut, got.nan) == (expected.cut, expected.nan)


def check(raw, head, options=None, geometry=None) -> Detections:
    """The native answer for one image, after it was compared with the reference."""
    options = options or reference.Options()
    geometries = None if geometry is None else [geometry]
    (got,) = processor(head, options)(raw, NETWORK, geometries)
    assert_same(got, reference.postprocess(raw, head, NETWORK, options, geometry))
    return got


def one_anchor(*scores: float, box: tuple[float, ...] = (30, 20, 10, 8)) -> np.ndarray:
    """(4 + C, 1) yolo head."""
    return np.array([*box, *scores], np.float32)[:, None]


@settings(max_examples=300, deadline=None)
@given(HEADS, OPTIONS, KINDS, SEEDS, st.integers(0, 150), st.sampled_from([3, 8, 9, 17]), st.booleans())
def test_equals_reference(head, options, kind, seed, anchors, classes, with_geometry):
    raw = heads.arranged(kind(np.random.default_rng(seed), anchors, classes), head)
    check(raw, head, options, GEOMETRY if with_geometry else None)


@settings(max_examples=60, deadline=None)
@given(OPTIONS, KINDS, SEEDS, st.sampled_from(["none", "sigmoid"]))
def test_yolox_equals_reference(options, kind, seed, activation):
    head = replace(YOLOX, activation=activation)
    check(heads.arranged(kind(np.random.default_rng(seed), YOLOX_ANCHORS, 4), head), head, options)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("conf", [0.0, 0.001, 0.25, 1.0])
@pytest.mark.parametrize("classes", [1, 3, 80, 365])
@pytest.mark.parametrize("head_type", ["yolo", "yolov5"])
def test_class_counts(head_type, classes, conf, multi_label):
    head = HeadSpec(head_type)
    raw = heads.arranged(heads.rare(np.random.default_rng(classes), 300, classes), head)
    found = check(raw, head, reference.Options(conf=conf, multi_label=multi_label, max_nms=500))
    if conf < 0.01:
        assert len(found) > 0
    if conf == 1:
        assert len(found) == 0


def test_every_anchor_is_a_candidate():
    head = HeadSpec("yolo")
    raw = heads.arranged(heads.uniform(np.random.default_rng(0), 2000, 3), head)
    raw[4:] += 1
    found = check(raw, head, reference.Options(iou=1.0, max_det=5000))
    assert len(found) == 2000


def test_score_must_exceed_conf():
    options = reference.Options(conf=0.3)
    at, above = np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(1))
    assert len(check(one_anchor(at), HeadSpec("yolo"), options)) == 0
    assert len(check(one_anchor(above), HeadSpec("yolo"), options)) == 1


def test_sigmoid_is_decided_on_the_rounded_score():
    """Every float32 logit around the one that gives conf, where a threshold on logits alone would err."""
    head, conf = HeadSpec("yolo", activation="sigmoid"), 0.25
    start = np.float32(np.log(conf / (1 - conf)))
    logits = (start.view(np.int32) + np.arange(-200, 200, dtype=np.int32)).view(np.float32)
    raw = np.concatenate([np.tile(one_anchor()[:4], 400), logits[None]])
    found = check(raw, head, reference.Options(conf=conf, iou=1.0, max_det=400))
    assert 0 < len(found) < 400


def test_ties_go_to_the_lower_class_and_anchor():
    raw = np.tile(one_anchor(0.1, 0.9, 0.9), 3)
    found = check(raw, HeadSpec("yolo"))
    assert found.classes.tolist() == [1]
    assert found.indices.tolist() == [0]
    # A signed zero equals the other: both are logits of 0.5.
    found = check(one_anchor(*[-0.0] * 8, 0.0), HeadSpec("yolo", activation="sigmoid"))
    assert found.classes.tolist() == [0]


def test_multi_label_order_is_anchor_then_class():
    raw = np.concatenate([np.array([[10, 50], [10, 50], [8, 8], [8, 8]]), np.full((3, 2), 0.5)]).astype(np.float32)
    found = check(raw, HeadSpec("yolo"), reference.Options(multi_label=True))
    assert found.indices.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.classes.tolist() == [0, 1, 2, 0, 1, 2]


def test_class_filter_keeps_the_best_class_only_if_wanted():
    raw = one_anchor(0.8, 0.6)
    assert check(raw, HeadSpec("yolo"), reference.Options(classes=(0,))).classes.tolist() == [0]
    assert check(raw, HeadSpec("yolo"), reference.Options(classes=(1,))).classes.tolist() == []
    both = reference.Options(classes=(1,), multi_label=True)
    assert check(raw, HeadSpec("yolo"), both).classes.tolist() == [1]


def test_agnostic_lets_classes_compete():
    raw = np.concatenate([one_anchor(0.8, 0), one_anchor(0, 0.7)], axis=1)
    assert len(check(raw, HeadSpec("yolo"))) == 2
    assert len(check(raw, HeadSpec("yolo"), reference.Options(agnostic=True))) == 1


@pytest.mark.parametrize("nan", [np.nan, -np.nan])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_nan_is_dropped_and_counted(activation, nan):
    head, both = HeadSpec("yolo", activation=activation), reference.Options(multi_label=True)
    score = check(one_anchor(0.9, nan, 0.8), head)
    assert (len(score), score.nan) == (0, 1)
    pairs = check(one_anchor(0.9, nan, 0.8), head, both)
    assert (pairs.classes.tolist(), pairs.nan) == ([0, 2], 1)
    unwanted = check(one_anchor(0.9, nan, 0.8), head, replace(both, classes=(0,)))
    assert (unwanted.classes.tolist(), unwanted.nan) == ([0], 0)
    box = check(one_anchor(0.9, box=(nan, 20, 10, 8)), head)
    assert (len(box), box.nan) == (0, 1)
    not_a_candidate = check(one_anchor(-9.0, box=(nan, 20, 10, 8)), head)
    assert not_a_candidate.nan == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
@pytest.mark.parametrize("hidden", [0, 7, 8, 19])
def test_one_nan_behind_larger_scores_is_seen(activation, dtype, hidden):
    """The scan keeps no mark for each anchor unless some value of the head can hide a NaN."""
    rng = np.random.default_rng(hidden)
    raw = np.concatenate([rng.uniform(5, 60, (4, 130)), rng.uniform(0, 1, (20, 130))]).astype(dtype)
    finder = Postprocessor(HeadSpec("yolo", activation=activation))
    (whole,) = finder([raw], NETWORK)
    raw[4 + hidden, 70] = np.copysign(np.nan, -1)
    (found,) = finder([raw], NETWORK)
    assert (whole.nan, found.nan) == (0, 1)
    assert 70 not in found.indices.tolist()


def test_nan_objectness_is_counted_once():
    raw = np.array([[30, 20, 10, 8, np.nan, 0.5, 0.5], [30, 20, 10, 8, 0.9, 0.9, 0.5]], np.float32)
    for multi_label in (False, True):
        found = check(raw, HeadSpec("yolov5"), reference.Options(multi_label=multi_label))
        assert found.nan == 1
        assert set(found.indices.tolist()) == {1}


def test_objectness_times_class():
    raw = np.array([[30, 20, 10, 8, 0.5, 0.9, 0.3]], np.float32)
    found = check(raw, HeadSpec("yolov5"))
    assert found.scores.tolist() == [float(np.float32(0.5) * np.float32(0.9))]
    assert found.boxes.tolist() == [[25, 16, 35, 24]]


def test_yolox_grid():
    raw = np.zeros((YOLOX_ANCHORS, 6), np.float32)
    raw[[13, 96 + 7, YOLOX_ANCHORS - 1], 4:] = 1  # second rows of the first two levels, last cell of the third
    found = check(raw, YOLOX)
    assert found.boxes.tolist() == [[4, 4, 12, 12], [8, 8, 24, 24], [48, 16, 80, 48]]


def test_limits_say_what_they_cut():
    raw = np.tile(one_anchor(0.0), 4)
    raw[0] = [10, 30, 50, 70]  # apart
    raw[4] = [0.6, 0.9, 0.8, 0.7]
    for limit in ("max_det", "max_nms"):
        found = check(raw, HeadSpec("yolo"), reference.Options(**{limit: 2}))
        assert found.indices.tolist() == [1, 2]
        assert found.cut == np.float32(0.7)
        assert found.truncated(0.6)
    assert check(raw, HeadSpec("yolo"), reference.Options(max_det=4, max_nms=4)).cut is None


def test_boxes_return_to_the_source_and_are_clipped():
    geometry = Geometry(scale=(0.5, 0.5), pad=(8, 2), resized=(50, 30), network=NETWORK, source=(100, 60))
    found = check(one_anchor(0.9, box=(30, 4, 20, 20)), HeadSpec("yolo"), geometry=geometry)
    assert found.boxes.tolist() == [[24, 0, 60, 24]]
    outside = check(one_anchor(0.9, box=(300, 400, 20, 20)), HeadSpec("yolo"), geometry=geometry)
    assert outside.boxes.tolist() == [[60, 100, 60, 100]]


def test_normalized_boxes():
    found = check(one_anchor(0.9, box=(0.5, 0.5, 0.25, 0.5)), HeadSpec("yolo", boxes="normalized"))
    assert found.boxes.tolist() == [[36, 16, 60, 48]]


@pytest.mark.parametrize("head", [HeadSpec("yolo"), HeadSpec("yolov5", activation="sigmoid"), YOLOX])
def test_batch_equals_singles_in_any_layout(head):
    rng = np.random.default_rng(1)
    batch = np.stack([heads.arranged(kind(rng, YOLOX_ANCHORS, 5), head) for kind in heads.KINDS])
    post, places = Postprocessor(head), [replace(GEOMETRY, pad=(i, 2 * i)) for i in range(len(batch))]
    together = post(batch, NETWORK, places)
    spread = np.asfortranarray(batch)
    shifted = np.frombuffer(b"\0" + batch.tobytes(), np.uint8)[1:].view(np.float32).reshape(batch.shape)
    assert not shifted.flags.aligned
    for other in ([batch], (spread,), batch[::-1][::-1], shifted):
        for got, expected in zip(post(other, NETWORK, tuple(places)), together, strict=True):
            assert_same(got, expected)
    for image, geometry, expected in zip(batch, places, together, strict=True):
        assert_same(post(image, NETWORK, [geometry])[0], expected)


WHOLE = [
    HeadSpec("yolo"),
    HeadSpec("yolo", activation="sigmoid"),
    HeadSpec("yolov5"),
    HeadSpec("yolov5", activation="sigmoid"),
    YOLOX,
]


@settings(max_examples=150, deadline=None)
@given(HEADS, OPTIONS, KINDS, SEEDS, st.integers(0, 150), st.sampled_from([3, 8, 9, 17]))
def test_float16_converts_exactly(head, options, kind, seed, anchors, classes):
    raw = heads.arranged(kind(np.random.default_rng(seed), anchors, classes), head)
    with np.errstate(over="ignore"):
        narrow = raw.astype(np.float16)
    (got,) = processor(head, options)(narrow, NETWORK)
    assert_same(got, reference.postprocess(narrow.astype(np.float32), head, NETWORK, options))


EVERY_HALF = np.arange(2**16, dtype=np.uint16).view(np.float16)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("conf", [0.0, 6e-8, 0.25, 1.0])
@pytest.mark.parametrize("head", WHOLE[:4])
def test_every_float16_as_a_score(head, conf, multi_label):
    """All 65536 bit patterns: denormals, infinities, NaNs; beside a class that is always lower."""
    rows = np.zeros((7, EVERY_HALF.size), np.float16)
    rows[:5] = np.float16([30, 20, 10, 8, 1])[:, None]
    rows[5], rows[6] = EVERY_HALF, -np.inf
    raw = heads.arranged(rows, head)
    post = Postprocessor(head, conf=conf, iou=None, max_det=2**17, max_nms=2**17, multi_label=multi_label)
    (got,) = post(raw, NETWORK)
    assert len(got) < EVERY_HALF.size
    assert_same(got, post(raw.astype(np.float32), NETWORK)[0])


@pytest.mark.parametrize("head", WHOLE[::2])
def test_every_float16_as_an_edge_and_objectness(head):
    """A box whose centre takes every value, and where there is one, an objectness that does."""
    rows = np.ones((7, 2 * EVERY_HALF.size), np.float16)
    rows[:, : EVERY_HALF.size][0] = EVERY_HALF
    rows[4, EVERY_HALF.size :] = EVERY_HALF
    post = Postprocessor(head, conf=0.001, iou=None, max_det=2**18, max_nms=2**18)
    network = NETWORK
    if head.type == "yolox":
        network, post = (256, 512), replace(post, head=replace(head, strides=(1,)))
    with np.errstate(invalid="ignore"):
        raw = heads.arranged(rows, head)
    assert_same(post(raw, network)[0], post(raw.astype(np.float32), network)[0])


def test_float16_of_many_classes():
    """More groups of classes than 16 bits count."""
    raw = np.zeros((4 + 300_000, 3), np.float16)
    raw[:4] = 1
    raw[[4 + 7, 4 + 262_200, 4 + 299_999], [0, 1, 2]] = 0.5
    (found,) = Postprocessor(HeadSpec("yolo"), iou=None)(raw, NETWORK)
    assert found.classes.tolist() == [7, 262_200, 299_999]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("head", WHOLE)
def test_views_are_read_where_they_lie(head, multi_label, dtype):
    """Whatever the steps between numbers, rows and images."""
    rng = np.random.default_rng(6)
    with np.errstate(over="ignore"):
        kinds = [heads.arranged(kind(rng, YOLOX_ANCHORS, 5), head) for kind in heads.KINDS]
        batch = np.stack(kinds).astype(dtype)
    post = Postprocessor(head, conf=0.1, multi_label=multi_label)
    together = post(batch, NETWORK)
    images, rows, columns = batch.shape
    wide = np.full((2 * images, 2 * rows + 1, 2 * columns + 3), np.nan, dtype)
    views = [
        wide[::2, :rows, :columns],  # masks or padding behind
        wide[::2, 3 : 3 + rows, 2 : 2 + columns],
        wide[::-2, : 2 * rows : 2, :columns],
        wide[::-2, 2 * rows : 0 : -2, :columns],
        wide[:images, :rows, : 2 * columns : 2],
        np.empty((images, columns, rows), dtype).transpose(0, 2, 1),
        np.empty((columns, images, rows), dtype).transpose(1, 2, 0),
    ]
    for view in views:
        view[...] = batch
        for got, expected in zip(post(view, NETWORK), together, strict=True):
            assert_same(got, expected)
    everywhere = np.broadcast_to(batch[:1], batch.shape)
    for got in post(everywhere, NETWORK):
        assert_same(got, together[0])


def test_input_is_left_alone_and_may_be_read_only():
    raw = heads.arranged(heads.rare(np.random.default_rng(3), 200, 5), HeadSpec("yolo"))
    before = raw.copy()
    raw.flags.writeable = False
    (found,) = Postprocessor(HeadSpec("yolo"))(raw, NETWORK)
    np.testing.assert_array_equal(raw, before)
    assert all(getattr(found, name).flags.writeable for name in ("boxes", "scores", "classes", "indices"))


def test_threads_share_one_instance():
    post = Postprocessor(HeadSpec("yolo"), conf=0.05)
    raws = [heads.arranged(heads.rare(np.random.default_rng(i), 3000, 20), HeadSpec("yolo")) for i in range(8)]
    expected = [post(raw, NETWORK)[0] for raw in raws]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, want in zip(pool.map(lambda raw: post(raw, NETWORK)[0], raws), expected, strict=True):
                assert_same(got, want)


@pytest.mark.parametrize("shape", [(0, 7, 10), (2, 7, 0)])
def test_nothing_in_nothing_out(shape):
    found = Postprocessor(HeadSpec("yolo"))(np.zeros(shape, np.float32), NETWORK)
    assert [len(image) for image in found] == [0] * shape[0]
    assert all(image.boxes.shape == (0, 4) and image.cut is None for image in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conf": -0.1}, "conf must be between 0 and 1"),
        ({"conf": float("nan")}, "conf must be between 0 and 1"),
        ({"conf": None}, "conf must be between 0 and 1, got None"),
        ({"iou": 1.5}, "iou must be between 0 and 1"),
        ({"max_det": 0}, "max_det must be 1 or more"),
        ({"max_nms": 0}, "max_nms must be 1 or more"),
        ({"classes": (1, -2)}, "got -2"),
        ({"head": HeadSpec("ssd")}, "head type must be one of yolo, yolov5, yolox, nanodet, .* got 'ssd'"),
        ({"head": HeadSpec("classes")}, "boxmill.post.Tagger"),
        ({"head": HeadSpec("yolo", boxes="inches")}, "pixels or normalized, got 'inches'"),
        ({"head": HeadSpec("yolo", activation="softmax")}, "none or sigmoid, got 'softmax'"),
        ({"head": HeadSpec("yolox", boxes="normalized")}, "always to pixels"),
        ({"head": HeadSpec("yolox", strides=())}, "needs strides"),
        ({"head": HeadSpec("yolox", strides=(8, 0))}, "needs strides"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Postprocessor(**{"head": HeadSpec("yolo"), **options})


GOOD = np.zeros((1, 7, 10), np.float32)


@pytest.mark.parametrize(
    ("head", "raw", "network", "places", "message"),
    [
        (HeadSpec("yolo"), [GOOD, GOOD], NETWORK, None, "got 2 arrays"),
        (HeadSpec("yolo"), "raw", NETWORK, None, "got str"),
        (HeadSpec("yolo"), GOOD.astype(np.float64), NETWORK, None, "got float64"),
        (HeadSpec("yolo"), GOOD.astype(">f4"), NETWORK, None, "got >f4"),
        (HeadSpec("yolo"), GOOD[0, 0], NETWORK, None, r"got \(10,\)"),
        (HeadSpec("yolo"), GOOD[:, :4], NETWORK, None, "at least 1 class row"),
        (HeadSpec("yolov5"), GOOD[:, :, :5], NETWORK, None, "at least 6 columns"),
        (YOLOX, GOOD, NETWORK, None, "give 126 anchors at network size 64x96, but the head has 7"),
        (HeadSpec("yolo"), GOOD, (0, 64), None, "network must be"),
        (HeadSpec("yolo"), GOOD, NETWORK, [], "one geometry for each of 1 images, got 0"),
        (HeadSpec("yolo"), GOOD, (64, 64), [GEOMETRY], "network size"),
    ],
)
def test_wrong_inputs_are_refused(head, raw, network, places, message):
    with pytest.raises(UsageError, match=message):
        Postprocessor(head)(raw, network, places)


def test_unknown_class_id_is_refused_at_the_call():
    with pytest.raises(UsageError, match="class id 3 does not exist: the head has 3 classes, 0 to 2"):
        Postprocessor(HeadSpec("yolo"), classes=(0, 3))(GOOD, NETWORK)


def test_post_needs_numpy_alone():
    heavy = "{'torch', 'cv2', 'openvino', 'onnxruntime'}"
    code = f"import sys, boxmill.post; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
