"""What shapes cannot tell: how pixels become numbers, how an image is fitted, and the unit of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from boxmill.models.case import Case
from boxmill.models.shapes import HeadShape
from boxmill.types import HeadSpec, HeadType, InputSpec, Resize

__all__ = ["head_spec", "input_spec"]

_T = TypeVar("_T")
_Three = tuple[float, float, float]
Activation = Literal["none", "sigmoid", "softmax"]

_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class _Usual:
    """How models of one kind usually take their images: what a card is proposed with."""

    color: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1 / 255
    mean: _Three = _ZERO
    std: _Three = _ONE
    resize: Resize = "letterbox"
    normalises: bool = False  # mean and std differ from model to model, so they are asked for


_TAGGER = _Usual(mean=_IMAGENET_MEAN, std=_IMAGENET_STD, resize="center_crop", normalises=True)
_USUAL: Mapping[HeadType, _Usual] = {
    "yolo": _Usual(),
    "yolov5": _Usual(),
    "yolox": _Usual("BGR", 1.0, resize="letterbox_topleft"),
    "nanodet": _Usual("BGR", 1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), "stretch", normalises=True),
    "end2end": _Usual(),
    "triple": _Usual(normalises=True),
    "detr": _Usual(mean=_IMAGENET_MEAN, std=_IMAGENET_STD, resize="stretch", normalises=True),
    "classes": _TAGGER,
}
# Ultralytics: RT-DETR stretches; classifiers resize the shorter side to the input's size and cut the centre out.
_EXPORTED: Mapping[HeadType, _Usual] = {
    **_USUAL,
    "detr": _Usual(resize="stretch"),
    "classes": _Usual(resize="center_crop"),
}
_ACTIVATIONS: Mapping[HeadType, tuple[Activation, ...]] = {
    "yolo": ("none", "sigmoid"),
    "yolov5": ("none", "sigmoid"),
    "yolox": ("none", "sigmoid"),
    "nanodet": ("none", "sigmoid"),
    "end2end": ("none",),
    "triple": ("none",),
    "detr": ("none", "sigmoid", "softmax"),
    "classes": ("none", "sigmoid", "softmax"),
}
_RESIZE = "letterbox (centred), letterbox_topleft (border right and below), stretch"


def input_spec(case: Case, head: HeadShape, known: InputSpec) -> InputSpec:
    """`known` (size, layout, dynamic, stride) with every other field, noted or asked for in the ledger.

    Raises:
        ModelError: the card's fields contradict each other or the head.
    """
    card = case.card.input
    usual = (_EXPORTED if _exporter_speaks(case, head) else _USUAL)[head.type]
    if usual.resize == "center_crop" and known.size[0] != known.size[1] and _exporter_speaks(case, head):
        usual = replace(usual, resize="stretch")  # Ultralytics crops to squares only
    tagger = ", or center_crop" if head.type == "classes" else ""
    scales = f"{1 / 255!r} for 0-1, 1.0 for 0-255"
    spec = replace(
        known,
        color=_needed(case, head, "input.color", card.color, usual.color, "RGB or BGR"),
        scale=_needed(case, head, "input.scale", card.scale, usual.scale, scales),
        mean=_of_channels(case, head, "input.mean", card.mean, usual.mean),
        std=_of_channels(case, head, "input.std", card.std, usual.std),
        resize=_needed(case, head, "input.resize", card.resize, usual.resize, f"{_RESIZE}{tagger}"),
    )
    if spec.resize.startswith("letterbox"):
        spec = replace(
            spec,
            pad=_usual(case, head, "input.pad", card.pad, known.pad),
            rounding=_usual(case, head, "input.rounding", card.rounding, known.rounding),
        )
    return _filtered(case, head, _cropped(case, head, spec))


def _of_channels(case: Case, head: HeadShape, field: str, card: _Three | None, usual: _Three) -> _Three:
    if not _USUAL[head.type].normalises:
        return _usual(case, head, field, card, usual)
    question = "as in training, in the order of color; value = (pixel * scale - mean) / std"
    return _needed(case, head, field, card, usual, question)


def _cropped(case: Case, head: HeadShape, spec: InputSpec) -> InputSpec:
    said = case.card.input.crop_from
    if spec.resize != "center_crop":
        if said is not None:
            case.fail(f"input.crop_from belongs to resize: center_crop, the card has {spec.resize}; correct the card")
        return spec
    if head.type != "classes":
        case.fail(f"resize: center_crop belongs to taggers, the head is {head.type}; use letterbox or stretch")
    largest = max(spec.size)
    usual = largest if _exporter_speaks(case, head) else round(largest * 256 / 224)
    question = f"pixels of the shorter side before {spec.size[0]}x{spec.size[1]} is cut from the centre"
    crop_from = _needed(case, head, "input.crop_from", said, usual, question)
    if crop_from < largest:
        case.fail(f"input.crop_from: expected {largest} or more, from which the input's size is cut, got {crop_from}")
    return replace(spec, crop_from=crop_from)


def _filtered(case: Case, head: HeadShape, spec: InputSpec) -> InputSpec:
    """Taggers are trained with Pillow's filters, which antialias; detectors with OpenCV's, which do not."""
    card = case.card.input
    if head.type != "classes" and card.interpolation is None and card.antialias is None:
        return spec
    return replace(
        spec,
        interpolation=_usual(case, head, "input.interpolation", card.interpolation, "bilinear"),
        antialias=_usual(case, head, "input.antialias", card.antialias, head.type == "classes"),
    )


def head_spec(case: Case, head: HeadShape) -> HeadSpec:
    """The head with the unit of its boxes and its activation, noted or asked for in the ledger.

    Raises:
        ModelError: the card's activation does not exist for this head.
    """
    activation = _activation(case, head)
    spec = HeadSpec(head.type, activation=activation, outputs=head.outputs, bins=head.bins)
    if head.on_grid:
        spec = replace(spec, strides=head.strides)
    if head.type == "classes":
        return spec
    card = case.card.head.boxes
    if head.type == "nanodet":  # distances are in strides
        if card == "normalized":
            case.fail("a nanodet head measures boxes in strides, so they come out in pixels; the card says normalized")
        return replace(spec, boxes=_usual(case, head, "head.boxes", card, "pixels"), origin=_origin(case, head))
    normalized = case.from_tensorflow or head.type == "detr"
    usual: Literal["pixels", "normalized"] = "normalized" if normalized else "pixels"
    question = "pixels or normalized (divided by the input's size)"
    return replace(spec, boxes=_needed(case, head, "head.boxes", card, usual, question))


def _origin(case: Case, head: HeadShape) -> Literal["centre", "corner"]:
    """The arrays do not tell; of the published models NanoDet has strides 8 to 32, NanoDet-Plus 8 to 64."""
    said = case.card.head.origin
    if said is not None:
        case.ledger.note("head.origin", said, "card")
        return said
    plus = 64 in head.strides
    case.ledger.note("head.origin", "corner" if plus else "centre", "default", f"as NanoDet{'-Plus' * plus} has it")
    return "corner" if plus else "centre"


def _activation(case: Case, head: HeadShape) -> Activation:
    said = case.card.head.activation
    allowed = _ACTIVATIONS[head.type]
    if said is not None and said not in allowed:
        case.fail(f"head.activation of a {head.type} head: expected {' or '.join(allowed)}, the card says {said}")
    if said is None and head.activation is not None:
        case.ledger.note("head.activation", head.activation, "shapes", 'one class more than names: "no object"')
        return head.activation
    if head.type not in ("nanodet", "detr", "classes"):
        return _usual(case, head, "head.activation", said, "none")
    guesses: Mapping[HeadType, Activation] = {
        "classes": "softmax",
        "detr": "sigmoid" if len(head.outputs) > 1 and not _exporter_speaks(case, head) else "none",
    }
    question = "none when scores come out in 0-1, sigmoid otherwise"
    if head.type == "classes":
        question = "none when scores come out in 0-1, softmax when the best label counts, sigmoid for several labels"
    elif head.type == "detr":
        question += ', softmax when the last class is "no object"'
    exported = _exporter_speaks(case, head)
    return _needed(
        case, head, "head.activation", said, "none" if exported else guesses.get(head.type, "none"), question
    )


def _exporter_speaks(case: Case, head: HeadShape) -> bool:
    """Whether the exporter's conventions hold: RGB, 1/255, and of detectors a centred letterbox and boxes in pixels.

    So do the export scripts of Ultralytics, YOLOv5 and YOLOv9 expect their images; none writes an undecoded grid. For
    heads that only Ultralytics exports, only its own metadata counts.
    """
    if head.type in ("yolo", "yolov5"):
        return case.exporter.kind is not None
    return case.exporter.kind == "ultralytics" and head.type in ("end2end", "detr", "classes")


def _needed(case: Case, head: HeadShape, field: str, card: _T | None, usual: _T, question: str) -> _T:
    """The card's value, the exporter's, or a guess that has to be confirmed."""
    exporter = usual if _exporter_speaks(case, head) else None
    value = case.ledger.first(field, ("card", card), ("metadata", exporter))
    return case.ledger.guess(field, usual, question) if value is None else value


def _usual(case: Case, head: HeadShape, field: str, card: _T | None, default: _T) -> _T:
    """The card's value or the documented default, which is also what exporters mean."""
    if card is not None:
        case.ledger.note(field, card, "card")
        return card
    case.ledger.note(field, default, "metadata" if _exporter_speaks(case, head) else "default")
    return default
