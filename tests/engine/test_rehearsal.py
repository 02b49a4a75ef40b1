"""The rehearsal: wrong cards are told apart, and no good model is refused, whatever the image holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from boxmill.engine import Job, Run, inspect
from boxmill.errors import ImageError, ModelError
from boxmill.post import Postprocessor
from boxmill.runtimes.fake import FakeRuntime
from boxmill.runtimes.openvino import OpenVinoOptions, OpenVinoRuntime
from boxmill.types import EncodedItem, HeadSpec, InputSpec, ModelSpec, Outcome

NETWORK = (320, 320)
NAMES = tuple("abcde")


def spec_of(head: str, **fields: Any) -> ModelSpec:
    return ModelSpec(InputSpec(NETWORK), HeadSpec(head, **fields), NAMES, "tag" if head == "classes" else "detect")


def centres(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 4) centre x, y, width, height in pixels."""
    return np.concatenate([rng.uniform(0, 320, (count, 2)), rng.uniform(5, 200, (count, 2))], axis=1).astype(np.float32)


def raw_of(head: str, scores: Callable[[tuple[int, ...]], np.ndarray], unit: float = 1.0) -> list[np.ndarray]:
    """One image's raw outputs whose boxes are good; divided by `unit`."""
    rng = np.random.default_rng(1)
    boxes = centres(2100, rng) / unit
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    kinds = rng.integers(0, 5, 300)
    if head == "yolo":
        return [np.concatenate([boxes, scores((2100, 5))], axis=1).T[None].astype(np.float32)]
    if head == "yolov5":
        return [np.concatenate([boxes, scores((2100, 6))], axis=1)[None].astype(np.float32)]
    if head == "yolox":
        grid = rng.normal(0, 1, (2100, 4))
        return [np.concatenate([grid, scores((2100, 6))], axis=1)[None].astype(np.float32)]
    if head == "nanodet":
        sizes = (1600, 400, 100)
        return [*(scores((n, 5)) for n in sizes), *(rng.normal(0, 1, (n, 32)).astype(np.float32) for n in sizes)]
    if head == "end2end":
        return [np.concatenate([corners[:300], scores((300, 1)), kinds[:, None]], axis=1)[None].astype(np.float32)]
    if head == "triple":
        return [corners[:300], scores((300,)), kinds]
    if head == "detr":
        return [scores((1, 300, 5)), boxes[None, :300]]
    return [scores((1, 5000))]


def background(shape: tuple[int, ...]) -> np.ndarray:
    """Scores of an image without objects."""
    return np.random.default_rng(2).uniform(0, 1e-4, shape).astype(np.float32)


def crowd(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 1, shape).astype(np.float32)


def logits(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(2).normal(-6, 2, shape).astype(np.float32)


DETECTORS = ("yolo", "yolov5", "yolox", "nanodet", "end2end", "triple", "detr")
WITH_UNIT = ("yolo", "yolov5", "end2end", "triple", "detr")


@pytest.mark.parametrize("head", DETECTORS)
@pytest.mark.parametrize("scores", [background, crowd, np.zeros], ids=["background", "crowd", "zeros"])
def test_a_good_head_passes_whatever_is_on_the_image(head: str, scores: Any) -> None:
    inspect(raw_of(head, lambda shape: scores(shape).astype(np.float32)), spec_of(head), NETWORK)
    if head in WITH_UNIT:
        raw = raw_of(head, lambda shape: scores(shape).astype(np.float32), unit=320)
        inspect(raw, spec_of(head, boxes="normalized"), NETWORK)
    if head in ("yolo", "yolov5", "yolox", "nanodet", "detr"):
        inspect(raw_of(head, logits), spec_of(head, activation="sigmoid"), NETWORK)


def test_a_head_that_selects_nothing_passes() -> None:
    empty = [np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)]
    inspect(empty, spec_of("triple"), NETWORK)


@pytest.mark.parametrize("head", DETECTORS)
def test_logits_without_an_activation(head: str) -> None:
    with pytest.raises(ModelError, match="expected 0 to 1: say `activation: sigmoid`"):
        inspect(raw_of(head, logits), spec_of(head), NETWORK)


@pytest.mark.parametrize("head", ["yolo", "yolov5", "yolox", "nanodet", "detr"])
def test_a_second_activation(head: str) -> None:
    with pytest.raises(ModelError, match="no logits: say `activation: none`"):
        inspect(raw_of(head, background), spec_of(head, activation="sigmoid"), NETWORK)


@pytest.mark.parametrize("head", DETECTORS)
def test_all_scores_nan(head: str) -> None:
    with pytest.raises(ModelError, match="every score that the network gives is NaN"):
        inspect(raw_of(head, lambda shape: np.full(shape, np.nan, np.float32)), spec_of(head), NETWORK)


def test_all_boxes_nan() -> None:
    raw = raw_of("yolo", crowd)
    raw[0][:, :4] = np.nan
    with pytest.raises(ModelError, match="NaN in all 2100 boxes"):
        inspect(raw, spec_of("yolo"), NETWORK)


@pytest.mark.parametrize("head", WITH_UNIT)
@pytest.mark.parametrize("scores", [background, crowd])
def test_the_other_unit_of_boxes(head: str, scores: Any) -> None:
    with pytest.raises(ModelError, match="say `boxes: normalized`"):
        inspect(raw_of(head, scores, unit=320), spec_of(head), NETWORK)
    with pytest.raises(ModelError, match="say `boxes: pixels`"):
        inspect(raw_of(head, scores), spec_of(head, boxes="normalized"), NETWORK)


def test_decoded_boxes_laid_over_yolox_grid() -> None:
    with pytest.raises(ModelError, match=r"correct head\.type in the model card \(yolov5"):
        inspect(raw_of("yolov5", background), spec_of("yolox"), NETWORK)


def test_boxes_of_negative_size() -> None:
    raw = raw_of("yolo", background)
    raw[0][:, 2, ::4] *= -1
    with pytest.raises(ModelError, match=r"of the 300 best boxes have a negative width or height; correct head\.type"):
        inspect(raw, spec_of("yolo"), NETWORK)


@pytest.mark.parametrize("head", ["end2end", "triple"])
def test_classes_without_names(head: str) -> None:
    spec = replace(spec_of(head), names=NAMES[:3])
    with pytest.raises(ModelError, match="gives class 4, but the 3 names are for 0 to 2"):
        inspect(raw_of(head, crowd), spec, NETWORK)


@pytest.mark.parametrize("head", ["yolo", "yolov5", "yolox", "nanodet", "detr", "classes"])
def test_another_number_of_names(head: str) -> None:
    with pytest.raises(ModelError, match=r"the network has \d+ classes, but there are 3 names"):
        inspect(raw_of(head, crowd), replace(spec_of(head), names=NAMES[:3]), NETWORK)


def test_taggers() -> None:
    names = tuple(map(str, range(5000)))
    for activation in ("none", "sigmoid", "softmax"):
        inspect(raw_of("classes", logits), replace(spec_of("classes", activation=activation), names=names), NETWORK)
    inspect(raw_of("classes", background), replace(spec_of("classes"), names=names), NETWORK)
    with pytest.raises(ModelError, match="no logits: say `activation: none`"):
        inspect(raw_of("classes", crowd), replace(spec_of("classes", activation="sigmoid"), names=names), NETWORK)
    shares = raw_of("classes", lambda shape: crowd(shape) / crowd(shape).sum())
    with pytest.raises(ModelError, match="add up to 1 already"):
        inspect(shares, replace(spec_of("classes", activation="softmax"), names=names), NETWORK)


class Store:
    def add(self, outcome: Outcome) -> None:
        raise AssertionError("a rehearsal keeps nothing")


class Reporter:
    def __init__(self) -> None:
        self.said: list[tuple[str, int]] = []

    def start(self, index: int) -> None:
        self.said.append(("start", index))

    def end(self, index: int, failed: bool) -> None:
        self.said.append(("end", index))

    def leave(self, index: int) -> None:
        self.said.append(("leave", index))


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def items(*data: bytes) -> list[EncodedItem]:
    return [EncodedItem(index, f"{index}.png", lambda one=one: one) for index, one in enumerate(data)]


def job(runtime: Any, **fields: Any) -> Job:
    spec = runtime.spec
    return Job(items=(), total=0, runtime=runtime, postprocessor=Postprocessor(spec.head), store=Store(), **fields)


def test_the_first_image_that_decodes_is_taken_and_nothing_is_kept() -> None:
    reporter = Reporter()
    runtime = FakeRuntime(ModelSpec(InputSpec((64, 64), dynamic=True), HeadSpec("yolo"), NAMES))
    good = png(np.full((40, 30, 3), 9, np.uint8))
    Run(job(runtime, reporter=reporter)).rehearse(items(b"", b"no image", good, good))
    assert reporter.said == [(what, index) for index in range(3) for what in ("start", "leave")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("primitive descriptor failed"), "does not run: RuntimeError: primitive descriptor failed"),
        (ModelError("OpenVINO cannot run it"), "^OpenVINO cannot run it$"),
    ],
)
def test_a_network_that_does_not_run(error: Exception, words: str) -> None:
    runtime = FakeRuntime(ModelSpec(InputSpec((64, 64), dynamic=True), HeadSpec("yolo"), NAMES))

    def infer(tensor: np.ndarray) -> list[np.ndarray]:
        raise error

    runtime.infer = infer  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=words):
        Run(job(runtime)).rehearse(items(png(np.zeros((40, 30, 3), np.uint8))))
    with pytest.raises(ModelError, match=words.lstrip("^").removeprefix("does not run: RuntimeError: ")):
        Run(job(runtime, warm_up=(64, 64))).warm_up()


def test_an_error_of_the_head_names_it() -> None:
    runtime = FakeRuntime(ModelSpec(InputSpec((64, 64), dynamic=True), HeadSpec("yolo"), NAMES))
    yolox = FakeRuntime(replace(runtime.spec, head=HeadSpec("yolox")))
    with pytest.raises(ModelError, match="does not fit the head 'yolox'"):
        Run(job(yolox)).rehearse(items(png(np.zeros((40, 30, 3), np.uint8))))

    def refuse(*arguments: object) -> Any:
        raise ImageError("class_out_of_range", "the network gives class 90")

    refusing = replace(job(runtime), postprocessor=refuse)
    with pytest.raises(ModelError, match="the network gives class 90"):
        Run(refusing).rehearse(items(png(np.zeros((40, 30, 3), np.uint8))))


COCO = tuple(map(str, range(80)))
NANODET = ("cls_score0", "bbox_pred0", "cls_score1", "bbox_pred1", "cls_score2", "bbox_pred2")
REAL = {
    "yolox_nano_416": ModelSpec(
        InputSpec((416, 416), "NCHW", "BGR", 1.0, resize="letterbox_topleft"), HeadSpec("yolox"), COCO
    ),
    "yolov5n_640": ModelSpec(InputSpec((640, 640), "NHWC"), HeadSpec("yolov5", boxes="normalized"), COCO),
    "yolov9t_relu_320_3cls": ModelSpec(
        InputSpec((320, 320), "NHWC"), HeadSpec("yolo", boxes="normalized"), ("person", "vehicle", "animal")
    ),
    "nanodet_320": ModelSpec(
        InputSpec((320, 320), "NCHW", "BGR", 1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), resize="stretch"),
        HeadSpec("nanodet", outputs=NANODET),
        COCO,
    ),
}
WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("yolox_nano_416", {"activation": "sigmoid"}, "activation: none"),
    ("yolov5n_640", {"boxes": "pixels"}, "boxes: normalized"),
    ("yolov5n_640", {"activation": "sigmoid"}, "activation: none"),
    ("yolov9t_relu_320_3cls", {"boxes": "pixels"}, "boxes: normalized"),
    ("yolov9t_relu_320_3cls", {"activation": "sigmoid"}, "activation: none"),
    ("nanodet_320", {"activation": "sigmoid"}, "activation: none"),
)


@pytest.fixture(scope="module")
def networks(assets: Path) -> dict[str, OpenVinoRuntime]:
    """Each compiled once."""
    options = OpenVinoOptions("fp32")
    return {name: OpenVinoRuntime(assets / "models" / f"{name}.onnx", spec, options) for name, spec in REAL.items()}


def rehearse(runtime: OpenVinoRuntime, spec: ModelSpec, image: np.ndarray) -> None:
    runtime.spec = spec
    Run(job(runtime)).rehearse(items(png(image)))


@pytest.mark.parametrize("model", REAL)
@pytest.mark.parametrize("image", ["black", "grey", "noise"])
def test_real_models_pass_on_images_without_objects(
    networks: dict[str, OpenVinoRuntime], model: str, image: str
) -> None:
    pixels = {
        "black": np.zeros((300, 400, 3), np.uint8),
        "grey": np.full((300, 400, 3), 114, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8),
    }
    rehearse(networks[model], REAL[model], pixels[image])


@pytest.mark.parametrize(("model", "change", "words"), WRONG)
def test_real_models_with_wrong_cards(
    networks: dict[str, OpenVinoRuntime], assets: Path, model: str, change: dict[str, Any], words: str
) -> None:
    wrong = replace(REAL[model], head=replace(REAL[model].head, **change))
    photo = cv2.imread(str(assets / "photos/horses.jpg"))
    rehearse(networks[model], REAL[model], photo)
    for pixels in (photo, np.full((300, 400, 3), 114, np.uint8)):
        with pytest.raises(ModelError, match=words):
            rehearse(networks[model], wrong, pixels)
