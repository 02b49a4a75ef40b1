from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_writer import ULTRALYTICS, YOLOV5, summary

from boxmill.errors import ModelError
from boxmill.labels import COCO80_EN, label_names
from boxmill.models.card import Card, CardHead, CardInput, load_card
from boxmill.models.onnx_metadata import OnnxSummary, TensorInfo, read_onnx
from boxmill.models.resolve import Resolution, resolve
from boxmill.types import HeadSpec, HeadType, InputSpec

CARDS = Path(__file__).parent.parent / "cards"
ASSETS = os.environ.get("BOXMILL_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS is not set: no real models to resolve")

STATIC = [1, 3, 640, 640]
OPEN = ["batch", 3, "height", "width"]
SAID = CardInput(color="RGB", scale=1 / 255, resize="letterbox")
CARD = Card(input=SAID, head=CardHead(boxes="pixels"))
BARE = {key: value for key, value in ULTRALYTICS.items() if key != "names"}


def run(onnx: OnnxSummary, card: Card | None = None, **flags: Any) -> Resolution:
    values = {"labels": None, "imgsz": None, "rect": None, **flags}
    return resolve(Path("model.onnx"), card, onnx, **values)


def note(result: Resolution, field: str) -> tuple[str, str]:
    return next((note.value, note.source) for note in result.notes if note.field == field)


def changed(card: Card = CARD, head: CardHead | None = None, **values: Any) -> Card:
    return replace(card, input=replace(card.input, **values), head=head or card.head)


def test_ultralytics_with_open_shape() -> None:
    result = run(summary(OPEN, ["batch", "Concatoutput0_dim_1", "anchors"], ULTRALYTICS))
    assert result.spec.input == InputSpec(dynamic=True)
    assert result.spec.head == HeadSpec("yolo", outputs=("output0",))
    assert result.spec.names[79] == "thing 79"
    assert result.rect
    assert result.warnings == ()
    assert note(result, "input.size") == ("[640, 640]", "metadata")
    assert note(result, "input.color") == ("RGB", "metadata")


def test_ultralytics_with_fixed_shape() -> None:
    result = run(summary([4, 3, 320, 480], [4, 84, 3150], ULTRALYTICS))
    assert result.spec.input == InputSpec((320, 480))
    assert not result.rect
    assert note(result, "input.size") == ("[320, 480]", "shapes")
    assert note(result, "rect") == ("false", "shapes")


@pytest.mark.parametrize("head", [["batch", "anchors", 8], [1, "anchors", 8]])
def test_yolov5_with_open_shape(head: list[Any]) -> None:
    result = run(summary(OPEN, head, YOLOV5))
    assert result.spec.head.type == "yolov5"
    assert result.spec.names == ("person", "vehicle", "animal")
    assert result.rect


def test_yolov9_whose_export_names_the_wrong_axis() -> None:
    # YOLOv9's export script calls axis 1, the channels, "anchors".
    assert run(summary(OPEN, ["batch", "anchors", 8400], YOLOV5)).spec.head.type == "yolo"
    with pytest.raises(ModelError, match=r"head\.type") as caught:
        run(summary(OPEN, ["batch", "anchors", "dim_2"], YOLOV5))
    assert "type: yolo  # CONFIRM: yolo, (4 + classes, anchors), or yolov5" in str(caught.value)
    card = Card(head=CardHead(type="yolo"))
    assert run(summary(OPEN, ["batch", "anchors", "dim_2"], YOLOV5), card).spec.head.type == "yolo"


@pytest.mark.parametrize(
    ("head", "expected", "classes", "strides"),
    [
        ((84, 8400), "yolo", 80, (8, 16, 32)),
        ((5, 8400), "yolo", 1, (8, 16, 32)),
        ((25200, 85), "yolov5", 80, (8, 16, 32)),
        ((25200, 6), "yolov5", 1, (8, 16, 32)),
        ((8400, 85), "yolox", 80, (8, 16, 32)),
        ((25500, 85), "yolov5", 80, (8, 16, 32, 64)),
        ((84, 34000), "yolo", 80, (4, 8, 16, 32)),
    ],
)
def test_heads_from_shapes(head: tuple[int, int], expected: str, classes: int, strides: tuple[int, ...]) -> None:
    result = run(summary(STATIC, [1, *head]), CARD)
    assert (result.spec.head.type, len(result.spec.names), result.spec.head.strides) == (expected, classes, strides)
    assert result.spec.input.stride == max(strides)
    assert note(result, "head.type") == (expected, "shapes")


def test_stride_of_metadata_chooses_the_levels() -> None:
    result = run(summary(OPEN, ["batch", 84, "anchors"], {**ULTRALYTICS, "stride": "64"}), imgsz=(1280, 1280))
    assert result.spec.head.strides == (8, 16, 32, 64)
    assert result.spec.input.stride == 64


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ((300, 7), r"\(boxes, 6\) for end2end"),
        ((84, 8401), r"fits no head .* \(4 \+ classes, 8400\) for yolo"),
        ((84, 2100), "these are the anchors of 320x320"),
        ((4, 8400), "fits no head"),
        ((8400, 5), "fits no head"),
    ],
)
def test_unknown_heads(head: tuple[int, int], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        run(summary(STATIC, [1, *head]), CARD)


def test_inputs_that_do_not_fit() -> None:
    head = [1, 84, 8400]
    for image, words in (
        ([1, 1, 640, 640], "3 channels"),
        ([1, 3, 640], "expected an input of 4 dims"),
        ([3, 640, 640, 4], "3 channels"),
    ):
        with pytest.raises(ModelError, match=words):
            run(summary(image, head), CARD)
    half = (TensorInfo("images", "float16", (1, 3, 640, 640)),)
    with pytest.raises(ModelError, match=r"'images' .* is float16; export the model in float32"):
        run(summary(STATIC, head, inputs=half), CARD)
    with pytest.raises(ModelError, match="expected one input, the network has 2"):
        run(summary(STATIC, head, inputs=half * 2), CARD)
    counts = (TensorInfo("n", "int64", (1, 84, 8400)),)
    with pytest.raises(ModelError, match=r"expected a head of floats, 'n' .* is int64"):
        run(summary(STATIC, head, outputs=counts), CARD)
    with pytest.raises(ModelError, match="expected a head of 3 dims"):
        run(summary(STATIC, [8400, 85]), CARD)
    with pytest.raises(ModelError, match="expected a head of 3 dims"):
        run(summary(STATIC, [1, 3, 80, 80, 85]), CARD)


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys, boxmill.labels, boxmill.models.resolve\n"
        "assert not {'yaml', 'cv2', 'openvino', 'torch', 'onnx'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_outputs() -> None:
    outputs = (TensorInfo("a", "float32", (1, 84, 8400)), TensorInfo("b", "float32", (1, 32, 160, 160)))
    onnx = summary(STATIC, None, ULTRALYTICS, outputs=outputs)
    with pytest.raises(ModelError, match=r"expected one output, the network has 2(.|\n)*outputs: \['a'\]"):
        run(onnx)
    assert run(onnx, Card(head=CardHead(outputs=("a",)))).spec.head.outputs == ("a",)
    with pytest.raises(ModelError, match="no output 'bb'; did you mean 'b'"):
        run(onnx, Card(head=CardHead(outputs=("bb",))))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"task": "segment"}, "expected a detector or a tagger, the metadata says task: 'segment'"),
        ({"end2end": "True"}, r"expected the end2end head \(boxes, 6\) .* got 'output0' \[1, 84, 8400\]"),
        ({"head": "RTDETRDecoder"}, r"is an RT-DETR head\. .* which one it is does not show"),
        ({"channels": "1"}, "3 colour channels, the metadata says 1"),
    ],
)
def test_other_kinds_of_models(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        run(summary(STATIC, [1, 84, 8400], {**ULTRALYTICS, **metadata}))


def test_layout() -> None:
    assert run(summary([1, 640, 640, 3], [1, 84, 8400]), CARD).spec.input.layout == "NHWC"
    assert run(summary([None] * 4, [1, 84, None], ULTRALYTICS)).spec.input.layout == "NCHW"
    assert run(summary([None] * 4, [1, 84, None]), changed(layout="NHWC")).spec.input.layout == "NHWC"
    with pytest.raises(ModelError, match="CONFIRM: NCHW or NHWC; the input is"):
        run(summary([None] * 4, [1, 84, None]), CARD)
    with pytest.raises(ModelError, match=r"the card says layout NHWC, the input \(1, 3, 640, 640\) can only be NCHW"):
        run(summary(STATIC, [1, 84, 8400]), changed(layout="NHWC"))


def test_sizes_of_a_fixed_input() -> None:
    onnx = summary(STATIC, [1, 84, 8400])
    assert run(onnx, changed(size=(640, 640)), imgsz=(640, 640)).spec.input.size == (640, 640)
    with pytest.raises(ModelError, match="--imgsz is 320x320, the network's input is fixed at 640x640"):
        run(onnx, CARD, imgsz=(320, 320))
    with pytest.raises(ModelError, match=r"the card's input\.size is 320x320, the network's input is fixed"):
        run(onnx, changed(size=(320, 320)))


def test_sizes_of_an_open_input() -> None:
    onnx = summary(OPEN, [1, 84, "anchors"], ULTRALYTICS)
    assert run(onnx, changed(size=(320, 320)), imgsz=(480, 640)).spec.input.size == (480, 640)
    assert run(onnx, changed(size=(320, 320))).spec.input.size == (320, 320)
    assert note(run(summary(OPEN, [1, 84, "anchors"]), CARD), "input.size") == ("[640, 640]", "default")
    with pytest.raises(ModelError, match="size 500x640: expected multiples of the stride 32, such as 480x640 or 512x6"):
        run(onnx, imgsz=(500, 640))
    with pytest.raises(ModelError, match="--imgsz is 640x640, the card says size 320x320 and dynamic: false"):
        run(onnx, changed(size=(320, 320), dynamic=False), imgsz=(640, 640))


def test_open_input_with_a_fixed_head() -> None:
    onnx = summary(OPEN, [1, 84, 2100])
    result = run(onnx, CARD)
    assert result.spec.input.size == (320, 320)
    assert not result.spec.input.dynamic
    assert not result.rect
    with pytest.raises(ModelError, match="these are the anchors of 320x320"):
        run(onnx, CARD, imgsz=(640, 640))
    with pytest.raises(ModelError, match="these are the anchors of 320x320"):
        run(onnx, changed(head=replace(CARD.head, type="yolo")), imgsz=(640, 640))
    result = run(onnx, changed(dynamic=True))
    assert not result.rect
    assert "fixed at 2100 anchors" in result.warnings[0]


def test_half_open_input() -> None:
    onnx = summary([1, 3, 640, "width"], [1, 84, "anchors"], ULTRALYTICS)
    assert run(onnx, imgsz=(640, 320)).spec.input.size == (640, 320)
    assert run(onnx).spec.input == InputSpec()
    assert not run(onnx).rect
    with pytest.raises(ModelError, match=r"fixed at 640x\?"):
        run(onnx, imgsz=(320, 320))


def test_rect() -> None:
    onnx = summary(OPEN, [1, 84, "anchors"], ULTRALYTICS)
    assert run(onnx).rect
    assert not run(onnx, rect=False).rect
    assert run(onnx, rect=False).spec.input.dynamic
    assert not run(onnx, changed(dynamic=False)).rect
    assert not run(onnx, changed(resize="stretch")).rect
    for card, shape, why in (
        (CARD, summary(STATIC, [1, 84, 8400]), "the head is fixed at 8400 anchors"),
        (CARD, summary(STATIC, [1, 84, None]), "the network's input is fixed at 640x640"),
        (changed(dynamic=False), onnx, "the card says dynamic: false"),
        (changed(resize="stretch"), onnx, "images are stretched"),
    ):
        with pytest.raises(ModelError, match=f"--rect: .*{why}"):
            run(shape, card, rect=True)


def test_card_may_open_a_fixed_input() -> None:
    onnx = summary(STATIC, [1, 84, None])
    result = run(onnx, changed(dynamic=True), imgsz=(320, 320))
    assert result.spec.input.size == (320, 320)
    assert result.rect
    assert note(result, "input.dynamic") == ("true", "card")


def test_names() -> None:
    onnx = summary(STATIC, [1, 7, 8400], YOLOV5)
    card = replace(CARD, labels=("a", "b", "c"))
    assert run(onnx).spec.names == ("person", "vehicle", "animal")
    assert run(onnx, card).spec.names == ("a", "b", "c")
    assert run(onnx, card, labels=("x", "y", "z")).spec.names == ("x", "y", "z")
    result = run(summary(STATIC, [1, 7, 8400]), CARD)
    assert result.spec.names == ("0", "1", "2")
    assert "no names for the 3 classes" in result.warnings[0]
    with pytest.raises(ModelError, match=r"expected 3 names, .* the label file has 2"):
        run(onnx, labels=("x", "y"))
    with pytest.raises(ModelError, match=r"expected 3 names, .* the model card has 80"):
        run(onnx, replace(CARD, labels=COCO80_EN))
    with pytest.raises(ModelError, match="the exporter's metadata has 3"):
        run(summary(STATIC, [1, 84, 8400], YOLOV5))
    with pytest.raises(ModelError, match="control character"):
        run(onnx, labels=("x", "\x1b[2J", "z"))


def test_open_channels_take_the_number_of_names() -> None:
    onnx = summary(OPEN, ["batch", "channels", "anchors"])
    assert run(onnx, CARD, labels=("a", "b")).spec.names == ("a", "b")
    with pytest.raises(ModelError, match="the label file has 81"):
        run(summary(OPEN, [1, "c", "anchors"], ULTRALYTICS), labels=("x",) * 81)
    with pytest.raises(ModelError, match="fits no head"):
        run(onnx, CARD)
    with pytest.raises(ModelError, match="the number of classes is not in the shape of 'output0'"):
        run(onnx, changed(head=replace(CARD.head, type="yolo")))


def test_card_and_head_contradict() -> None:
    for said, dims, words in (
        ("yolov5", [1, 84, 8400], "the card says head.type yolov5, .* the output is .84, 8400.; the shape says yolo"),
        ("yolo", [1, 25200, 85], "the shape says yolov5"),
        ("yolo", [1, 3, 8400], "the card says head.type yolo, .* the output is .3, 8400.; correct the card"),
        ("yolox", [1, 25200, 85], "expected 8400 anchors for strides"),
    ):
        with pytest.raises(ModelError, match=words):
            run(summary(STATIC, dims), changed(head=replace(CARD.head, type=said)))


def test_decoded_yolox_is_yolov5_by_its_card() -> None:
    result = run(summary(STATIC, [1, 8400, 85]), changed(head=replace(CARD.head, type="yolov5")))
    assert result.spec.head.type == "yolov5"
    assert len(result.spec.names) == 80


def test_output_without_a_shape() -> None:
    card = changed(head=replace(CARD.head, type="yolo"))
    result = run(summary(STATIC, None), replace(card, labels=("a", "b")))
    assert result.spec.names == ("a", "b")
    assert result.spec.head.strides == (8, 16, 32)


def test_unread_labels_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="read them with"):
        run(summary(STATIC, [1, 84, 8400], ULTRALYTICS), Card(labels="coco80"))


def test_the_table_has_a_line_for_each_source() -> None:
    lines = run(summary(STATIC, [1, 84, 8400], ULTRALYTICS), Card(input=CardInput(pad=0))).table().splitlines()
    said = {line.split()[0]: line for line in lines}
    assert len(said) == len(lines)
    assert "input.size [640, 640] (the network's input is fixed at 640x640)" in said["shapes"]
    assert "input.color RGB" in said["metadata"]
    assert said["card"] == "card      input.pad 0"


@pytest.mark.parametrize(
    ("image", "head", "card", "fields"),
    [
        (STATIC, [1, 84, 8400], None, ["color: RGB", "scale", "resize: letterbox ", "boxes: pixels"]),
        (STATIC, [1, 8400, 85], None, ["color: BGR", "scale: 1.0", "resize: letterbox_topleft", "type: yolox"]),
        (OPEN, [1, 84, "anchors"], changed(scale=None, mean=(0.00001, 0.0, 0.0)), ["scale: 0.00392156862745098"]),
        ([None] * 4, [1, 84, None], CARD, ["layout: NCHW"]),
    ],
)
def test_a_missing_convention_gives_a_card_to_save(
    tmp_path: Path, image: list[Any], head: list[Any], card: Card | None, fields: list[str]
) -> None:
    onnx = summary(image, head, outputs=(TensorInfo('o "1": #', "float32", tuple(head)),))
    with pytest.raises(ModelError, match=r"save it as model\.onnx\.yaml beside the weights") as caught:
        run(onnx, card)
    text = str(caught.value).split("\n\n", 1)[1]
    for line in fields:
        assert any(line in found and "# CONFIRM" in found for found in text.splitlines()), line
    path = tmp_path / "model.onnx.yaml"
    path.write_text(text, encoding="utf-8")
    result = run(onnx, load_card(path))
    spec = result.spec
    assert {source for _, source in ((note.field, note.source) for note in result.notes)} <= {
        "card",
        "shapes",
        "default",
    }
    assert spec.head.outputs == ('o "1": #',)
    assert spec.input.mean[0] == (0.00001 if card and card.input.mean else 0.0)


def test_the_card_to_save_keeps_the_names_of_the_card(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        run(summary(STATIC, [1, 6, 8400]), Card(path=tmp_path / "mine.yaml", labels=("人", 'a "b", c')))
    message = str(caught.value)
    assert "neither the network nor its card says" in message
    assert "save it as mine.yaml" in message
    path = tmp_path / "mine.yaml"
    path.write_text(message.split("\n\n", 1)[1], encoding="utf-8")
    assert load_card(path).labels == ("人", 'a "b", c')


def test_tensorflow_boxes_are_proposed_normalized() -> None:
    with pytest.raises(ModelError, match="boxes: normalized  # CONFIRM"):
        run(summary([None, 640, 640, 3], [None, 25200, 85], producer="tf2onnx 1.17.0"))


DIMS = st.sampled_from([None, "anchors", "height", 1, 3, 6, 8, 84, 85, 320, 640, 2100, 6300, 8400, 25200, 25500])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    image=st.lists(DIMS, min_size=4, max_size=4) | st.sampled_from([STATIC, OPEN]),
    head=st.tuples(st.just(1), DIMS, DIMS),
    metadata=st.sampled_from([{}, YOLOV5, ULTRALYTICS]),
    said=st.builds(
        CardInput,
        size=st.sampled_from([None, (320, 320), (640, 640)]),
        color=st.sampled_from([None, "BGR"]),
        scale=st.sampled_from([None, 1.0]),
        resize=st.sampled_from([None, "stretch", "letterbox"]),
        dynamic=st.sampled_from([None, True, False]),
    ),
    card_head=st.builds(CardHead, type=st.sampled_from([None, *get_args(HeadType)])),
)
def test_any_evidence_ends_in_a_model_or_a_usable_message(
    tmp_path: Path, image: Any, head: Any, metadata: dict[str, str], said: CardInput, card_head: CardHead
) -> None:
    onnx = summary(image, head, metadata)
    try:
        result = run(onnx, Card(input=said, head=card_head))
    except ModelError as error:
        if "CONFIRM" not in str(error):
            return
        path = tmp_path / "model.onnx.yaml"
        path.write_text(str(error).split("\n\n", 1)[1], encoding="utf-8")
        saved = load_card(path)
        result = run(onnx, replace(saved, labels=("a", "b")) if isinstance(saved.labels, Path) else saved)
    spec = result.spec
    channels = head[1] if spec.head.type == "yolo" else head[2]
    more = {"yolo": 4, "detr": 4, "yolov5": 5, "yolox": 5, "nanodet": 32}
    if spec.head.type in more and isinstance(channels, int):
        assert channels == len(spec.names) + more[spec.head.type]
    assert spec.names
    assert spec.task == ("tag" if spec.head.type == "classes" else "detect")
    assert not result.rect or (spec.input.dynamic and spec.input.resize.startswith("letterbox"))
    if spec.input.dynamic:
        assert all(side % spec.input.stride == 0 for side in spec.input.size)


def test_a_card_cannot_open_a_fixed_input_whose_head_is_fixed_too() -> None:
    onnx = summary([None, 3, 64, 64], (1, 2100, None), {"stride": "32", "names": "{0: 'a', 1: 'b'}"})
    with pytest.raises(ModelError, match="fixed at 64x64 and its head at 2100 anchors"):
        run(onnx, Card(input=CardInput(size=(320, 320), dynamic=True)))


def test_a_proposed_card_for_anchors_first_and_symbolic_classes_is_accepted(tmp_path: Path) -> None:
    onnx = summary(["batch", 3, "height", "width"], (1, 2100, None), {"stride": "32", "names": "{0: 'a', 1: 'b'}"})
    with pytest.raises(ModelError, match="CONFIRM") as caught:
        run(onnx)
    path = tmp_path / "model.onnx.yaml"
    path.write_text(str(caught.value).split("\n\n", 1)[1], encoding="utf-8")
    assert run(onnx, load_card(path)).spec.head.type == "yolox"


@needs_assets
@pytest.mark.parametrize("name", ["yolox_nano_416", "yolov5n_640", "yolov9t_relu_320_3cls", "nanodet_320"])
def test_real_models(tmp_path: Path, name: str) -> None:
    weights = Path(ASSETS or "") / "models" / f"{name}.onnx"
    onnx = read_onnx(weights)
    card = load_card(CARDS / f"{name}.yaml")
    card = replace(card, labels=label_names(card.labels))
    spec = resolve(weights, card, onnx, None, None, None).spec
    with pytest.raises(ModelError, match="CONFIRM") as caught:
        resolve(weights, None, onnx, spec.names, None, None)
    proposed = tmp_path / "proposed.yaml"
    proposed.write_text(str(caught.value).split("\n\n", 1)[1], encoding="utf-8")
    # What is guessed for these happens to be right, so the proposed card ends in the same model.
    assert resolve(weights, load_card(proposed), onnx, spec.names, None, None).spec == spec
