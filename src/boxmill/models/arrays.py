"""Heads of several arrays: which of the network's outputs is which (triple, detr, nanodet).

An order that the card gives is checked and kept. Otherwise the shapes tell it, and what they leave open is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from boxmill.models.case import Case, tensor_list
from boxmill.models.grid import stride_sets
from boxmill.models.ledger import shown
from boxmill.models.onnx_metadata import Dim, TensorInfo
from boxmill.models.shapes import STRIDE_SETS, HeadShape, anchor_count
from boxmill.types import HeadType

__all__ = ["several_outputs"]

_FLOATS = frozenset({"float32", "float16", "float64", "bfloat16", "undefined"})
_WHOLE = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
_FORMS: Mapping[str, str] = {
    "triple": "boxes (…, 4), scores (…) and labels (…)",
    "detr": "class logits (queries, classes) and boxes (queries, 4)",
    "nanodet": "for each stride class scores (cells, classes), then for each stride distances (cells, 4 * bins)",
}


def several_outputs(case: Case, said: HeadType | None, size: tuple[int, int]) -> HeadShape:
    """The head that several outputs make up; its order of outputs is noted or asked for in the ledger.

    Args:
        case: the evidence, with at least two outputs.
        said: the type of head that card or metadata name.
        size: height and width of the network's input, in pixels.

    Raises:
        ModelError: the outputs make up no such head.
    """
    if said is not None and said not in _FORMS:
        case.fail(
            f"a {said} head is one output, the network has {len(case.outputs)}: {tensor_list(case.outputs)}; name the "
            "right one in the model card, such as head: {outputs: " + shown((case.outputs[0].name,)) + "}"
        )
    finders = _FINDERS if said is None else {said: _FINDERS[said]}
    found = [shape for find in finders.values() if (shape := find(case, size)) is not None]
    if len(found) == 1:
        if said is None:
            _note_type(case, found[0])
        return found[0]
    if said is not None:
        case.fail(
            f"expected the outputs of a {said} head, {_FORMS[said]}, got {tensor_list(case.outputs)}; name them in "
            "this order in the model card under head.outputs, or correct head.type"
        )
    first = case.outputs[0].name
    case.fail(
        f"expected one output, the network has {len(case.outputs)}: {tensor_list(case.outputs)}; name the one that "
        f"holds the boxes in a model card {case.weights.name}.yaml, for example\nversion: 1\n"
        f"head: {{outputs: [{first!r}]}}\nor, of a head with several outputs, its type and all of them in order: "
        + "; ".join(f"{head}: {form}" for head, form in _FORMS.items())
    )


def _note_type(case: Case, shape: HeadShape) -> None:
    if shape.type == "detr":  # an SSD's anchors look the same
        question = "detr when boxes come out decoded, as a transformer's queries do; nothing else is supported"
        case.ledger.guess("head.type", shape.type, question)
    else:
        case.ledger.note("head.type", shape.type, "shapes", f"the outputs are {tensor_list(case.outputs)}")


def _order(case: Case, outputs: Sequence[TensorInfo], question: str | None) -> tuple[str, ...]:
    names = tuple(tensor.name for tensor in outputs)
    if case.card.head.outputs:
        case.ledger.note("head.outputs", names, "card")
    elif question is None:
        case.ledger.note("head.outputs", names, "shapes")
    else:
        case.ledger.guess("head.outputs", names, question)
    return names


def _triple(case: Case, size: tuple[int, int]) -> HeadShape | None:
    """Boxes, scores and labels that torchvision's detectors and exported selections give; more outputs do no harm."""
    outputs, ordered = case.outputs, bool(case.card.head.outputs)
    boxes = outputs[0] if ordered else _only([one for one in outputs if _has_four(one)])
    if boxes is None or boxes.dims is None or not _has_four(boxes) or (ordered and len(outputs) != 3):
        return None
    lead = boxes.dims[:-1]
    others = [one for one in outputs if one is not boxes and _numbers(one) and _same(one.dims, lead)]
    if len(others) > 2:
        others = [one for one in others if one.dims == lead]
    if len(others) != 2:
        return None
    if ordered:
        scores, labels, question = others[0], others[1], None
        if scores.element in _WHOLE:
            case.fail(f"head.outputs of a triple head: expected {_FORMS['triple']}, got {tensor_list(outputs)}")
    else:
        scores, labels, question = _scores_first(others[0], others[1])
    return HeadShape("triple", None, None, outputs=_order(case, (boxes, scores, labels), question))


def _scores_first(one: TensorInfo, other: TensorInfo) -> tuple[TensorInfo, TensorInfo, str | None]:
    """Scores and labels, and what to ask where whole numbers do not tell them apart."""
    if (one.element in _WHOLE) != (other.element in _WHOLE):
        return (other, one, None) if one.element in _WHOLE else (one, other, None)
    swap = "score" in other.name.lower() or "label" in one.name.lower() or "class" in one.name.lower()
    scores, labels = (other, one) if swap else (one, other)
    return scores, labels, "boxes, scores, labels in this order"


def _detr(case: Case, size: tuple[int, int]) -> HeadShape | None:
    """Class logits and boxes of a transformer's queries; with more outputs only those that the card names."""
    outputs, question = case.outputs, None
    if len(outputs) != 2 or not all(_grid_like(one) for one in outputs):
        return None
    logits, boxes = outputs
    if not case.card.head.outputs:
        if _has_four(logits) and _has_four(boxes):
            question = "class logits, then boxes"
        if "box" in logits.name.lower() if question else _has_four(logits):
            logits, boxes = boxes, logits
    if (
        not _has_four(boxes)
        or logits.dims is None
        or boxes.dims is None
        or not _same(logits.dims[:-1], boxes.dims[:-1])
    ):
        return None
    names, columns = case.names_count(), logits.dims[-1]
    shape = HeadShape("detr", columns if isinstance(columns, int) else names, None)
    shape = replace(shape, outputs=_order(case, (logits, boxes), question))
    if case.card.head.activation == "softmax" or (case.card.head.activation is None and _no_object(columns, names)):
        return replace(shape, classes=_width(logits) - 1, activation="softmax")
    return shape


def _no_object(columns: Dim, names: int | None) -> bool:
    """Whether there is a column more than names: the "no object" of a softmax."""
    return isinstance(columns, int) and names is not None and columns == names + 1


def _nanodet(case: Case, size: tuple[int, int]) -> HeadShape | None:
    """Two maps for each stride, (cells, classes) and (cells, 4 * bins), with or without a leading batch."""
    outputs = case.outputs
    half = len(outputs) // 2
    if len(outputs) % 2 or not all(_grid_like(one) for one in outputs):
        return None
    widths = sorted({_width(one) for one in outputs})
    if case.card.head.outputs:
        classes, sides = list(outputs[:half]), list(outputs[half:])
    else:
        distribution = _distribution_width(case, widths)
        if distribution is None:
            return None
        classes = [one for one in outputs if _width(one) != distribution]
        sides = [one for one in outputs if _width(one) == distribution]
    if len({*map(_width, classes)}) != 1 or len({*map(_width, sides)}) != 1 or len(classes) != len(sides):
        return None
    bins, extra = divmod(_width(sides[0]), 4)
    if extra or bins < 2 or case.card.head.bins not in (None, bins):
        return None
    return _with_strides(case, classes, sides, HeadShape("nanodet", _width(classes[0]), None, bins=bins), size)


def _with_strides(
    case: Case, classes: list[TensorInfo], sides: list[TensorInfo], shape: HeadShape, size: tuple[int, int]
) -> HeadShape | None:
    cells = [(_cells(one), _cells(two)) for one, two in zip(classes, sides, strict=True)]
    known = all(isinstance(count, int) for pair in cells for count in pair)
    sets = [strides for strides in (*stride_sets(case), *STRIDE_SETS) if len(strides) == len(classes)]
    if case.card.head.strides:
        sets = [case.card.head.strides] if len(case.card.head.strides) == len(classes) else []
    for strides in sets:
        expected = [anchor_count(size, (stride,)) for stride in strides]
        first, second = ([_at(group, count) for count in expected] for group in (classes, sides))
        if known and None not in (*first, *second):
            ordered = [*filter(None, first), *filter(None, second)]
            if case.card.head.outputs and ordered != [*classes, *sides]:
                return None
            _ask_bins(case, shape)
            return replace(shape, anchors=sum(expected), strides=strides, outputs=_order(case, ordered, None))
    if known or not sets:
        return None
    _ask_bins(case, shape)
    outputs = _order(case, [*classes, *sides], f"{_FORMS['nanodet']}; strides {shown(sets[0])}")
    return replace(shape, strides=sets[0], outputs=outputs)


def _distribution_width(case: Case, widths: Sequence[int]) -> int | None:
    """The columns of the distances: those that are not as many as classes, else those of the usual 8 bins."""
    if len(widths) != 2:
        return None
    if case.card.head.bins:
        return 4 * case.card.head.bins if 4 * case.card.head.bins in widths else None
    names = case.names_count()
    if names in widths:
        return widths[1 - widths.index(names)]
    return 32 if 32 in widths else None


def _ask_bins(case: Case, shape: HeadShape) -> None:
    if case.card.head.bins or case.card.head.outputs or case.names_count() == shape.classes:
        case.ledger.note("head.bins", shape.bins, "card" if case.card.head.bins else "shapes")
    else:
        case.ledger.guess("head.bins", shape.bins, f"{shape.bins} when there are {shape.classes} classes")


def _grid_like(tensor: TensorInfo) -> bool:
    """(rows, columns) or (images, rows, columns) of floats, the columns known."""
    dims = tensor.dims
    return tensor.element in _FLOATS and dims is not None and len(dims) in (2, 3) and isinstance(dims[-1], int)


def _has_four(tensor: TensorInfo) -> bool:
    return _grid_like(tensor) and _width(tensor) == 4


def _numbers(tensor: TensorInfo) -> bool:
    return tensor.element in _FLOATS or tensor.element in _WHOLE


def _width(tensor: TensorInfo) -> int:
    last = tensor.dims[-1] if tensor.dims else None
    return last if isinstance(last, int) else 0


def _cells(tensor: TensorInfo) -> Dim:
    return tensor.dims[-2] if tensor.dims else None


def _at(group: Sequence[TensorInfo], cells: int) -> TensorInfo | None:
    return _only([one for one in group if _cells(one) == cells])


def _only(found: list[TensorInfo]) -> TensorInfo | None:
    return found[0] if len(found) == 1 else None


def _same(dims: tuple[Dim, ...] | None, other: tuple[Dim, ...]) -> bool:
    """Whether two shapes can be one: as many dims, and none that are known to differ."""
    if dims is None or len(dims) != len(other):
        return False
    return all(not (isinstance(a, int) and isinstance(b, int)) or a == b for a, b in zip(dims, other, strict=True))


_FINDERS: Mapping[str, Callable[[Case, tuple[int, int]], HeadShape | None]] = {
    "triple": _triple,
    "detr": _detr,
    "nanodet": _nanodet,
}
