"""What the shape of a head on a grid says: its type, its number of classes, its number of anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from boxmill.models.onnx_metadata import Dim
from boxmill.types import HeadType

__all__ = [
    "GRID_HEADS",
    "STRIDE_SETS",
    "HeadShape",
    "anchor_count",
    "anchors_per_cell",
    "match_heads",
    "read_dims",
    "square_side",
]

# The usual three levels; with a fourth coarse one ("P6" models); with a fourth fine one ("P2" models).
STRIDE_SETS: tuple[tuple[int, ...], ...] = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))

GRID_HEADS: tuple[HeadType, ...] = ("yolo", "yolov5", "yolox", "nanodet")

_HEADS: tuple[tuple[HeadType, int], ...] = (("yolo", 1), ("yolov5", 3), ("yolox", 1), ("nanodet", 1))  # anchors a cell


@dataclass(frozen=True, slots=True)
class HeadShape:
    """One way to read the network's outputs."""

    type: HeadType
    classes: int | None  # None: neither the shape nor any names tell
    anchors: int | None  # None: the network leaves it open, or its head has none
    strides: tuple[int, ...] = ()  # of a head on a grid
    bins: int = 8
    outputs: tuple[str, ...] = ()  # in the order of HeadSpec
    activation: Literal["sigmoid", "softmax"] | None = None  # where the shape tells

    @property
    def on_grid(self) -> bool:
        """Whether every cell of the image has its anchors; otherwise the head's shape says nothing of the input's."""
        return self.type in GRID_HEADS


def anchor_count(size: tuple[int, int], strides: Sequence[int]) -> int:
    """Cells of all levels at `size` (height, width): a level has ceil(side / stride) cells a side."""
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def anchors_per_cell(anchors: int, size: tuple[int, int], strides: Sequence[int]) -> int | None:
    """1 or 3, whichever makes `anchors` fit these strides at `size`; None when neither does."""
    cells = anchor_count(size, strides)
    return next((per_cell for per_cell in (1, 3) if anchors == per_cell * cells), None)


def match_heads(
    dims: tuple[Dim, Dim],
    size: tuple[int, int],
    classes: int | None,
    stride_sets: Sequence[tuple[int, ...]],
    bins: int = 8,
) -> list[HeadShape]:
    """Every type of head that the two last dims of an output allow, each with the first strides that fit.

    Args:
        dims: (4 + C, A) of a yolo head, (A, 5 + C) of yolov5 and yolox, (A, C + 4 * bins) of a nanodet head whose
            number of classes is known; symbolic ones allow everything.
        size: height and width of the network's input, in pixels.
        classes: the number of classes where names tell; without it a symbolic channel dim matches nothing.
        stride_sets: strides to try, most likely first.
        bins: of one side's distribution in a nanodet head.
    """
    found: dict[HeadType, HeadShape] = {}
    for strides in stride_sets:
        for head, per_cell in _HEADS:
            if head == "nanodet" and (classes is None or not isinstance(dims[1], int)):
                continue  # every yolox head might be one
            shape = read_dims(head, dims, classes, strides, bins)
            expected = per_cell * anchor_count(size, strides)
            fits = shape.anchors in (None, expected)
            named = shape.classes is not None and shape.classes >= 1 and classes in (None, shape.classes)
            if fits and named:
                found.setdefault(head, shape)
    return list(found.values())


def read_dims(
    head: HeadType, dims: tuple[Dim, Dim], classes: int | None, strides: tuple[int, ...], bins: int = 8
) -> HeadShape:
    """The dims as those of one type of head, whether they make sense or not; `classes` where the dim is symbolic."""
    channels, anchors = dims if head == "yolo" else dims[::-1]
    if isinstance(channels, int):
        classes = channels - {"yolo": 4, "nanodet": 4 * bins}.get(head, 5)
    return HeadShape(head, classes, anchors if isinstance(anchors, int) else None, strides, bins)


def square_side(dims: tuple[Dim, Dim], strides: Sequence[int]) -> int | None:
    """The side of the square input whose anchors are the larger of the fixed dims; None: there is no such side.

    Sides are multiples of the largest stride from 160 to 4096. Below 160 the counts meet those of channels: 64x64 has
    84 anchors, and 84 = 4 + 80 classes.
    """
    anchors = max((dim for dim in dims if isinstance(dim, int)), default=0)
    step = max(strides)
    sides = range(-(-160 // step) * step, 4097, step)
    return next((side for side in sides if anchors_per_cell(anchors, (side, side), strides)), None)
