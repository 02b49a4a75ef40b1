"""A tagger's raw output to tags: the slow definition judges the fast one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from boxmill.errors import UsageError
from boxmill.post import Tagger
from boxmill.post.reference import tags as reference_tags
from boxmill.types import Geometry, HeadSpec, Tags

ACTIVATIONS = ("none", "sigmoid", "softmax")


def tagger(activation: str = "none", **options: object) -> Tagger:
    return Tagger(HeadSpec("classes", activation=activation), **options)


def assert_same(actual: Tags, expected: Tags) -> None:
    np.testing.assert_array_equal(actual.classes, expected.classes, strict=True)
    np.testing.assert_array_equal(actual.scores, expected.scores, strict=True)
    assert actual.nan == expected.nan


def rows(dtype: type) -> st.SearchStrategy[np.ndarray]:
    """Of any numbers, or of few, so that many are tied."""
    few = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, math.nan, math.inf, -math.inf])
    lengths = st.integers(1, 40)
    return st.one_of(arrays.arrays(dtype, lengths, elements=few), arrays.arrays(dtype, lengths))


@given(
    st.one_of(rows(np.float32), rows(np.float16)),
    st.sampled_from(ACTIVATIONS),
    st.one_of(st.none(), st.floats(0, 1)),
    st.one_of(st.none(), st.integers(1, 45)),
    st.one_of(st.none(), st.lists(st.integers(0, 39), max_size=8)),
)
@settings(max_examples=500, deadline=None)
def test_same_as_the_reference(logits, activation, conf, top_k, classes):
    wanted = None if classes is None else tuple(label for label in classes if label < len(logits))
    (found,) = tagger(activation, conf=conf, top_k=top_k, classes=wanted)(logits)
    assert_same(found, reference_tags(logits, activation, conf, top_k, wanted))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("top_k", [1, 5, 100, 54_091, 54_092, None])
def test_many_classes_with_ties(activation, top_k):
    logits = np.random.default_rng(0).integers(-20, 20, 54_092).astype(np.float32)
    (found,) = tagger(activation, top_k=top_k)(logits)
    assert_same(found, reference_tags(logits, activation, None, top_k))
    assert len(found) == (top_k or 54_092)


def test_softmax_is_that_of_the_logits():
    logits = np.array([1, 2, 3], np.float32)
    (found,) = tagger("softmax")(logits)
    assert found.classes.tolist() == [2, 1, 0]
    powers = np.exp([3.0, 2.0, 1.0])
    np.testing.assert_array_equal(found.scores, (powers / powers.sum()).astype(np.float32))


def test_softmax_of_large_logits_does_not_overflow():
    (found,) = tagger("softmax")(np.array([3e38, 3e38, -3e38], np.float32))
    assert found.scores.tolist() == [0.5, 0.5, 0]
    assert found.classes.tolist() == [0, 1, 2]


def test_sigmoid_of_large_logits_does_not_overflow():
    with np.errstate(all="raise"):
        (found,) = tagger("sigmoid")(np.array([-3e38, 0, 3e38, -math.inf, math.inf], np.float32))
    assert found.scores.tolist() == [1, 1, 0.5, 0, 0]
    assert found.classes.tolist() == [2, 4, 1, 0, 3]


def test_without_activation_scores_are_the_networks_own():
    logits = np.array([-7.5, 12.25, 0], np.float32)
    (found,) = tagger(conf=-8, top_k=2)(logits)
    assert found.scores.tolist() == [12.25, 0]


def test_a_score_equal_to_conf_is_no_tag():
    (found,) = tagger(conf=0.3)(np.array([0.3, np.nextafter(np.float32(0.3), np.float32(1)), 0.1], np.float32))
    assert found.classes.tolist() == [1]


def test_without_a_limit_every_class_above_conf_is_a_tag():
    logits = np.linspace(-4, 4, 101, dtype=np.float32)
    (found,) = tagger("sigmoid", conf=0.5, top_k=None)(logits)
    assert found.classes.tolist() == list(range(100, 50, -1))


def test_classes_are_chosen_after_softmax_and_before_the_limit():
    logits = np.array([5, 4, 3, 2], np.float32)
    (everything,) = tagger("softmax", top_k=None)(logits)
    (found,) = tagger("softmax", top_k=1, classes=(3, 1, 3))(logits)
    assert found.classes.tolist() == [1]
    assert found.scores[0] == everything.scores[1]
    (none,) = tagger("softmax", classes=())(logits)
    assert len(none) == 0


def test_nan_is_dropped_and_counted():
    logits = np.array([1, math.nan, 3, math.nan], np.float32)
    for activation in ("none", "sigmoid"):
        (found,) = tagger(activation)(logits)
        assert found.classes.tolist() == [2, 0]
        assert found.nan == 2
    (found,) = tagger(classes=(0, 1))(logits)
    assert (found.classes.tolist(), found.nan) == ([0], 1)


@pytest.mark.parametrize("logits", [(1, math.nan, 3), (1, math.inf, 3), (-math.inf,) * 3])
def test_softmax_without_scores_has_no_tags(logits):
    (found,) = tagger("softmax")(np.array(logits, np.float32))
    assert len(found) == 0
    assert found.nan == 3


def test_shapes_that_are_accepted():
    logits = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32)
    expected = tagger()(logits)
    assert [len(image) for image in expected] == [5, 5, 5]
    shapes = {
        "list": [logits],
        "tuple": (logits,),
        "maps": logits[:, :, None, None],
        "Fortran": np.asfortranarray(logits),
        "half": logits.astype(np.float16),
    }
    for name, raw in shapes.items():
        for one, other in zip(tagger()(raw), expected, strict=True):
            np.testing.assert_array_equal(one.classes, other.classes, err_msg=name)
            np.testing.assert_allclose(one.scores, other.scores, rtol=2e-3 if name == "half" else 0)
    for one, other in zip((tagger()(row)[0] for row in logits), expected, strict=True):
        assert_same(one, other)
    assert tagger()(np.empty((0, 7), np.float32)) == []


def test_called_as_a_postprocessor_is():
    geometry = Geometry((1.0, 1.0), (0, 0), (8, 8), (8, 8), (8, 8))
    logits = np.zeros((2, 3), np.float32)
    assert len(tagger()([logits], (8, 8), [geometry] * 2)) == 2
    with pytest.raises(UsageError, match="one geometry for each of 2 images, got 1"):
        tagger()([logits], (8, 8), [geometry])


def test_a_result_keeps_nothing_of_the_networks_memory():
    logits = np.arange(4, dtype=np.float32)
    (found,) = tagger(top_k=None)(logits)
    logits[:] = -1
    assert found.scores.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([np.zeros((1, 3), np.float32)] * 2, "got 2 arrays; name the right one"),
        ([[1.0, 2.0]], "must be a numpy array, got list"),
        (np.zeros((1, 3)), "got float64"),
        (np.zeros((1, 3), np.int32), "got int32"),
        (np.zeros((1, 3, 7, 7), np.float32), r"shape \(images, classes\) or \(classes,\), got \(1, 3, 7, 7\)"),
        (np.zeros((1, 2, 3), np.float32), r"got \(1, 2, 3\)"),
        (np.zeros((2, 0), np.float32), r"got \(2, 0\)"),
        (np.float32(1) * np.ones((), np.float32), "must be a numpy array|shape"),
    ],
)
def test_shapes_that_are_refused(raw, message):
    with pytest.raises(UsageError, match=message):
        tagger()(raw)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conf": math.nan}, "finite"),
        ({"conf": math.inf}, "finite"),
        ({"conf": 1.5, "activation": "softmax"}, "between 0 and 1 with activation softmax"),
        ({"conf": -0.1, "activation": "sigmoid"}, "between 0 and 1"),
        ({"top_k": 0}, "top_k must be 1 or more"),
        ({"classes": (3, -1)}, "got -1"),
        ({"activation": "tanh"}, "one of none, sigmoid, softmax, got 'tanh'"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        tagger(**options)


def test_a_detectors_head_is_refused():
    with pytest.raises(UsageError, match="head type must be classes, got 'yolo'"):
        Tagger(HeadSpec("yolo"))


def test_a_class_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="class id 3 does not exist: the head has 3 classes, 0 to 2"):
        tagger(classes=(0, 3))(np.zeros(3, np.float32))
