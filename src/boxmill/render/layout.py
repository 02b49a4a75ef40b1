"""How large lines and letters are, and where each label goes. Pure numpy; every unit is pixels.

A label goes where it hides no label, and no more than half of any other box. Tried in turn: above its box, below it,
inside it, beside it; that is what makes it clear whose label it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Placer", "Sizes", "sizes", "visible_boxes"]

Int = npt.NDArray[np.int64]

_SMALLEST, _LARGEST = 11, 120  # font sizes; smaller than 11 no Chinese character is legible
_SHARE = 0.15  # of the picture that labels may take
_LABEL = 6.75  # area of a usual label in squares of the font size
_HIDDEN = 0.5  # share of another box that a label may cover
_OWN = 0.4  # share of its own box that a label inside may cover


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one picture is drawn with."""

    font: int  # height of a Chinese character
    small: int  # for labels that find no room otherwise
    line: int  # width of a box's line


def sizes(height: int, width: int, boxes: Int) -> Sizes:
    """Sizes for a picture of `height` x `width` with `boxes` (N, 4).

    Letters grow with the picture (13 at 640 x 480, 27 at 1920 x 1080, 45 at 3840 x 2160), more slowly than it does, so
    that it can be looked at both whole and in detail. So that the labels of a crowd do not hide it, letters shrink
    until all labels together would take about a seventh of the picture, and to two fifths of the middle object's size.
    """
    side = min(float(np.sqrt(height * width)), 3.0 * min(height, width))
    font = 0.115 * side**0.75
    if len(boxes):
        spans = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)  # (N, 2)
        font = min(font, float(np.sqrt(_SHARE * height * width / (_LABEL * len(boxes)))))
        font = min(font, max(font / 2, 0.4 * float(np.median(np.sqrt(spans.prod(axis=1))))))
    chosen = int(np.clip(round(font), _SMALLEST, _LARGEST))
    return Sizes(chosen, max(_SMALLEST, round(0.75 * chosen)), max(1, round(chosen / 8)))


def visible_boxes(boxes: npt.NDArray[np.floating], height: int, width: int) -> tuple[Int, Int]:
    """The boxes that can be seen, (M, 4) whole pixels, and which they are, (M,).

    x1, y1, x2, y2 become the first and one past the last pixel that the box touches. Left out is what has a NaN, lies
    outside or is turned inside out; a line or a point inside takes one pixel.
    """
    known = ~np.isnan(boxes).any(axis=1)  # (N,)
    x1, y1, x2, y2 = np.where(known[:, None], boxes, -1).astype(np.float64).T
    known &= (x1 <= x2) & (y1 <= y2) & (x1 < width) & (y1 < height) & (x2 >= 0) & (y2 >= 0)
    left, top = np.clip(np.floor(x1), 0, width - 1), np.clip(np.floor(y1), 0, height - 1)
    right, bottom = np.clip(np.ceil(x2), left + 1, width), np.clip(np.ceil(y2), top + 1, height)
    which = np.flatnonzero(known)
    return np.stack([left, top, right, bottom], axis=1)[which].astype(np.int64), which


class Placer:
    """Finds room for one label after another; the first comes first."""

    def __init__(self, height: int, width: int, boxes: Int) -> None:
        """`boxes` (N, 4): all that are drawn, in whole pixels inside the picture."""
        self._height, self._width = height, width
        self._boxes = np.ascontiguousarray(boxes.T)  # (4, N)
        self._labels = np.empty_like(self._boxes)
        self._count = 0

    def place(self, index: int, extent: tuple[int, int]) -> tuple[int, int] | None:
        """Left and top for a label of `extent` (width, height) at box `index`, which is then taken; None: no room."""
        places = self._places(self._boxes[:, index].tolist(), extent)  # (4, P)
        labels = _near(self._labels[:, : self._count], places)  # (4, L)
        places = places[:, ~(_shared(places, labels) > 0).any(axis=1)]
        if places.shape[1] == 0:
            return None
        boxes = _near(np.delete(self._boxes, index, axis=1), places)  # (4, K)
        areas = (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])  # (K,)
        room = (_shared(places, boxes) <= _HIDDEN * areas).all(axis=1)  # (P,)
        if not room.any():
            return None
        best = places[:, np.argmax(room)]
        self._labels[:, self._count] = best
        self._count += 1
        return int(best[0]), int(best[1])

    def _places(self, box: Sequence[int], extent: tuple[int, int]) -> Int:
        """(4, P) the rectangles inside the picture to try for a box, best first."""
        left, top, right, bottom = box
        wide, high = extent
        slid = max(0, min(left, self._width - wide))  # moved as far as the picture's edge wants it
        corners = [(slid, top - high), (right - wide, top - high), (slid, bottom), (right - wide, bottom)]
        fits = wide <= right - left and high <= bottom - top
        if fits and wide * high <= _OWN * (right - left) * (bottom - top):
            corners[2:2] = [(left, top), (right - wide, top), (left, bottom - high)]
        corners += [(right, top), (left - wide, top)]
        places = np.array([(x, y, x + wide, y + high) for x, y in corners], np.int64).T
        inside = (places[0] >= 0) & (places[1] >= 0) & (places[2] <= self._width) & (places[3] <= self._height)
        return places[:, inside]


def _near(rectangles: Int, places: Int) -> Int:
    """Of `rectangles` (4, M) those that touch the smallest rectangle around all `places` (4, P)."""
    if places.shape[1] == 0:
        return rectangles[:, :0]
    left, top, right, bottom = places[0].min(), places[1].min(), places[2].max(), places[3].max()
    x1, y1, x2, y2 = rectangles
    return rectangles[:, (x1 < right) & (y1 < bottom) & (x2 > left) & (y2 > top)]


def _shared(one: Int, other: Int) -> Int:
    """(P, M) pixels that rectangles (4, P) and (4, M) have in common."""
    width = np.minimum(one[2][:, None], other[2]) - np.maximum(one[0][:, None], other[0])  # (P, M)
    height = np.minimum(one[3][:, None], other[3]) - np.maximum(one[1][:, None], other[1])
    shared: Int = np.maximum(width, 0) * np.maximum(height, 0)
    return shared
