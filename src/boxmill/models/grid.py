"""Heads on a grid in one array of (images, rows, columns): yolo, yolov5, yolox, nanodet."""

from __future__ import annotations

from dataclasses import replace
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

__all__ = ["fail_unknown", "grid_as_said", "grid_matches", "grid_of", "stride_sets"]


def grid_as_said(case: Case, said: HeadType, size: tuple[int, int]) -> HeadShape:
    """The head that the card says, checked against the output's shape. Raises ModelError."""
    sets, bins = stride_sets(case), _bins(case)
    fitting = grid_matches(case, size, case.names_count()) or grid_matches(case, size, None)
    same = next((shape for shape in fitting if shape.type == said), None)
    shape = same or read_dims(said, case.grid_dims, case.names_count(), sets[0], bins)
    # A card may call (anchors, 5 + classes) yolov5 whatever the number of anchors, as YOLOX exported with its boxes
    # decoded is; it cannot swap the two axes, nor lay YOLOX's grid over another number of cells.
    swapped = fitting and all((other.type == "yolo") != (said == "yolo") for other in fitting)
    if swapped or (shape.classes is not None and shape.classes < 1):
        says = f"; the shape says {fitting[0].type}" if fitting else ""
        case.fail(f"the card says head.type {said}, {_form(said)}, the output is {_dims(case)}{says}; correct the card")
    if said in ("yolox", "nanodet") and shape.anchors is not None:
        shape = same or _with_fitting_strides(case, shape, size)
    own_size = size[0] in case.image_dims[1:] and size[1] in case.image_dims[1:]
    if not own_size and shape.anchors and anchors_per_cell(shape.anchors, size, shape.strides) is None:
        fail_unknown(case, size)
    return shape


def _with_fitting_strides(case: Case, shape: HeadShape, size: tuple[int, int]) -> HeadShape:
    for strides in stride_sets(case):
        if anchor_count(size, strides) == shape.anchors:
            return replace(shape, strides=strides)
    case.fail(
        f"the card says head.type {shape.type}: expected {anchor_count(size, shape.strides)} anchors for strides "
        f"{shown(shape.strides)} at {_size(size)}, the output is {_dims(case)}; correct head.type or head.strides"
    )


def grid_of(case: Case, found: list[HeadShape]) -> HeadShape:
    """One of the heads that the output's shape allows; asked for in the ledger where several are left."""
    by_type = {shape.type: shape for shape in found}
    kind, dims = case.exporter.kind, case.grid_dims
    if len(found) > 1 and "yolo" in by_type and (kind == "ultralytics" or dims[1] == "anchors"):
        case.ledger.note("head.type", "yolo", "metadata" if kind == "ultralytics" else "shapes")
        return by_type["yolo"]
    if len(found) > 1 and kind == "yolov5":
        by_type.pop("yolox", None)  # these exporters decode the boxes
    first = next(iter(by_type.values()))
    if len(by_type) > 1:
        choices = ", or ".join(f"{head}, {_form(head)}" for head in by_type)
        if dims[1] == 6 and first.anchors is None:
            choices += ", or end2end, (boxes, 6) with x1, y1, x2, y2, score, class"
        case.ledger.guess("head.type", first.type, choices)
    else:
        case.ledger.note("head.type", first.type, "shapes", f"the output is {_dims(case)}")
    return first


def grid_matches(case: Case, size: tuple[int, int], classes: int | None) -> list[HeadShape]:
    """Every head on a grid that the output's shape allows for so many classes; None: any number."""
    return match_heads(case.grid_dims, size, classes, stride_sets(case), _bins(case))


def stride_sets(case: Case) -> list[tuple[int, ...]]:
    """The card's strides, or all usual ones with those first that end at the known stride."""
    if case.card.head.strides:
        return [case.card.head.strides]
    largest = case.card.input.stride or case.exporter.stride
    return sorted(STRIDE_SETS, key=lambda strides: max(strides) != largest)


def _bins(case: Case) -> int:
    return case.card.head.bins or 8


def fail_unknown(case: Case, size: tuple[int, int]) -> NoReturn:
    """Raise the ModelError that says which shapes would have been understood."""
    dims = case.grid_dims
    count = anchor_count(size, STRIDE_SETS[0])
    side = square_side(dims, STRIDE_SETS[0])
    hint = f"; these are the anchors of {side}x{side}" if side and size != (side, side) else ""
    names = f" with {case.names_count()} classes" if case.names_count() else ""
    case.fail(
        f"the output {_dims(case)} fits no head at {_size(size)}{names}: expected (4 + classes, "
        f"{count}) for yolo, ({3 * count}, 5 + classes) for yolov5, ({count}, 5 + classes) for yolox, (boxes, 6) for "
        f"end2end or (queries, 4 + classes) for detr{hint}; say what it is with head.type, head.strides and "
        "input.size in a model card, and give the names with --labels"
    )


def _form(head: HeadType) -> str:
    if head == "yolo":
        return "(4 + classes, anchors)"
    if head == "nanodet":
        return "(anchors, classes + 4 * bins)"
    return f"(anchors, 5 + classes) with the boxes {'un' if head == 'yolox' else ''}decoded"


def _dims(case: Case) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in case.grid_dims)})"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
