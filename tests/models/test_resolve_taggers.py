"""Taggers, from ONNX files on disk; what is theirs alone, and what detectors may share of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from onnx_network import MEAN, OPEN, SAID, STATIC, STD, Network, head
from onnx_writer import ULTRALYTICS, YOLOV5

from boxmill.errors import ModelError
from boxmill.models.card import Card, CardHead, CardInput, load_card
from boxmill.types import HeadSpec, InputSpec


def test_a_tagger_of_54092_classes(network: Network) -> None:
    names = tuple(f"标签{index}" for index in range(54092))
    network.write({"pixels": ["N", 3, 224, 224]}, {"logits": ["N", 54092]})
    fields, result = network.asks(labels=names)
    asked = ["color", "scale", "mean", "std", "resize", "crop_from", "interpolation", "antialias"]
    assert set(fields) == {f"input.{field}" for field in asked} | {"head.activation"}
    spec = result.spec
    assert spec.task == "tag"
    assert spec.head == HeadSpec("classes", activation="softmax", outputs=("logits",))
    assert spec.input == InputSpec((224, 224), mean=MEAN, std=STD, resize="center_crop", crop_from=256, antialias=True)
    assert spec.names == names
    assert not result.rect
    with pytest.raises(ModelError, match="expected 54092 names"):
        network.resolve(labels=names[1:])
    with pytest.raises(ModelError, match=r"--rect: .* all images of a tagger have one size"):
        network.resolve(load_card(network.path.with_name("model.onnx.yaml")), rect=True)


def test_a_classifier_of_ultralytics(network: Network) -> None:
    metadata = {**ULTRALYTICS, "task": "classify", "imgsz": "[224, 224]", "head": "Classify"}
    network.write(OPEN, {"output0": ["batch", 80]}, metadata)
    result = network.resolve()
    assert result.spec.task == "tag"
    assert result.spec.input == InputSpec((224, 224), resize="center_crop", crop_from=224, antialias=True)
    assert head(result) == HeadSpec("classes", outputs=("output0",))
    assert result.warnings == ()
    assert not result.rect


def test_a_classifier_of_ultralytics_that_is_no_square_stretches(network: Network) -> None:
    metadata = {**ULTRALYTICS, "task": "classify", "imgsz": "[224, 320]"}
    network.write({"images": [1, 3, 224, 320]}, {"output0": [1, 80]}, metadata)
    assert network.resolve().spec.input == InputSpec((224, 320), resize="stretch", antialias=True)


def test_a_classifier_of_yolov5_is_asked_about(network: Network) -> None:
    network.write({"images": [1, 3, 224, 224]}, {"output0": [1, 3]}, YOLOV5)
    fields, result = network.asks()
    assert {"input.mean", "input.resize", "head.activation"} <= set(fields)
    assert result.spec.names == ("person", "vehicle", "animal")


@pytest.mark.parametrize("dims", [[1, 10], ["N", 10], [1, 10, 1, 1]])
def test_forms_of_a_tagger(network: Network, dims: list[Any]) -> None:
    network.write({"x": [dims[0], 3, 299, 299]}, {"y": dims})
    card = Card(task="tag", input=replace(SAID, resize="stretch"), head=CardHead(activation="sigmoid"))
    result = network.resolve(card)
    assert head(result) == HeadSpec("classes", activation="sigmoid", outputs=("y",))
    assert result.spec.input == InputSpec((299, 299), resize="stretch", antialias=True)
    assert len(result.spec.names) == 10


def test_taggers_that_show_no_size(network: Network) -> None:
    network.write({"x": ["N", 3, None, None]}, {"y": ["M", 10]})
    fields, result = network.asks()
    assert {"head.type", "input.size"} <= set(fields)
    assert result.spec.input.size == (224, 224)
    card = load_card(network.path.with_name("model.onnx.yaml"))
    assert network.resolve(card, imgsz=(192, 192)).spec.input.size == (192, 192)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (Card(task="detect"), "the card says task: detect, its head is classes"),
        (Card(task="tag", head=CardHead("yolo")), "the card says task: tag, its head is yolo"),
        (Card(input=replace(SAID, resize="center_crop", crop_from=200)), "crop_from: expected 224 or more"),
        (Card(input=replace(SAID, crop_from=256)), "crop_from belongs to resize: center_crop, the card has letterbox"),
    ],
)
def test_tagger_contradictions(network: Network, card: Card, words: str) -> None:
    dims = [1, 14, 1029] if card.head.type == "yolo" else [1, 10]
    network.write({"x": [1, 3, 224, 224]}, {"y": dims})
    with pytest.raises(ModelError, match=words):
        network.resolve(card)


def test_detectors_cannot_be_cropped(network: Network) -> None:
    network.write(STATIC, {"out": [1, 84, 8400]})
    with pytest.raises(ModelError, match="center_crop belongs to taggers, the head is yolo"):
        network.resolve(Card(input=replace(SAID, resize="center_crop")))


def test_detectors_may_be_filtered_as_pillow_does(network: Network) -> None:
    network.write(STATIC, {"out": [1, 84, 8400]}, ULTRALYTICS)
    result = network.resolve(Card(input=CardInput(resize="stretch", interpolation="bicubic", antialias=True)))
    assert result.spec.input == InputSpec(resize="stretch", interpolation="bicubic", antialias=True)
