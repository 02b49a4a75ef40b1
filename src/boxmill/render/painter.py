"""One image's objects drawn on its pixels: lines first, the best on top, then the labels that find room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boxmill.render.colors import class_color, text_color
from boxmill.render.layout import Placer, Sizes, sizes, visible_boxes
from boxmill.render.lettering import Lettering, Written
from boxmill.types import Detections, UInt8

__all__ = ["Painter", "draw"]


def draw(pixels: UInt8, detections: Detections, names: Sequence[str]) -> UInt8:
    """Draws the objects of one image; for many images, `Painter(names).draw` looks at the names once.

    Args:
        pixels: (H, W, 3) uint8, RGB; not changed.
        detections: boxes in these pixels, best first. What lies outside or has a NaN is not drawn.
        names: by class id. One whose characters no font has is replaced: COCO's Chinese names by the English ones,
            others by "class 7".

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: pixels of another shape or type.
    """
    return Painter(names).draw(pixels, detections)


class Painter:
    """Draws images of one set of classes; usable from several threads at once."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` by class id, see `draw`."""
        self._lettering = Lettering(names)

    def draw(self, pixels: UInt8, detections: Detections) -> UInt8:
        """The objects of one image on a copy of its pixels; see the function `draw`."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ValueError(f"expected an (H, W, 3) uint8 array, got {pixels.dtype} of {pixels.shape}")
        image = pixels.copy()
        height, width = image.shape[:2]
        boxes, which = visible_boxes(detections.boxes, height, width)  # (M, 4), (M,)
        chosen = sizes(height, width, boxes)
        classes = detections.classes[which].tolist()
        for box, class_id in zip(boxes[::-1].tolist(), classes[::-1], strict=True):
            _outline(image, box, chosen.line, class_color(class_id))
        placer = Placer(height, width, boxes)
        for index, (class_id, score) in enumerate(zip(classes, detections.scores[which].tolist(), strict=True)):
            self._label(image, placer, index, (class_id, score, chosen))
        return image

    def _label(self, image: UInt8, placer: Placer, index: int, what: tuple[int, float, Sizes]) -> None:
        """Writes the label of box `index` where and as large as there is room: at last, without its score."""
        class_id, score, chosen = what
        full = self._lettering.label(class_id, score)
        tries = [(full, chosen.font), (full, chosen.small), (self._lettering.label(class_id, None), chosen.small)]
        for written, size in dict.fromkeys(tries):
            margin = max(2, size // 5)
            extent = (written.extent(size) + 2 * margin, round(1.35 * size))
            place = placer.place(index, extent)
            if place is not None:
                _tag(image, written, (*place, *extent), (size, margin, class_id))
                return


def _tag(image: UInt8, written: Written, area: tuple[int, int, int, int], how: tuple[int, int, int]) -> None:
    left, top, wide, high = area
    size, margin, class_id = how
    color = class_color(class_id)
    image[top : top + high, left : left + wide] = color
    # the lowest letters reach a quarter of the size below the baseline, accented capitals a whole size above
    written.put(image, (left + margin, top + round(1.03 * size)), size, text_color(color))


def _outline(image: UInt8, box: Sequence[int], line: int, color: tuple[int, int, int]) -> None:
    """Four bars within the box, which keep a third of a small one free."""
    left, top, right, bottom = box
    line = min(line, max(1, min(right - left, bottom - top) // 3))
    image[top : top + line, left:right] = color
    image[bottom - line : bottom, left:right] = color
    image[top:bottom, left : left + line] = color
    image[top:bottom, right - line : right] = color
