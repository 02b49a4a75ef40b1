"""`--save-crop`: each object cut out of its image, in a folder for its class."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

import numpy as np

from boxmill.store.durable import FileTree
from boxmill.store.jpegs import MAX_SIDE, jpeg
from boxmill.store.views import seen
from boxmill.types import Detections, Frame, Outcome, UInt8

__all__ = ["CropFiles", "folder_names"]

_QUALITY = 95  # of the JPEG files
_MAX_BYTES = 100  # of a class folder's name, so that it fits every file system
# what no folder's name may have, or cannot have on systems that results are copied to
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


def folder_names(names: Sequence[str]) -> tuple[str, ...]:
    """A folder's name for each class: its own, made safe; of two that would meet the second has its id added."""
    folders: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(names):
        folder = _safe(name, number)
        while folder.casefold() in taken:
            folder = f"{folder}-{number}"
        taken.add(folder.casefold())
        folders.append(folder)
    return tuple(folders)


def _safe(name: str, number: int) -> str:
    clean = _UNSAFE.sub("_", name).strip(". ").encode()[:_MAX_BYTES].decode("utf-8", "ignore").rstrip(". ")
    return clean or f"class-{number}"


class CropFiles:
    """Writes `crops/<class>/<key>-<n>.jpg`, n being the object's place in the image's JSON, from 0.

    Usable from several threads at once. Not made again by a resume: pixels are not in the journal.
    """

    def __init__(self, directory: str | os.PathLike[str], names: Sequence[str], conf: float | None) -> None:
        """`directory` is the run's; objects that score above `conf` are cut out, None: all."""
        self._tree = FileTree(os.path.join(directory, "crops"))
        self._folders = folder_names(names)
        self._conf = conf

    def add(self, frame: Frame, outcome: Outcome) -> None:
        """Cuts the objects of one image out; see engine.Sink.

        Raises:
            OutputError: a file cannot be written.
        """
        found = seen(outcome, self._conf).result
        if not isinstance(found, Detections) or outcome.size is None:
            return
        height, width = frame.pixels.shape[:2]
        to_frame = (width / outcome.size[0], height / outcome.size[1])  # not 1 where a reduced image was decoded
        boxes = found.boxes.astype(np.float64) * (to_frame * 2)
        for number, (box, class_id) in enumerate(zip(boxes.tolist(), found.classes.tolist(), strict=True)):
            path = self._tree.path(f"{self._folders[class_id]}/{outcome.key}-{number}.jpg")
            self._tree.write(path, jpeg(_cut(frame.pixels, box), _QUALITY))


def _cut(pixels: UInt8, box: Sequence[float]) -> UInt8:
    """Every pixel (h, w, 3) that the box touches, and at least one; at most as many a side as JPEG can hold."""
    height, width = pixels.shape[:2]
    left, top = min(math.floor(box[0]), width - 1), min(math.floor(box[1]), height - 1)
    right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
    return pixels[top : min(bottom, top + MAX_SIDE), left : min(right, left + MAX_SIDE)]
