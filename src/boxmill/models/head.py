"""Which head a network has: from its card, its exporter's metadata, or the shapes of its outputs."""

from __future__ import annotations

from dataclasses import replace

from boxmill.models.arrays import several_outputs
from boxmill.models.case import Case, tensor_list, tensor_text
from boxmill.models.grid import fail_unknown, grid_as_said, grid_matches, grid_of
from boxmill.models.ledger import Source
from boxmill.models.onnx_metadata import Dim, TensorInfo
from boxmill.models.shapes import GRID_HEADS, HeadShape
from boxmill.types import HeadType

__all__ = ["head_shape"]

_CHOSEN_FORM = "(boxes, 6) with x1, y1, x2, y2, score, class"
_QUERY_FORM = "(queries, 4 + classes) with centre x, centre y, width, height, then scores"


def head_shape(case: Case, size: tuple[int, int]) -> HeadShape:
    """Type, classes, anchors, strides and outputs of the head; noted in the ledger.

    Args:
        case: the evidence.
        size: height and width of the network's input, in pixels.

    Raises:
        ModelError: the outputs' shapes fit no head, or contradict the card or the metadata.
    """
    said, source = _said(case)
    shape = several_outputs(case, said, size) if len(case.outputs) > 1 else _one_output(case, said, size)
    _check_task(case, shape)
    if said is not None:
        case.ledger.note("head.type", said, source)
    if shape.classes is None and shape.type not in ("end2end", "triple"):
        case.fail(
            f"the number of classes is not in the shape of {tensor_list(case.outputs)}; give the names with --labels, "
            "or as `labels` in the model card"
        )
    if case.card.head.bins and shape.type != "nanodet":
        case.fail(f"head.bins belongs to nanodet heads, this one is {shape.type}; take it out of the card")
    if case.card.head.origin and shape.type != "nanodet":
        case.fail(f"head.origin belongs to nanodet heads, this one is {shape.type}; take it out of the card")
    _note_strides(case, shape)
    if case.ledger.source("head.outputs") is None:
        case.ledger.note("head.outputs", shape.outputs, "card" if case.card.head.outputs else "shapes")
    return shape


def _said(case: Case) -> tuple[HeadType | None, Source]:
    """The type of head that card or exporter name."""
    card, exporter = case.card, case.exporter
    if card.head.type is not None:
        return card.head.type, "card"
    if card.task == "tag":
        return "classes", "card"
    if exporter.task == "classify":
        return "classes", "metadata"
    if exporter.end2end:
        return "end2end", "metadata"
    if exporter.head is not None and "RTDETR" in exporter.head:
        return "detr", "metadata"
    return None, "shapes"


def _check_task(case: Case, shape: HeadShape) -> None:
    task = "tag" if shape.type == "classes" else "detect"
    if case.card.task not in (None, task):
        case.fail(
            f"the card says task: {case.card.task}, its head is {shape.type}, which belongs to task: {task}; correct "
            "the card"
        )


def _note_strides(case: Case, shape: HeadShape) -> None:
    if not shape.on_grid:
        return
    if case.card.head.strides:
        case.ledger.note("head.strides", shape.strides, "card")
    elif shape.anchors is not None:
        case.ledger.note("head.strides", shape.strides, "shapes", f"they give {shape.anchors} anchors")
    else:
        case.ledger.note("head.strides", shape.strides, "metadata" if case.exporter.stride else "default")
    if shape.type == "nanodet" and case.ledger.source("head.bins") is None:
        case.ledger.note("head.bins", shape.bins, "card" if case.card.head.bins else "default")


def _one_output(case: Case, said: HeadType | None, size: tuple[int, int]) -> HeadShape:
    tensor = case.outputs[0]
    if tensor.element not in ("float32", "float16", "undefined"):
        case.fail(f"expected a head of floats, {tensor_text(tensor)} is {tensor.element}")
    if said == "triple":
        case.fail(f"a triple head has three outputs, boxes, scores and labels; the network gives {tensor_text(tensor)}")
    shape = _shape_of_one(case, said, tensor, size)
    return replace(shape, outputs=(tensor.name,))


def _shape_of_one(case: Case, said: HeadType | None, tensor: TensorInfo, size: tuple[int, int]) -> HeadShape:
    if said == "classes" or (said is None and _is_flat(case, tensor.dims)):
        if said is None:
            _note_tagger(case, tensor)
        return HeadShape("classes", _tags(case, tensor), None)
    if said in ("end2end", "detr"):
        return _rows(case, said, tensor)
    if tensor.dims is not None and len(tensor.dims) != 3:
        case.fail(
            "expected a head of 3 dims, (batch, 4 + classes, anchors) or (batch, anchors, 5 + classes), or a tagger's "
            f"(batch, classes), got {tensor_text(tensor)}"
        )
    if said in GRID_HEADS:
        return grid_as_said(case, said, size)
    found = grid_matches(case, size, case.names_count())
    if not found:
        found = grid_matches(case, size, None)
        if not any(shape.anchors for shape in found) and (rows := _rows_by_shape(case, tensor)) is not None:
            return rows
    if not found:
        fail_unknown(case, size)
    return grid_of(case, found)


def _is_flat(case: Case, dims: tuple[Dim, ...] | None) -> bool:
    """Whether an output is (images, classes) or (images, classes, 1, 1), as only taggers give."""
    if dims is None or not (len(dims) == 2 or (len(dims) == 4 and dims[2:] == (1, 1))):
        return False
    return not isinstance(dims[0], int) or dims[0] in (1, case.image_dims[0])


def _note_tagger(case: Case, tensor: TensorInfo) -> None:
    batch = (tensor.dims or (None,))[0]
    if batch == 1 or (batch is not None and batch == case.image_dims[0]):
        case.ledger.note("head.type", "classes", "shapes", f"the output is {tensor_text(tensor)}")
    else:
        case.ledger.guess("head.type", "classes", f"classes when {tensor_text(tensor)} is a score for each class")


def _tags(case: Case, tensor: TensorInfo) -> int | None:
    dims = tensor.dims
    if dims is None:
        return case.names_count()
    if not (_is_flat(case, dims) or len(dims) == 1):
        case.fail(f"expected a tagger's output, (batch, classes), got {tensor_text(tensor)}")
    classes = dims[0] if len(dims) == 1 else dims[1]
    return classes if isinstance(classes, int) else case.names_count()


def _rows(case: Case, said: HeadType, tensor: TensorInfo) -> HeadShape:
    """One box in a row: what an end2end network has selected, or a transformer's queries."""
    columns = (tensor.dims or (None,))[-1]
    least, most = (6, 6) if said == "end2end" else (5, 1 << 31)
    if tensor.dims is not None and (
        len(tensor.dims) not in (2, 3) or (isinstance(columns, int) and not least <= columns <= most)
    ):
        form = _CHOSEN_FORM if said == "end2end" else _QUERY_FORM
        case.fail(f"expected the {said} head {form}, got {tensor_text(tensor)}")
    if said == "end2end":
        return HeadShape("end2end", None, None)
    if case.card.head.type is None and case.exporter.kind == "ultralytics":
        _check_queries(case, tensor, columns)
    return HeadShape("detr", columns - 4 if isinstance(columns, int) else case.names_count(), None)


def _check_queries(case: Case, tensor: TensorInfo, columns: Dim) -> None:
    """Older Ultralytics exported RT-DETR as (queries, 4 + classes); 8.4 selects inside the network."""
    names = case.names_count()
    if names is not None and columns == names + 4 and columns != 6:
        return
    case.fail(
        f"{tensor_text(tensor)} is an RT-DETR head. Ultralytics exported it as {_QUERY_FORM}, and in newer versions as "
        "(queries, 6) with centre x, centre y, width, height, score, class, which boxmill does not decode; "
        + (
            "use a version that gives the former"
            if columns == 6 and names != 2
            else "which one it is does not show: export it without dynamic=True, or say head: {type: detr} in a model "
            "card if it is the former"
        )
    )


def _rows_by_shape(case: Case, tensor: TensorInfo) -> HeadShape | None:
    """The same from the number of columns; None when they allow neither."""
    columns, names = case.grid_dims[1], case.names_count()
    queries = names is not None and columns == names + 4
    if columns != 6 and not queries:
        return None
    found: HeadType = "end2end" if columns == 6 else "detr"
    if case.exporter.kind == "ultralytics" and not (columns == 6 and queries):
        case.ledger.note("head.type", found, "metadata", f"the output is {tensor_text(tensor)}")
    else:
        other = f", or detr, {_QUERY_FORM}" if columns == 6 else ""
        case.ledger.guess("head.type", found, f"{found}, {_CHOSEN_FORM if columns == 6 else _QUERY_FORM}{other}")
    return _rows(case, found, tensor)
