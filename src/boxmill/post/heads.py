"""How each head's raw arrays are laid out: checked, and cut into what the native core reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.errors import UsageError
from boxmill.types import HeadSpec, Int32

__all__ = ["LEVELS", "MOST", "Floats", "Levels", "as_list", "batch_of", "check_head", "class_ids", "plain"]

MOST = 2**31 - 65  # anchors, classes or pixels, all counted in 32 bits
Floats = npt.NDArray[np.floating[Any]]  # float32 or float16
_Array = npt.NDArray[Any]
_LARGEST_CLASS = 2**31 - 1
_SKIPPED_ROW, _NO_CLASS = -1, -2  # as in native/api.hpp

_ACTIVATIONS = {
    "yolo": ("none", "sigmoid"),
    "yolov5": ("none", "sigmoid"),
    "yolox": ("none", "sigmoid"),
    "nanodet": ("none", "sigmoid"),
    "detr": ("none", "sigmoid", "softmax"),
    "end2end": ("none",),
    "triple": ("none",),
}


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """A batch of a head whose class values and boxes lie apart, perhaps in several arrays of anchors each."""

    # class values (B, A, .), first column; boxes (B, A, .), first column; all float32 or all float16, contiguous
    arrays: list[tuple[Floats, int, Floats, int]]
    classes: int  # 1 where `labels` are given
    labels: _Array | None = None  # (B, K) where the network chose the classes


def check_head(head: HeadSpec) -> None:
    """Refuse a head that cannot be decoded. Raises UsageError."""
    if head.type == "classes":
        raise UsageError("head type classes is a tagger's, which has no boxes; use boxmill.post.Tagger")
    if head.type not in _ACTIVATIONS:
        raise UsageError(f"head type must be one of {', '.join(_ACTIVATIONS)}, got {head.type!r}")
    if head.boxes not in ("pixels", "normalized"):
        raise UsageError(f"head boxes must be pixels or normalized, got {head.boxes!r}")
    allowed = _ACTIVATIONS[head.type]
    if head.activation not in allowed:
        raise UsageError(f"activation of a {head.type} head must be {' or '.join(allowed)}, got {head.activation!r}")
    if head.type in ("yolox", "nanodet"):
        _check_grid(head)


def _check_grid(head: HeadSpec) -> None:
    if head.boxes == "normalized":
        raise UsageError(f"a {head.type} head is decoded with its strides, always to pixels; set boxes: pixels")
    if not head.strides or not all(1 <= stride <= MOST for stride in head.strides):
        raise UsageError(f"a {head.type} head needs strides of 1 or more, one for each level, got {head.strides}")
    if head.type == "nanodet" and not 2 <= head.bins <= 2**16:
        raise UsageError(f"the bins of a nanodet head are 2 or more values for each side of a box, got {head.bins}")
    if head.type == "nanodet" and head.origin not in ("centre", "corner"):
        raise UsageError(f"head origin must be centre or corner, got {head.origin!r}")


def as_list(raw: _Array | Sequence[_Array]) -> Sequence[_Array]:
    """The arrays of a head. Raises UsageError where there is something else among them."""
    arrays = raw if isinstance(raw, list | tuple) else (raw,)
    for array in arrays:
        if not isinstance(array, np.ndarray):
            raise UsageError(
                f"the raw head must be a numpy array, got {type(array).__name__}; convert it with numpy.asarray"
            )
    return arrays


def batch_of(name: str, array: _Array, form: str) -> Floats:
    """(B, P, Q) float32 or float16, of an array with or without B, as it lies; `form` says what P and Q should be."""
    _check_floats(name, array)
    if array.ndim not in (2, 3):
        raise UsageError(f"{name} must have shape (images, {form}) or ({form}), got {array.shape}")
    return array if array.ndim == 3 else array[None]


def plain(*arrays: Floats) -> list[Floats]:
    """The arrays contiguous, aligned and of one dtype: float32, unless all are float16."""
    dtype = np.float16 if all(array.dtype == np.float16 for array in arrays) else np.float32
    return [np.require(array, dtype, ["C", "A"]) for array in arrays]


def _check_floats(name: str, array: _Array) -> None:
    if array.dtype not in (np.float32, np.float16):
        raise UsageError(
            f"{name} must be float32 (or float16, which converts exactly), got {array.dtype}; "
            "round it yourself: raw.astype(numpy.float32)"
        )


def _nanodet(raw: Sequence[_Array], head: HeadSpec, network: tuple[int, int]) -> Levels:
    """Class maps of all levels, then their distributions; or one array with both side by side."""
    sides = 4 * head.bins
    cells = [-(-network[0] // stride) * -(-network[1] // stride) for stride in head.strides]
    if len(raw) == 1:
        (rows,) = plain(batch_of("the nanodet head", raw[0], f"anchors, classes + {sides}"))
        _check_columns("nanodet", rows, sides + 1, f"{sides} of 4 x {head.bins} bins and at least 1 class")
        _check_anchors(head, network, sum(cells), rows)
        classes = rows.shape[2] - sides
        return Levels([(rows, 0, rows, classes)], classes)
    if len(raw) != 2 * len(cells):
        raise UsageError(
            f"a nanodet head of {len(cells)} strides is 1 array, or {2 * len(cells)}: the class maps of all levels, "
            f"then their distributions; got {len(raw)} arrays; name the right ones in head.outputs, or correct strides"
        )
    maps = plain(
        *(batch_of("a class map", array, "anchors, classes") for array in raw[: len(cells)]),
        *(batch_of("a distribution map", array, f"anchors, {sides}") for array in raw[len(cells) :]),
    )
    values, boxes = maps[: len(cells)], maps[len(cells) :]
    classes = values[0].shape[2]
    for level, (scores, distances, count) in enumerate(zip(values, boxes, cells, strict=True)):
        wanted = [(len(values[0]), count, max(1, classes)), (len(values[0]), count, sides)]
        if [scores.shape, distances.shape] != wanted:
            raise UsageError(
                f"at network size {network[0]}x{network[1]} the maps of stride {head.strides[level]} must have shapes "
                f"{wanted[0]} and {wanted[1]}, got {scores.shape} and {distances.shape}; "
                "correct head.strides, head.bins or head.outputs"
            )
    return Levels([(scores, 0, distances, 0) for scores, distances in zip(values, boxes, strict=True)], classes)


def _check_anchors(head: HeadSpec, network: tuple[int, int], anchors: int, rows: Floats) -> None:
    if rows.shape[1] != anchors:
        raise UsageError(
            f"strides {head.strides} give {anchors} anchors at network size {network[0]}x{network[1]}, "
            f"but the head has {rows.shape[1]}; correct the strides or the size"
        )


def _check_columns(name: str, rows: Floats, least: int, what: str) -> None:
    if rows.shape[2] < least:
        raise UsageError(f"a {name} head has at least {least} columns ({what}), got shape {rows.shape}")


def _detr(raw: Sequence[_Array], head: HeadSpec, network: tuple[int, int]) -> Levels:
    """Class values and boxes; or one array, boxes first."""
    other = int(head.activation == "softmax")  # "no object"
    if len(raw) == 1:
        (rows,) = plain(batch_of("the detr head", raw[0], "queries, 4 + classes"))
        _check_columns("detr", rows, 5 + other, f"4 box, then {'classes and no object' if other else 'classes'}")
        return Levels([(rows, 4, rows, 0)], rows.shape[2] - 4 - other)
    if len(raw) != 2:
        raise UsageError(f"a detr head is class values and boxes, or one array with both; got {len(raw)} arrays")
    values, boxes = plain(batch_of("class values", raw[0], "queries, classes"), batch_of("boxes", raw[1], "queries, 4"))
    if boxes.shape[2] != 4 or values.shape[:2] != boxes.shape[:2]:
        raise UsageError(
            "a detr head is class values (images, queries, classes), then boxes (images, queries, 4), "
            f"got {values.shape} and {boxes.shape}; name them in this order in head.outputs"
        )
    _check_columns("detr", values, 1 + other, "class values" + (" and no object" if other else ""))
    return Levels([(values, 0, boxes, 0)], values.shape[2] - other)


def _end2end(raw: Sequence[_Array], head: HeadSpec, network: tuple[int, int]) -> Levels:
    """(B, K, 6)."""
    if len(raw) != 1:
        raise UsageError(f"an end2end head is one array, got {len(raw)}; name the right one in head.outputs")
    (rows,) = plain(batch_of("the end2end head", raw[0], "rows, 6"))
    if rows.shape[2] != 6:
        raise UsageError(f"an end2end head has 6 columns (x1, y1, x2, y2, score, class), got shape {rows.shape}")
    return Levels([(rows, 4, rows, 0)], 1, rows[:, :, 5])


def _triple(raw: Sequence[_Array], head: HeadSpec, network: tuple[int, int]) -> Levels:
    """Boxes, scores, labels."""
    if len(raw) != 3:
        raise UsageError(f"a triple head is boxes, scores and labels, got {len(raw)} arrays; name them in head.outputs")
    scores, labels = raw[1], raw[2]
    _check_floats("scores", scores)
    boxes, scores = plain(batch_of("boxes", raw[0], "rows, 4"), scores)
    if labels.dtype.kind not in "iuf":
        raise UsageError(f"labels must be integers or floats, got {labels.dtype}")
    if scores.ndim == 1:
        scores = scores[None]
    if labels.ndim == 1:
        labels = labels[None]
    if boxes.shape[2] != 4 or scores.shape != boxes.shape[:2] or labels.shape != boxes.shape[:2]:
        raise UsageError(
            "a triple head is boxes (images, rows, 4), scores (images, rows) and labels (images, rows), or one image "
            f"without the first axis; got {raw[0].shape}, {raw[1].shape} and {raw[2].shape}; "
            "name them in this order in head.outputs"
        )
    return Levels([(scores[:, :, None], 0, boxes, 0)], 1, labels)


def class_ids(labels: _Array, wanted: tuple[int, ...] | None) -> Int32:
    """(B, K) labels of any integer or float dtype as the native core takes them.

    The nearest whole number, halves to the even one. -1: the row is not looked at, for its label is negative, which
    marks rows that the network does not use, or not among `wanted`. -2: NaN, or more than int32 holds.
    """
    if labels.dtype.kind == "f":
        whole: _Array = np.rint(labels.astype(np.float64))
    elif labels.dtype.kind == "u":
        whole = np.minimum(labels.astype(np.uint64), _LARGEST_CLASS + 1).astype(np.int64)
    else:
        whole = labels.astype(np.int64)
    usable = whole <= _LARGEST_CLASS
    skipped = whole < 0
    if wanted is not None:
        skipped |= usable & ~np.isin(whole, [label for label in wanted if label <= _LARGEST_CLASS])
    return np.where(skipped, _SKIPPED_ROW, np.where(usable, whole, _NO_CLASS)).astype(np.int32, order="C")


LEVELS: Mapping[str, Callable[[Sequence[_Array], HeadSpec, tuple[int, int]], Levels]] = {
    "nanodet": _nanodet,
    "detr": _detr,
    "end2end": _end2end,
    "triple": _triple,
}
