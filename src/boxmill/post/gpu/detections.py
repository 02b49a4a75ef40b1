"""What post-processing leaves on the device, and the way home."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from boxmill.post.gpu import shared
from boxmill.types import Detections, Geometry

__all__ = ["DeviceDetections", "places", "row_length", "unpack"]

HEADER, COUNT, NAN, CUT = (int(one.value) for one in (shared.HEADER, shared.COUNT, shared.NAN, shared.CUT))


def row_length(max_det: int) -> int:
    """32-bit words of one image's result."""
    return HEADER + 7 * max_det


@dataclass(frozen=True, slots=True, eq=False)
class DeviceDetections:
    """The objects of a batch on the device, in shapes that do not depend on how many there are.

    The properties are views of `packed`, made without a copy or a synchronisation; what lies beyond `count` is 0.
    """

    # (B, 4 + 7 * max_det) int32: count, nan, cut, candidates before max_nms; boxes, scores, classes, indices; floats as
    # their bits. One copy of this tensor takes everything home.
    packed: Tensor
    max_det: int

    @property
    def boxes(self) -> Tensor:
        """(B, max_det, 4) float32, source pixels (network pixels without geometries)."""
        corners = self._part(0, 4).view(torch.float32)
        return corners.as_strided((len(corners), self.max_det, 4), (corners.stride(0), 4, 1))

    @property
    def scores(self) -> Tensor:
        """(B, max_det) float32, best first."""
        return self._part(4, 1).view(torch.float32)

    @property
    def classes(self) -> Tensor:
        """(B, max_det) int32."""
        return self._part(5, 1)

    @property
    def indices(self) -> Tensor:
        """(B, max_det) int32, the raw anchor that each came from."""
        return self._part(6, 1)

    @property
    def count(self) -> Tensor:
        """(B,) int32, objects of each image."""
        return self.packed[:, COUNT]

    @property
    def nan(self) -> Tensor:
        """(B,) int32, candidates dropped because a score or a coordinate was NaN."""
        return self.packed[:, NAN]

    @property
    def cut(self) -> Tensor:
        """(B,) float32, the highest score lost to max_nms or max_det; NaN where none was."""
        return self.packed.view(torch.float32)[:, CUT]

    def to_detections(self) -> list[Detections]:
        """One `Detections` an image, in host memory; waits for the device."""
        return unpack(self.packed.cpu().numpy(), self.max_det)

    def _part(self, first: int, width: int) -> Tensor:
        return self.packed[:, HEADER + first * self.max_det : HEADER + (first + width) * self.max_det]


def unpack(packed: npt.NDArray[np.int32], max_det: int) -> list[Detections]:
    """`DeviceDetections.packed` in host memory (B, 4 + 7 * max_det) as one `Detections` an image: views."""
    return [_image(row, max_det) for row in packed]


def _image(row: npt.NDArray[np.int32], max_det: int) -> Detections:
    count, cut = int(row[COUNT]), float(row[CUT : CUT + 1].view(np.float32)[0])
    boxes, scores, classes, indices = np.split(row[HEADER:], [4 * max_det, 5 * max_det, 6 * max_det])
    return Detections(
        boxes.view(np.float32).reshape(max_det, 4)[:count],
        scores.view(np.float32)[:count],
        classes[:count],
        indices[:count],
        None if math.isnan(cut) else cut,
        int(row[NAN]),
    )


def places(geometries: Sequence[Geometry], device: Any) -> Tensor:
    """(B, 6) float32 on the device: scale x, y; pad left, top; source width, height. Does not wait for the device."""
    rows = [(*one.scale, *one.pad, one.source[1], one.source[0]) for one in geometries]
    host = torch.tensor(rows, dtype=torch.float32).reshape(len(rows), 6)
    if torch.device(device).type == "cpu":
        return host
    return host.pin_memory().to(device, non_blocking=True)
