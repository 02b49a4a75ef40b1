"""What was not given becomes what the model's head wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxmill.demo.detector import shipped_detector
from boxmill.errors import UsageError
from boxmill.settings import DetectorPost, PostSettings, TaggerPost, effective_post, settings
from boxmill.types import HeadSpec, InputSpec, ModelSpec


def model(head: str, activation: str = "none") -> ModelSpec:
    return ModelSpec(
        InputSpec(), HeadSpec(head, activation=activation), ("a",), "tag" if head == "classes" else "detect"
    )


@pytest.mark.parametrize(
    ("head", "iou"),
    [*((head, 0.45) for head in ("yolo", "yolov5", "yolox", "nanodet")),
     *((head, None) for head in ("end2end", "triple", "detr"))],
)  # fmt: skip
def test_detectors(head: str, iou: float | None) -> None:
    assert effective_post(PostSettings(), model(head)) == DetectorPost(
        0.25, 0.25, iou, 300, 30_000, (), False, False, "hard"
    )
    given = PostSettings(0.5, 0.0, 0.0, 1, 2, ("x",), True, True)
    assert effective_post(given, model(head)) == DetectorPost(0.5, 0.0, 0.0, 1, 2, ("x",), True, True, "hard")


def test_soft_nms_takes_the_usual_threshold_and_the_gaussian_none() -> None:
    for given, nms, iou in (
        (PostSettings(nms="soft"), "soft", 0.45),
        (PostSettings(nms="soft", iou=0.3), "soft", 0.3),
        (PostSettings(nms="soft-gaussian"), "soft-gaussian", None),
    ):
        found = effective_post(given, model("yolo"))
        assert isinstance(found, DetectorPost)
        assert (found.nms, found.iou) == (nms, iou)


@pytest.mark.parametrize(
    ("activation", "given", "expected"),
    [
        ("softmax", PostSettings(), (None, 5)),
        ("none", PostSettings(), (None, 5)),
        ("sigmoid", PostSettings(), (0.25, None)),
        ("softmax", PostSettings(conf=0.5), (0.5, 5)),
        ("softmax", PostSettings(top_k="all"), (None, None)),
        ("sigmoid", PostSettings(conf=0.0, top_k=3), (0.0, 3)),
        ("none", PostSettings(conf=-7.5), (-7.5, 5)),  # logits have no range
    ],
)
def test_taggers(activation: str, given: PostSettings, expected: tuple[float | None, int | None]) -> None:
    assert effective_post(given, model("classes", activation)) == TaggerPost(*expected, ())


@pytest.mark.parametrize(
    ("head", "given", "words"),
    [
        ("classes", PostSettings(iou=0.5, max_det=300), "--iou, --max-det: only for detectors, this model is a tagger"),
        ("classes", PostSettings(agnostic_nms=True), "--agnostic-nms"),
        ("classes", PostSettings(nms="soft"), "--nms: only for detectors, this model is a tagger"),
        *(
            (head, PostSettings(nms="soft"), f"--nms soft: the network of a {head} head has already selected")
            for head in ("end2end", "triple", "detr")
        ),
        ("yolo", PostSettings(nms="soft-gaussian", iou=0.5), "--iou 0.5: --nms soft-gaussian .* leave --iou out"),
        ("yolo", PostSettings(top_k=5), "--top-k: only for taggers, this model is a detector"),
        ("yolo", PostSettings(conf=-0.1), "--conf: expected a number from 0 to 1, got -0.1"),
    ],
)
def test_what_the_model_does_not_have_is_refused(head: str, given: PostSettings, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        effective_post(given, model(head))


def test_a_probability_has_its_range_also_for_a_tagger() -> None:
    with pytest.raises(UsageError, match=r"--conf: expected a number from 0 to 1, got 1\.5"):
        effective_post(PostSettings(conf=1.5), model("classes", "softmax"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"conf": float("nan")}, "--conf"),
        ({"iou": 1.5}, "--iou: expected a number from 0 to 1"),
        ({"top_k": 0}, "--top-k: expected 1 or more, or all, got 0"),
        ({"runtime": "tflite"}, "--runtime: expected openvino, onnxruntime, tensorrt, torch, fake, got 'tflite'"),
        ({"runtime": "tensorrt", "device": "cpu"}, "--device cpu: TensorRT computes on a GPU; leave --device out"),
        ({"runtime": "tensorrt", "compile": True}, "--compile: only for --runtime torch"),
        ({"precision": "fp8"}, "--precision"),
        ({"nms": "gaussian"}, "--nms: expected hard, soft, soft-gaussian, got 'gaussian'"),
        ({"lang": "fr"}, "--lang"),
    ],
)
def test_ranges_that_hold_for_every_model(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings("photos", {"weights": "m.onnx", **flags})


def test_an_image_may_take_longer_where_a_compiler_comes_first() -> None:
    weights = {"weights": "a.pt"}
    assert settings("photos", weights).engine.effective_image_timeout == 60
    compiled = {**weights, "runtime": "torch", "compile": True}
    assert settings("photos", compiled).engine.effective_image_timeout == 1800
    assert settings("photos", {**compiled, "image_timeout": 5.0}).engine.effective_image_timeout == 5
    assert settings("photos", compiled).engine.start_timeout == 600
    built = settings("photos", {"weights": "a.onnx", "runtime": "tensorrt"}).engine
    assert (built.effective_image_timeout, built.start_timeout) == (1800, 3600)


def test_weights_that_were_not_given_are_the_demo_s() -> None:
    for flags in ({}, {"weights": None, "card": None, "labels": None, "lang": "zh"}):
        assert settings("photos", flags).model.weights == shipped_detector()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"runtime": "fake"}, "--runtime fake takes a model card .* --weights CARD.yaml"),
        ({"card": Path("a.yaml")}, "--card a.yaml describes weights that were not given"),
        ({"labels": Path("a.json")}, "--labels a.json describes weights that were not given"),
    ],
)
def test_what_belongs_to_other_weights_does_not_go_with_the_demo_s(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings("photos", flags)
