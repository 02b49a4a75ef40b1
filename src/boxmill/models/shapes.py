"""What the shapes of a network's output say: type of head, number of classes, number of anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boxmill.models.onnx_metadata import Dim
from boxmill.types import HeadType

__all__ = ["STRIDE_SETS", "HeadShape", "anchor_count", "anchors_per_cell", "match_heads", "read_dims", "square_side"]

# The usual three levels; with a fourth coarse one ("P6" models); with a fourth fine one ("P2" models).
STRIDE_SETS: tuple[tuple[int, ...], ...] = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))

_HEADS: tuple[tuple[HeadType, int], ...] = (("yolo", 1), ("yolov5", 3), ("yolox", 1))  # anchors a cell


@dataclass(frozen=True, slots=True)
class HeadShape:
    """One way to read the output's two last dims."""

    type: HeadType
    classes: int | None  # None: neither the shape nor any names tell
    anchors: int | None  # None: the network leaves it open
    strides: tuple[int, ...]


def anchor_count(size: tuple[int, int], strides: Sequence[int]) -> int:
    """Cells of all levels at `size` (height, width): a level has ceil(side / stride) cells a side."""
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def anchors_per_cell(anchors: int, size: tuple[int, int], strides: Sequence[int]) -> int | None:
    """1 or 3, whichever makes `anchors` fit these strides at `size`; None when neither does."""
    cells = anchor_count(size, strides)
    return next((per_cell for per_cell in (1, 3) if anchors == per_cell * cells), None)


def match_heads(
    dims: tuple[Dim, Dim], size: tuple[int, int], classes: int | None, stride_sets: Sequence[tuple[int, ...]]
) -> list[HeadShape]:
    """Every type of head that the two last dims of an output allow, each with the first strides that fit.

    Args:
        dims: (4 + C, A) of a yolo head, (A, 5 + C) of yolov5 and yolox; symbolic ones allow everything.
        size: height and width of the network's input, in pixels.
        classes: the number of classes where names tell; without it a symbolic channel dim matches nothing.
        stride_sets: strides to try, most likely first.
    """
    found: dict[HeadType, HeadShape] = {}
    for strides in stride_sets:
        for head, per_cell in _HEADS:
            shape = read_dims(head, dims, classes, strides)
            expected = per_cell * anchor_count(size, strides)
            fits = shape.anchors in (None, expected)
            named = shape.classes is not None and shape.classes >= 1 and classes in (None, shape.classes)
            if fits and named:
                found.setdefault(head, shape)
    return list(found.values())


def read_dims(head: HeadType, dims: tuple[Dim, Dim], classes: int | None, strides: tuple[int, ...]) -> HeadShape:
    """The dims as those of one type of head, whether they make sense or not; `classes` where the dim is symbolic."""
    channels, anchors = dims if head == "yolo" else dims[::-1]
    if isinstance(channels, int):
        classes = channels - (4 if head == "yolo" else 5)
    return HeadShape(head, classes, anchors if isinstance(anchors, int) else None, strides)


def square_side(dims: tuple[Dim, Dim], strides: Sequence[int]) -> int | None:
    """The side of the square input whose anchors are the larger of the fixed dims; None: there is no such side.

    Sides are multiples of the largest stride from 160 to 4096. Below 160 the counts meet those of channels: 64x64 has
    84 anchors, and 84 = 4 + 80 classes.
    """
    anchors = max((dim for dim in dims if isinstance(dim, int)), default=0)
    step = max(strides)
    sides = range(-(-160 // step) * step, 4097, step)
    return next((side for side in sides if anchors_per_cell(anchors, (side, side), strides)), None)
