"""Ground truth: which objects somebody says are in which images. COCO JSON, a folder of YOLO text, of VOC XML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Float64", "Truth", "TruthImage"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class TruthImage:
    """What is said to be in one image."""

    name: str  # its path as the ground truth has it, "/" between the parts; without suffix where `Truth.stems`
    size: tuple[int, int] | None  # width, height; None: not said
    boxes: Float64  # (M, 4) x1, y1, x2, y2 in pixels; in shares of width and height where `Truth.relative`
    categories: Int64  # (M,) place in `Truth.categories`
    crowd: Bool  # (M,) a group that is drawn as one: what lies in it is neither right nor wrong
    areas: Float64 | None = None  # (M,) square pixels, of the object's mask where that is known; None: of its box

    def in_pixels(self, size: tuple[int, int]) -> TruthImage:
        """The same image with this width and height, boxes from shares to pixels."""
        width, height = size
        return replace(self, size=size, boxes=self.boxes * np.array([width, height, width, height], np.float64))

    def object_areas(self) -> Float64:
        """(M,) square pixels."""
        if self.areas is not None:
            return self.areas
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides[:, 0] * sides[:, 1]


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of a set of images."""

    path: Path
    kind: Literal["COCO", "YOLO", "VOC"]
    categories: tuple[str, ...]  # names, in the order of their ids; empty: `ids` are class ids, their names unknown
    ids: tuple[int, ...]  # as the ground truth numbers them
    images: tuple[TruthImage, ...]
    stems: bool = False  # its files are named after images without their suffix
    names_zh: tuple[str, ...] = ()  # of the categories in Chinese, where the ground truth has them; "": not of this one
    relative: bool = False  # boxes are shares of an image's size
    remarks: list[str] = field(default_factory=list)  # for people

    @property
    def objects(self) -> int:
        """How many there are, crowds included."""
        return sum(len(image.boxes) for image in self.images)
