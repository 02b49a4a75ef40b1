"""Which head a network has: from its card, or from the shape of its output."""

from __future__ import annotations

from typing import NoReturn

from boxmill.models.case import Case
from boxmill.models.ledger import shown
from boxmill.models.shapes import (
    STRIDE_SETS,
    HeadShape,
    anchor_count,
    anchors_per_cell,
    match_heads,
    read_dims,
    square_side,
)
from boxmill.types import HeadType

__all__ = ["head_shape"]


def head_shape(case: Case, size: tuple[int, int]) -> HeadShape:
    """Type, classes, anchors and strides of the head; noted in the ledger.

    Args:
        case: the evidence.
        size: height and width of the network's input, in pixels.

    Raises:
        ModelError: the output's shape fits no head of this version, or contradicts the card.
    """
    said = case.card.head.type
    shape = _as_card_says(case, said, size) if said else _as_shapes_say(case, size)
    if shape.classes is None:
        case.fail(
            f"the number of classes is not in the output's shape {_dims(case)}; give the names with --labels, or as "
            "`labels` in the model card"
        )
    if case.card.head.strides:
        case.ledger.note("head.strides", shape.strides, "card")
    elif shape.anchors is not None:
        case.ledger.note("head.strides", shape.strides, "shapes", f"they give {shape.anchors} anchors")
    else:
        case.ledger.note("head.strides", shape.strides, "metadata" if case.exporter.stride else "default")
    return shape


def _as_card_says(case: Case, said: HeadType, size: tuple[int, int]) -> HeadShape:
    sets = _stride_sets(case)
    fitting = _matching(case, size, sets)
    same = next((shape for shape in fitting if shape.type == said), None)
    shape = same or read_dims(said, case.output_dims, case.names_count(), sets[0])
    # A card may call (anchors, 5 + classes) yolov5 whatever the number of anchors, as YOLOX exported with its boxes
    # decoded is; it cannot swap the two axes, nor lay YOLOX's grid over another number of cells.
    swapped = fitting and all((other.type == "yolo") != (said == "yolo") for other in fitting)
    if swapped or (shape.classes is not None and shape.classes < 1):
        says = f"; the shape says {fitting[0].type}" if fitting else ""
        case.fail(f"the card says head.type {said}, {_form(said)}, the output is {_dims(case)}{says}; correct the card")
    if said == "yolox" and same is None and shape.anchors is not None:
        case.fail(
            f"the card says head.type yolox: expected {anchor_count(size, shape.strides)} anchors for strides "
            f"{shown(shape.strides)} at {_size(size)}, the output is {_dims(case)}; correct head.type or head.strides"
        )
    own_size = size[0] in case.image_dims[1:] and size[1] in case.image_dims[1:]
    if not own_size and shape.anchors and anchors_per_cell(shape.anchors, size, shape.strides) is None:
        _fail_unknown(case, size)
    case.ledger.note("head.type", said, "card")
    return shape


def _as_shapes_say(case: Case, size: tuple[int, int]) -> HeadShape:
    found = _matching(case, size, _stride_sets(case))
    if not found:
        _fail_unknown(case, size)
    by_type = {shape.type: shape for shape in found}
    kind = case.exporter.kind
    if len(found) > 1 and "yolo" in by_type and (kind == "ultralytics" or case.output_dims[1] == "anchors"):
        case.ledger.note("head.type", "yolo", "metadata" if kind == "ultralytics" else "shapes")
        return by_type["yolo"]
    if len(found) > 1 and kind == "yolov5":
        by_type.pop("yolox", None)  # these exporters decode the boxes
    first = next(iter(by_type.values()))
    if len(by_type) > 1:
        choices = ", or ".join(f"{head}, {_form(head)}" for head in by_type)
        case.ledger.guess("head.type", first.type, choices)
    else:
        case.ledger.note("head.type", first.type, "shapes", f"the output is {_dims(case)}")
    return first


def _matching(case: Case, size: tuple[int, int], sets: list[tuple[int, ...]]) -> list[HeadShape]:
    """Heads that fit shape and names; without names that fit, those that fit the shape."""
    named = match_heads(case.output_dims, size, case.names_count(), sets)
    return named or match_heads(case.output_dims, size, None, sets)


def _stride_sets(case: Case) -> list[tuple[int, ...]]:
    if case.card.head.strides:
        return [case.card.head.strides]
    largest = case.card.input.stride or case.exporter.stride
    return sorted(STRIDE_SETS, key=lambda strides: max(strides) != largest)


def _fail_unknown(case: Case, size: tuple[int, int]) -> NoReturn:
    dims = case.output_dims
    if dims[1] == 6:
        case.fail(
            f"the output {_dims(case)} looks like boxes that the network has already selected (x1, y1, x2, y2, score, "
            "class), which this version of boxmill does not have yet; export the model without NMS and end2end"
        )
    count = anchor_count(size, STRIDE_SETS[0])
    side = square_side(dims, STRIDE_SETS[0])
    hint = f"; these are the anchors of {side}x{side}" if side and size != (side, side) else ""
    names = f" with {case.names_count()} classes" if case.names_count() else ""
    case.fail(
        f"the output {_dims(case)} fits no head of this version at {_size(size)}{names}: expected (4 + classes, "
        f"{count}) for yolo, ({3 * count}, 5 + classes) for yolov5 or ({count}, 5 + classes) for yolox{hint}; say what "
        "it is with head.type, head.strides and input.size in a model card"
    )


def _form(head: HeadType) -> str:
    if head == "yolo":
        return "(4 + classes, anchors)"
    return f"(anchors, 5 + classes) with the boxes {'un' if head == 'yolox' else ''}decoded"


def _dims(case: Case) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in case.output_dims)})"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
