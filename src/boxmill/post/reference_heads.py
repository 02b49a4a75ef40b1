"""What each raw head says, decoded slowly and obviously; part of the definition in `reference.py`.

All arithmetic is float32, every operation rounded on its own, except exp, which is computed in double and rounded once
(with the division and sums that belong to it), so that every implementation agrees in practice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.types import Float32, HeadSpec

__all__ = ["DECODERS", "Decoded"]

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

_LARGEST_CLASS = 2**31 - 1  # classes are int32


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Every anchor of one image before any is dropped."""

    boxes: Float32  # (A, 4) x1, y1, x2, y2 in network pixels
    scores: Float32  # (A, C) final; (A, 1) where the network chose the class
    ranks: Float32  # (A, C) by these the best class of an anchor is found: scores, or the logits behind them
    objectness: Float32 | None = None  # (A,) final; None where the head has none
    chosen: tuple[int | None, ...] | None = None  # the class of each row where the network chose it; None: not a number


def decode_yolo(raw: Sequence[Array], head: HeadSpec, network: tuple[int, int]) -> Decoded:
    """(4 + C, A): cx, cy, w, h, then class scores. `network` is (height, width)."""
    (rows,) = raw
    boxes = _corners(_in_pixels(rows[:4].T, head, network))
    return Decoded(boxes, _activated(rows[4:].T, head), rows[4:].T)


def decode_yolov5(raw: Sequence[Array], head: HeadSpec, network: tuple[int, int]) -> Decoded:
    """(A, 5 + C): cx, cy, w, h, objectness, then class scores."""
    (rows,) = raw
    return _with_objectness(_corners(_in_pixels(rows[:, :4], head, network)), rows, head)


def decode_yolox(raw: Sequence[Array], head: HeadSpec, network: tuple[int, int]) -> Decoded:
    """(A, 5 + C) over grids: centre = (o + cell) * stride, size = exp(o) * stride (YOLOX, arXiv 2107.08430).

    Levels follow one another in the order of `head.strides`; each level's cells, height / stride x width / stride, are
    row-major.
    """
    (rows,) = raw
    grid = _grid([(network[0] // stride, network[1] // stride, stride) for stride in head.strides])  # (A, 3)
    centre = (rows[:, :2] + grid[:, :2]) * grid[:, 2:]  # (A, 2)
    size = np.exp(rows[:, 2:4].astype(np.float64)).astype(np.float32) * grid[:, 2:]  # (A, 2)
    return _with_objectness(_corners(np.concatenate([centre, size], axis=1)), rows, head)


def decode_nanodet(raw: Sequence[Array], head: HeadSpec, network: tuple[int, int]) -> Decoded:
    """Class scores (A, C), and for each side of the box a distribution over `bins` whole distances (arXiv 2006.04388).

    A side's distance is the expectation of the softmax of its `bins` values, times the stride; sides are left, top,
    right, bottom, measured from the cell's centre, (cell + 0.5) * stride, or from its corner, cell * stride. A level
    has ceil(height / stride) x ceil(width / stride) cells, row-major; levels are in the order of `head.strides`.
    Arrays: the classes of each level, then the distributions of each level; or one, (A, C + 4 * bins).
    """
    if len(raw) == 1:
        values, sides = np.split(raw[0], [raw[0].shape[1] - 4 * head.bins], axis=1)
    else:
        values, sides = (np.concatenate(maps) for maps in (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
    grid = _grid([(-(-network[0] // stride), -(-network[1] // stride), stride) for stride in head.strides])  # (A, 3)
    origin = np.float32(0.5 if head.origin == "centre" else 0)
    centre = (grid[:, :2] + origin) * grid[:, 2:]  # (A, 2)
    distances = _expectation(sides.reshape(len(values), 4, head.bins)) * grid[:, 2:]  # (A, 4)
    boxes = np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], axis=1)
    return Decoded(boxes, _activated(values, head), values)


def decode_detr(raw: Sequence[Array], head: HeadSpec, network: tuple[int, int]) -> Decoded:
    """Class values (Q, C) and boxes (Q, 4) cx, cy, w, h; or one array (Q, 4 + C), boxes first.

    With the softmax there is one more class value, the last: "no object", which is never a result (DETR, arXiv
    2005.12872). With the sigmoid there is none (Deformable DETR, arXiv 2010.04159).
    """
    values, sizes = (raw[0][:, 4:], raw[0][:, :4]) if len(raw) == 1 else (raw[0], raw[1])
    boxes = _corners(_in_pixels(sizes, head, network))
    if head.activation == "softmax":
        return Decoded(boxes, _softmax(values)[:, :-1], values[:, :-1])
    return Decoded(boxes, _activated(values, head), values)


def decode_end2end(raw: Sequence[Array], head: HeadSpec, network: tuple[int, int]) -> Decoded:
    """(K, 6): x1, y1, x2, y2, score, class."""
    (rows,) = raw
    return _selected(_in_pixels(rows[:, :4], head, network), rows[:, 4], rows[:, 5])


def decode_triple(raw: Sequence[Array], head: HeadSpec, network: tuple[int, int]) -> Decoded:
    """Boxes (K, 4) x1, y1, x2, y2, scores (K,), labels (K,) of any integer or float dtype."""
    boxes, scores, labels = raw
    return _selected(_in_pixels(boxes, head, network), scores, labels)


def _selected(boxes: Float32, scores: Float32, labels: Array) -> Decoded:
    """Rows whose class the network chose; a negative one marks a row that is not used."""
    return Decoded(boxes, scores[:, None], scores[:, None], chosen=tuple(_class_id(label.item()) for label in labels))


def _class_id(label: float) -> int | None:
    """The nearest whole number, halves to the even one; None for what is none, or is larger than int32 holds."""
    if label != label or label > _LARGEST_CLASS:
        return None
    return -1 if label < -1 else round(label)


def _with_objectness(boxes: Float32, rows: Float32, head: HeadSpec) -> Decoded:
    """Of (A, 5 + C) rows; without an activation the best class has the highest product."""
    objectness = _activated(rows[:, 4], head)  # (A,)
    scores = objectness[:, None] * _activated(rows[:, 5:], head)  # (A, C)
    return Decoded(boxes, scores, scores if head.activation == "none" else rows[:, 5:], objectness)


def _grid(levels: list[tuple[int, int, int]]) -> Float32:
    """(A, 3) x, y and stride of each cell of levels given as rows, columns, stride."""
    cells = [(x, y, stride) for rows, columns, stride in levels for y in range(rows) for x in range(columns)]
    return np.array(cells, np.float32).reshape(-1, 3)


def _activated(values: Float32, head: HeadSpec) -> Float32:
    """Scores of raw values; the sigmoid is 1 / (1 + exp(-x))."""
    if head.activation == "none":
        return values
    return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)


def _powers(values: Float32) -> tuple[Float64, Float64]:
    """exp(x - max) over the last axis, and their sum from left to right; an infinite or NaN maximum makes them NaN."""
    doubles = values.astype(np.float64)
    powers = np.exp(doubles - doubles.max(axis=-1, keepdims=True))
    return powers, np.cumsum(powers, axis=-1)[..., -1:]


def _softmax(values: Float32) -> Float32:
    """(Q, C + 1) of each row."""
    powers, total = _powers(values)
    return (powers / total).astype(np.float32)


def _expectation(values: Float32) -> Float32:
    """(A, 4, bins) -> (A, 4): the sum of i * exp(x_i - max) divided by the sum of exp(x_i - max)."""
    powers, total = _powers(values)
    moments = np.cumsum(np.arange(values.shape[-1]) * powers, axis=-1)[..., -1:]  # (A, 4, 1)
    return (moments / total).astype(np.float32)[..., 0]


def _corners(cxcywh: Float32) -> Float32:
    """(A, 4) centre x, centre y, width, height -> x1, y1, x2, y2 = centre -+ 0.5 * size."""
    centre, half = cxcywh[:, :2], np.float32(0.5) * cxcywh[:, 2:]  # (A, 2) each
    return np.concatenate([centre - half, centre + half], axis=1)


def _in_pixels(boxes: Float32, head: HeadSpec, network: tuple[int, int]) -> Float32:
    """(A, 4) x, y, x, y or x, y, width, height."""
    if head.boxes == "pixels":
        return boxes
    height, width = network
    return boxes * np.array([width, height, width, height], np.float32)


DECODERS: Mapping[str, Callable[[Sequence[Array], HeadSpec, tuple[int, int]], Decoded]] = {
    "yolo": decode_yolo,
    "yolov5": decode_yolov5,
    "yolox": decode_yolox,
    "nanodet": decode_nanodet,
    "detr": decode_detr,
    "end2end": decode_end2end,
    "triple": decode_triple,
}
