"""The signatures that programs rely on, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from boxmill.post import compat
from boxmill.post.compat import opencv, torchvision, ultralytics, yolov5, yolov9

REQUIRED = inspect.Parameter.empty
YOLO = {
    "prediction": REQUIRED,
    "conf_thres": 0.25,
    "iou_thres": 0.45,
    "classes": None,
    "agnostic": False,
    "multi_label": False,
}
# Names, order and defaults as in torchvision 0.29, OpenCV 5.0, ultralytics 8.4.190 and the two repositories.
ORIGINALS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (torchvision.nms, dict.fromkeys(["boxes", "scores", "iou_threshold"], REQUIRED)),
    (torchvision.batched_nms, dict.fromkeys(["boxes", "scores", "idxs", "iou_threshold"], REQUIRED)),
    (yolov5.non_max_suppression, YOLO | {"labels": (), "max_det": 300, "nm": 0}),
    (yolov9.non_max_suppression, YOLO | {"labels": (), "max_det": 300, "nm": 0}),
    (
        ultralytics.non_max_suppression,
        YOLO
        | {"max_det": 300, "nc": 0, "max_time_img": 0.05, "max_nms": 30000, "max_wh": 7680}
        | {"rotated": False, "end2end": False, "return_idxs": False},
    ),
    (
        opencv.NMSBoxes,
        dict.fromkeys(["bboxes", "scores", "score_threshold", "nms_threshold"], REQUIRED) | {"eta": 1.0, "top_k": 0},
    ),
    (
        opencv.NMSBoxesBatched,
        dict.fromkeys(["bboxes", "scores", "class_ids", "score_threshold", "nms_threshold"], REQUIRED)
        | {"eta": 1.0, "top_k": 0},
    ),
]


@pytest.mark.parametrize(("function", "expected"), ORIGINALS, ids=lambda value: getattr(value, "__module__", ""))
def test_positional_arguments_are_the_originals(function: Callable[..., Any], expected: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    positional = {each.name: each.default for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD}
    assert list(positional.items()) == list(expected.items())


@pytest.mark.parametrize(("function", "_expected"), ORIGINALS, ids=lambda value: getattr(value, "__module__", ""))
def test_exact_is_the_default(function: Callable[..., Any], _expected: dict[str, Any]) -> None:
    choice = inspect.signature(function).parameters["like_original"]
    assert choice.kind is choice.KEYWORD_ONLY
    assert choice.default is False


def test_exported_names() -> None:
    assert compat.__all__ == sorted(compat.__all__)
    for name in compat.__all__:
        module = getattr(compat, name)
        assert all(callable(getattr(module, each)) for each in module.__all__)


def test_loads_numpy_and_the_native_module_only() -> None:
    code = """
import sys, numpy
before = set(sys.modules)
import boxmill.post.compat as compat
boxes, scores = numpy.zeros((1, 4), "f"), numpy.ones(1, "f")
compat.torchvision.nms(boxes, scores, 0.5, like_original=True)
compat.yolov9.non_max_suppression(numpy.ones((1, 6, 3), "f"))
compat.opencv.NMSBoxes(boxes, scores, 0.1, 0.5)
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"boxmill", "numpy"}
