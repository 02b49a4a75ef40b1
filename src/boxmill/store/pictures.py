"""`--save-img`: each image with its objects drawn on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from boxmill.store.durable import FileTree
from boxmill.store.jpegs import MAX_SIDE, jpeg
from boxmill.store.views import seen
from boxmill.types import Detections, Frame, Outcome, UInt8

__all__ = ["Paint", "PictureFiles"]

Paint = Callable[[UInt8, Detections], UInt8]  # (H, W, 3) RGB, boxes in its pixels -> a picture of the same shape

_QUALITY = 90  # of the JPEG files; above it files grow faster than anybody sees


class PictureFiles:
    """Writes `images/<key>.jpg` for every image that has a result, without objects too; a failed one has no picture.

    Usable from several threads at once. Not made again by a resume: pixels are not in the journal.
    """

    def __init__(self, directory: str | os.PathLike[str], paint: Paint, conf: float | None) -> None:
        """`directory` is the run's; objects that score above `conf` are drawn, None: all."""
        self._tree = FileTree(os.path.join(directory, "images"))
        self._paint, self._conf = paint, conf

    def add(self, frame: Frame, outcome: Outcome) -> None:
        """Draws one image; see engine.Sink.

        Raises:
            OutputError: the file cannot be written.
        """
        found = seen(outcome, self._conf).result
        if not isinstance(found, Detections) or outcome.size is None:
            return
        pixels = _fitting(frame.pixels)
        height, width = pixels.shape[:2]
        scale = np.array((width / outcome.size[0], height / outcome.size[1]) * 2, np.float32)  # 1 but where reduced
        picture = self._paint(pixels, replace(found, boxes=found.boxes * scale))
        self._tree.write(self._tree.path(f"{outcome.key}.jpg"), jpeg(picture, _QUALITY, sharp_colors=True))


def _fitting(pixels: UInt8) -> UInt8:
    """The pixels, made smaller where JPEG cannot hold them."""
    import cv2

    height, width = pixels.shape[:2]
    ratio = MAX_SIDE / max(height, width)
    if ratio >= 1:
        return pixels
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
