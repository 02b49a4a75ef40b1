"""Heads other than the YOLO grids, from ONNX files on disk: what shapes and metadata tell, and what has to be asked."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_network import INT64, MEAN, OPEN, SAID, STATIC, STD, Network, head
from onnx_writer import ULTRALYTICS, YOLOV5, Tensors

from boxmill.errors import ModelError
from boxmill.labels import COCO80_EN, COCO91_EN, label_names
from boxmill.models.card import Card, CardHead, CardInput, load_card
from boxmill.models.onnx_metadata import read_onnx
from boxmill.models.resolve import resolve
from boxmill.types import HeadSpec, HeadType, InputSpec

ASSETS = os.environ.get("BOXMILL_ASSETS")
CARDS = Path(__file__).parent.parent / "cards"

# --- end2end


def test_end2end_of_ultralytics(network: Network) -> None:
    for metadata in ({"end2end": "True"}, {"args": "{'nms': True}"}, {"head": "v10Detect"}):
        network.write(STATIC, {"output0": [1, 300, 6]}, {**ULTRALYTICS, **metadata})
        result = network.resolve()
        assert result.spec.input == InputSpec()
        assert head(result) == HeadSpec("end2end", outputs=("output0",))
        assert len(result.spec.names) == 80
        assert not result.rect


def test_end2end_takes_other_shapes_only_by_its_card(network: Network) -> None:
    network.write(OPEN, {"output0": ["batch", 300, "anchors"]}, {**ULTRALYTICS, "end2end": "True"})
    assert not network.resolve().rect
    assert not network.resolve().spec.input.dynamic
    with pytest.raises(ModelError, match=r"--rect: .* the outputs of end2end heads do not show"):
        network.resolve(rect=True)
    result = network.resolve(Card(input=CardInput(dynamic=True)))
    assert result.rect
    assert result.spec.input.dynamic
    network.write(STATIC, {"output0": [1, 300, 6]}, {**ULTRALYTICS, "end2end": "True"})
    assert not network.resolve(Card(input=CardInput(dynamic=True))).rect
    network.write(STATIC, {"output0": [1, None, 6]}, {**ULTRALYTICS, "end2end": "True"})
    with pytest.raises(ModelError, match="--imgsz is 320x320, the network's input is fixed at 640x640"):
        network.resolve(Card(input=CardInput(dynamic=True)), imgsz=(320, 320))


def test_end2end_without_metadata(network: Network) -> None:
    network.write(STATIC, {"out": [1, 100, 6]})
    fields, result = network.asks()
    assert fields == ["head.type", "labels", "input.color", "input.scale", "input.resize", "head.boxes"]
    assert head(result).type == "end2end"
    card = Card(input=SAID, head=CardHead("end2end", "pixels"))
    assert network.resolve(card, labels=("a", "b", "c")).spec.names == ("a", "b", "c")
    fields, _ = network.asks(card)
    assert fields == ["labels"]
    with pytest.raises(ModelError, match=r"head\.activation of a end2end head: expected none, the card says sigmoid"):
        network.resolve(replace(card, head=CardHead("end2end", "pixels", "sigmoid")))


def test_six_columns_and_two_names_may_be_either(network: Network) -> None:
    network.write(STATIC, {"out": [1, 300, 6]}, {**ULTRALYTICS, "names": "{0: 'a', 1: 'b'}"})
    fields, _ = network.asks()
    assert fields[0] == "head.type"
    assert head(network.resolve(Card(head=CardHead("detr")))).type == "detr"


# --- triple


@pytest.mark.parametrize("batch", [[], [1]])
def test_torchvision(network: Network, batch: list[int]) -> None:
    outputs: Tensors = {"boxes": [*batch, "K", 4], "labels": [*batch, "K"], "scores": [*batch, "K"]}
    network.write(STATIC, outputs, labels=INT64)
    fields, result = network.asks(labels=COCO91_EN)
    assert fields == ["input.color", "input.scale", "input.mean", "input.std", "input.resize", "head.boxes"]
    assert head(result) == HeadSpec("triple", outputs=("boxes", "scores", "labels"))
    assert len(result.spec.names) == 91
    assert not result.rect


def test_triple_by_any_names(network: Network) -> None:
    card = Card(input=SAID, head=CardHead(boxes="pixels"), labels=COCO80_EN)
    network.write(STATIC, {"a": ["n"], "b": ["n"], "c": ["n", 4]}, a=INT64)
    assert head(network.resolve(card)).outputs == ("c", "b", "a")
    network.write(STATIC, {"a": ["n"], "b": ["n"], "c": ["n", 4]})
    fields, _ = network.asks(card)
    assert fields == ["head.outputs"]
    network.write(STATIC, {"my_labels": ["n"], "other": ["n"], "c": ["n", 4]})
    fields, result = network.asks(card)
    assert (fields, head(result).outputs) == (["head.outputs"], ("c", "other", "my_labels"))
    chosen = replace(card, head=CardHead("triple", "pixels", outputs=("c", "other", "my_labels")))
    assert head(network.resolve(chosen)).outputs == ("c", "other", "my_labels")


def test_triple_among_more_outputs(network: Network) -> None:
    card = Card(input=SAID, head=CardHead(boxes="pixels"), labels=COCO80_EN)
    outputs: Tensors = {"num": [1, 1], "boxes": [1, 100, 4], "scores": [1, 100], "classes": [1, 100]}
    network.write(STATIC, outputs, num=6, classes=6)
    assert head(network.resolve(card)).outputs == ("boxes", "scores", "classes")
    masks: Tensors = {"boxes": ["K", 4], "labels": ["K"], "scores": ["K"], "masks": ["K", 1, 28, 28]}
    network.write(STATIC, masks, labels=INT64)
    assert head(network.resolve(card)).outputs == ("boxes", "scores", "labels")


def test_triple_contradictions(network: Network) -> None:
    network.write(STATIC, {"boxes": ["K", 4], "labels": ["K"], "scores": ["K"]}, labels=INT64)
    card = Card(head=CardHead("triple", outputs=("boxes", "labels", "scores")))
    with pytest.raises(ModelError, match=r"head\.outputs of a triple head: expected boxes"):
        network.resolve(card)
    with pytest.raises(ModelError, match="expected the outputs of a nanodet head"):
        network.resolve(Card(head=CardHead("nanodet")))
    with pytest.raises(ModelError, match="a yolo head is one output, the network has 3"):
        network.resolve(Card(head=CardHead("yolo")))
    with pytest.raises(ModelError, match="a triple head has three outputs"):
        network.resolve(Card(head=CardHead("triple", outputs=("boxes",))))


# --- detr


def test_rtdetr_of_ultralytics(network: Network) -> None:
    expected = HeadSpec("detr", "normalized", outputs=("output0",))
    for metadata in ({"head": "RTDETRDecoder"}, {}):
        network.write(OPEN, {"output0": ["batch", 300, 84]}, {**ULTRALYTICS, **metadata})
        result = network.resolve()
        assert result.spec.input == InputSpec(resize="stretch")
        assert head(result) == expected
        assert len(result.spec.names) == 80
        assert not result.rect


def test_rtdetr_of_newer_ultralytics_is_not_taken_for_another_head(network: Network) -> None:
    # Ultralytics 8.4.190: (batch, queries, 6), centre x, centre y, width, height, score, class, normalized.
    metadata = {**ULTRALYTICS, "head": "RTDETRDecoder"}
    network.write(STATIC, {"output0": [1, 300, 6]}, metadata)
    with pytest.raises(ModelError, match="which boxmill does not decode; use a version that gives the former"):
        network.resolve()
    dynamic: Tensors = {"output0": ["batch", "Concatoutput0_dim_1", "anchors"]}
    two = {**metadata, "names": "{0: 'a', 1: 'b'}"}
    for outputs, entries in ((dynamic, metadata), ({"output0": [1, 300, 6]}, two)):
        network.write(OPEN, outputs, entries)
        with pytest.raises(ModelError, match="which one it is does not show: export it without dynamic=True"):
            network.resolve()
        assert head(network.resolve(Card(head=CardHead("detr")))).type == "detr"


def test_detr_with_two_outputs(network: Network) -> None:
    network.write({"pixel_values": [1, 3, 800, 800]}, {"pred_boxes": [1, 100, 4], "logits": [1, 100, 92]})
    fields, result = network.asks(labels=COCO91_EN)
    assert "head.activation" not in fields
    assert {"head.type", "input.mean", "input.std", "input.resize", "head.boxes"} <= set(fields)
    assert head(result) == HeadSpec("detr", "normalized", "softmax", ("logits", "pred_boxes"))
    assert result.spec.input == InputSpec((800, 800), mean=MEAN, std=STD, resize="stretch")
    assert result.spec.names == COCO91_EN


def test_detr_with_a_score_for_each_name(network: Network) -> None:
    network.write(STATIC, {"logits": [1, 300, 80], "boxes": [1, 300, 4]})
    fields, result = network.asks(labels=COCO80_EN)
    assert "head.activation" in fields
    assert head(result).activation == "sigmoid"
    card = Card(input=SAID, head=CardHead("detr", "normalized", "softmax"))
    assert len(network.resolve(card).spec.names) == 79
    with pytest.raises(ModelError, match="expected 79 names"):
        network.resolve(card, labels=COCO80_EN)
    assert len(network.resolve(replace(card, head=CardHead("detr", "normalized", "none"))).spec.names) == 80


def test_detr_whose_outputs_look_the_same(network: Network) -> None:
    network.write(STATIC, {"boxes": [1, 300, 4], "logits": [1, 300, 4]})
    fields, result = network.asks(labels=("a", "b", "c", "d"))
    assert {"head.type", "head.outputs"} <= set(fields)
    assert head(result).outputs == ("logits", "boxes")


def test_more_outputs_than_the_card_needs(network: Network) -> None:
    outputs: Tensors = {"logits": [1, 100, 92], "boxes": [1, 100, 4], "last_hidden_state": [1, 100, 256]}
    network.write(STATIC, outputs)
    with pytest.raises(ModelError, match="expected one output, the network has 3"):
        network.resolve()
    card = Card(input=SAID, head=CardHead("detr", "normalized", "softmax", ("logits", "boxes")))
    assert head(network.resolve(card)).outputs == ("logits", "boxes")
    swapped = replace(card, head=replace(card.head, outputs=("boxes", "logits")))
    with pytest.raises(ModelError, match="expected the outputs of a detr head"):
        network.resolve(swapped)


# --- nanodet

MAPS: Tensors = {
    "d32": [1, 100, 32],
    "c8": [1, 1600, 80],
    "c16": [1, 400, 80],
    "d8": [1, 1600, 32],
    "c32": [1, 100, 80],
    "d16": [1, 400, 32],
}
IN_ORDER = ("c8", "c16", "c32", "d8", "d16", "d32")
NANO_INPUT = {"data": [1, 3, 320, 320]}


@pytest.mark.parametrize("batch", [True, False])
def test_nanodet_maps_in_any_order(network: Network, batch: bool) -> None:
    network.write(NANO_INPUT, {name: dims if batch else dims[1:] for name, dims in MAPS.items() if dims})
    fields, result = network.asks(labels=COCO80_EN)
    assert "head.outputs" not in fields
    assert "head.bins" not in fields
    assert head(result) == HeadSpec("nanodet", outputs=IN_ORDER, strides=(8, 16, 32), bins=8)
    assert result.spec.input.color == "BGR"
    assert result.spec.input.mean == (103.53, 116.28, 123.675)
    fields, result = network.asks()
    assert "head.bins" in fields
    assert len(result.spec.names) == 80


def test_nanodet_by_its_card(network: Network) -> None:
    network.write(NANO_INPUT, MAPS)
    card = Card(input=SAID, head=CardHead("nanodet", activation="sigmoid", bins=20))
    result = network.resolve(card)
    assert head(result).bins == 20
    assert head(result).outputs == ("d8", "d16", "d32", "c8", "c16", "c32")
    assert len(result.spec.names) == 32
    for outputs in (IN_ORDER[::-1], (*IN_ORDER[:3], "d16", "d8", "d32")):
        with pytest.raises(ModelError, match="expected the outputs of a nanodet head, for each stride"):
            network.resolve(Card(head=CardHead("nanodet", outputs=outputs, bins=8)))


def test_nanodet_of_open_size_needs_an_order(network: Network) -> None:
    maps: Tensors = {"c8": [1, "a", 80], "c16": [1, "b", 80], "c32": [1, "c", 80]}
    maps |= {"d8": [1, "a", 32], "d16": [1, "b", 32], "d32": [1, "c", 32]}
    network.write(OPEN, maps)
    fields, result = network.asks(replace(Card(), input=replace(SAID, resize="letterbox")), labels=COCO80_EN)
    assert fields[0] == "head.outputs"
    assert head(result).outputs == IN_ORDER
    assert result.rect


def test_nanodet_plus(network: Network) -> None:
    network.write({"data": [1, 3, 416, 416]}, {"output": [1, 3598, 112]})
    card = Card(input=SAID, head=CardHead("nanodet", activation="none"))
    for result in (
        network.resolve(card),
        network.resolve(replace(card, head=CardHead(activation="none")), labels=COCO80_EN),
    ):
        assert head(result) == HeadSpec("nanodet", outputs=("output",), strides=(8, 16, 32, 64), origin="corner")
        assert len(result.spec.names) == 80
    said = CardHead("nanodet", activation="none", origin="centre")
    assert head(network.resolve(replace(card, head=said))).origin == "centre"
    with pytest.raises(ModelError, match="the card says normalized"):
        network.resolve(replace(card, head=CardHead("nanodet", "normalized", "none")))


def test_bins_and_origin_of_other_heads(network: Network) -> None:
    network.write(STATIC, {"out": [1, 84, 8400]})
    with pytest.raises(ModelError, match=r"head\.origin belongs to nanodet heads, this one is yolo"):
        network.resolve(Card(head=CardHead(origin="corner")))
    with pytest.raises(ModelError, match=r"head\.bins belongs to nanodet heads, this one is yolo"):
        network.resolve(Card(head=CardHead(bins=8)))


@pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS is not set: no real model to resolve")
def test_the_real_nanodet_explains_itself() -> None:
    # Its outputs carry misleading names: "bbox_pred0" holds class scores.
    weights = Path(ASSETS or "") / "models" / "nanodet_320.onnx"
    card = load_card(CARDS / "nanodet_320.yaml")
    outputs = card.head.outputs
    card = replace(
        card, labels=label_names(card.labels), head=replace(card.head, outputs=None, strides=None, bins=None)
    )
    result = resolve(weights, card, read_onnx(weights), None, None, None)
    assert head(result).outputs == outputs
    assert not result.rect


# --- yolo


def test_the_two_heads_of_a_yolov9_in_training_form(network: Network) -> None:
    network.write(STATIC, {"output0": [1, 7, 8400], "2031": [1, 7, 8400]}, YOLOV5)
    with pytest.raises(ModelError, match="uses the second of two") as caught:
        network.resolve()
    proposed = network.path.with_name("model.onnx.yaml")
    proposed.write_text(str(caught.value).split("yaml:\n", 1)[1], encoding="utf-8")
    result = network.resolve(load_card(proposed))
    assert head(result) == HeadSpec("yolo", outputs=("2031",))


# --- anything

SIDES = st.sampled_from([1, 4, 32, 80, 81, 100, 300, 400, 1600, "K", None])
DIMS = st.none() | st.lists(SIDES, min_size=1, max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    outputs=st.dictionaries(st.sampled_from(["boxes", "scores", "labels", "a", "b", "c"]), DIMS, min_size=2),
    labels=st.sets(st.sampled_from(["labels", "a"])),
    said=st.sampled_from([None, "triple", "detr", "nanodet", "end2end", "classes"]),
    names=st.sampled_from([None, COCO80_EN, ("one",)]),
    image=st.sampled_from([NANO_INPUT, OPEN]),
)
def test_any_outputs_end_in_a_model_or_a_usable_message(
    network: Network, outputs: Tensors, labels: set[str], said: HeadType | None, names: Any, image: Tensors
) -> None:
    network.write(image, outputs, **dict.fromkeys(labels, INT64))
    card = Card(head=CardHead(said))
    try:
        result = network.resolve(card, labels=names)
    except ModelError as error:
        if "CONFIRM" not in str(error):
            return
        _, result = network.asks(card, labels=names)
    assert set(head(result).outputs) <= set(outputs)
    assert head(result).type in (said, "triple", "detr", "nanodet")
    assert len(head(result).outputs) == {"triple": 3, "detr": 2}.get(head(result).type, len(outputs))


@pytest.mark.parametrize("count", range(2, 7))
def test_the_right_outputs_are_found_in_any_company(network: Network, count: int) -> None:
    card = Card(input=SAID, head=CardHead("nanodet", activation="none"), labels=COCO80_EN)
    some = {name: MAPS[name] for name in IN_ORDER[:count]}
    network.write(NANO_INPUT, some)
    if count == 6:
        assert head(network.resolve(card)).outputs == IN_ORDER
        return
    with pytest.raises(ModelError, match="expected the outputs of a nanodet head"):
        network.resolve(card)
