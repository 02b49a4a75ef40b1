"""The postprocessor that a model gets."""

from __future__ import annotations

import numpy as np
import pytest

from boxmill.api import make_postprocessor
from boxmill.errors import ImageError
from boxmill.settings import settings
from boxmill.types import HeadSpec, InputSpec, ModelSpec


def rows(*classes: int) -> list[np.ndarray]:
    """(1, K, 6), far enough apart that no NMS would matter."""
    return [np.array([[[50 * i, 0, 50 * i + 9, 9, 0.9 - i / 10, c] for i, c in enumerate(classes)]], np.float32)]


def test_a_class_without_a_name_fails_its_image_with_a_code() -> None:
    spec = ModelSpec(InputSpec((320, 320)), HeadSpec("end2end"), ("a", "b", "c"))
    postprocessor = make_postprocessor(settings("photos", {"weights": "m.onnx"}), spec)
    (found,) = postprocessor(rows(2, 0), (320, 320))
    assert found.classes.tolist() == [2, 0]
    with pytest.raises(ImageError, match="gives class 3, but the 3 names are for 0 to 2") as caught:
        postprocessor(rows(0, 3), (320, 320))
    assert caught.value.code == "class_out_of_range"
    assert len(postprocessor([np.empty((1, 0, 6), np.float32)], (320, 320))[0]) == 0


def test_overlapping_boxes_of_a_head_that_selects_itself_stay_unless_iou_is_given() -> None:
    spec = ModelSpec(InputSpec((320, 320)), HeadSpec("end2end"), ("a",))
    same = [np.array([[[0, 0, 9, 9, 0.9, 0], [0, 0, 9, 9, 0.8, 0]]], np.float32)]
    for flags, count in (({}, 2), ({"iou": 0.5}, 1)):
        postprocessor = make_postprocessor(settings("photos", {"weights": "m.onnx", **flags}), spec)
        assert len(postprocessor(same, (320, 320))[0]) == count
