"""What shapes cannot tell: how pixels become numbers, how an image is fitted, and the unit of boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeVar

from boxmill.models.case import Case
from boxmill.models.shapes import HeadShape
from boxmill.types import HeadSpec, InputSpec, Resize

__all__ = ["head_spec", "input_spec"]

_T = TypeVar("_T")


def input_spec(case: Case, head: HeadShape, known: InputSpec) -> InputSpec:
    """`known` (size, layout, dynamic, stride) with every other field, noted or asked for in the ledger."""
    card = case.card.input
    yolox = head.type == "yolox"
    color: Literal["RGB", "BGR"] = "BGR" if yolox else "RGB"
    resize: Resize = "letterbox_topleft" if yolox else "letterbox"
    return replace(
        known,
        color=_needed(case, head, "input.color", card.color, color, "RGB or BGR"),
        scale=_needed(
            case, head, "input.scale", card.scale, 1.0 if yolox else 1 / 255, f"{1 / 255!r} for 0-1, 1.0 for 0-255"
        ),
        mean=_usual(case, head, "input.mean", card.mean, known.mean),
        std=_usual(case, head, "input.std", card.std, known.std),
        resize=_needed(
            case,
            head,
            "input.resize",
            card.resize,
            resize,
            "letterbox (centred), letterbox_topleft (border right and below) or stretch",
        ),
        pad=_usual(case, head, "input.pad", card.pad, known.pad),
        rounding=_usual(case, head, "input.rounding", card.rounding, known.rounding),
    )


def head_spec(case: Case, head: HeadShape) -> HeadSpec:
    """The head with the unit of its boxes and its activation, noted or asked for in the ledger."""
    boxes: Literal["pixels", "normalized"] = "normalized" if case.from_tensorflow else "pixels"
    card = case.card.head
    case.ledger.note("head.outputs", (case.output,), "card" if card.outputs else "shapes")
    return HeadSpec(
        type=head.type,
        boxes=_needed(
            case, head, "head.boxes", card.boxes, boxes, "pixels or normalized (divided by the input's size)"
        ),
        activation=_usual(case, head, "head.activation", card.activation, "none"),
        outputs=(case.output,),
        strides=head.strides,
    )


def _exporter_speaks(case: Case, head: HeadShape) -> bool:
    """Whether the exporter's conventions hold: RGB, 1/255, centred letterbox of grey 114, boxes in pixels.

    So do the export scripts of Ultralytics, YOLOv5 and YOLOv9 expect their images; none writes an undecoded grid.
    """
    return case.exporter.kind is not None and head.type != "yolox"


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
