"""The definition of correct: slow, obvious numpy that every faster implementation must equal bit for bit.

All arithmetic is float32, every operation rounded on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NmsResult", "iou_with", "nms"]

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NmsResult:
    """What survives, and what the limits and NaNs took away."""

    kept: Int64  # (K,) indices, score descending, ties by the lower index
    nan: int  # rows dropped because a score or a coordinate was NaN
    cut: float | None  # highest score lost: of the (max_nms+1)th candidate or the (max_det+1)th survivor


def iou_with(box: Float32, others: Float32) -> Float32:
    """Intersection over union of `box` (4,) with each of `others` (M, 4) xyxy; (M,) float32.

    Areas are unclamped. A ratio may be NaN (0 / 0, or infinite coordinates) and then compares false with any threshold.
    """
    zero = np.float32(0)
    with np.errstate(all="ignore"):
        area = (box[2] - box[0]) * (box[3] - box[1])
        areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])  # (M,)
        width = np.maximum(zero, np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]))  # (M,)
        height = np.maximum(zero, np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]))  # (M,)
        inter = width * height  # (M,)
        ratio: Float32 = inter / ((area + areas) - inter)
    return ratio


def nms(
    boxes: Float32,
    scores: Float32,
    classes: npt.NDArray[Any] | None = None,
    *,
    iou: float = 0.45,
    max_nms: int | None = None,
    max_det: int | None = None,
) -> NmsResult:
    """Greedy class-aware non-maximum suppression of (N, 4) float32 xyxy boxes with (N,) float32 scores.

    `classes` is (N,) of any integer dtype, or None: every box competes with every other. A box is suppressed by a
    better one of its class iff their IoU > float32(iou). Only the best `max_nms` candidates are considered.
    """
    numbers = ~(np.isnan(boxes).any(axis=1) | np.isnan(scores))  # (N,)
    candidates = np.flatnonzero(numbers)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    remaining = candidates if max_nms is None else candidates[:max_nms]
    lost = [float(scores[i]) for i in candidates[len(remaining) :][:1]]

    survivors: list[int] = []
    while len(remaining):
        best, rest = remaining[0], remaining[1:]
        survivors.append(int(best))
        suppressed = iou_with(boxes[best], boxes[rest]) > np.float32(iou)  # (len(rest),)
        if classes is not None:
            suppressed &= classes[rest] == classes[best]
        remaining = rest[~suppressed]
    kept = survivors if max_det is None else survivors[:max_det]
    lost += [float(scores[i]) for i in survivors[len(kept) :][:1]]
    return NmsResult(np.array(kept, np.int64), int(np.count_nonzero(~numbers)), max(lost, default=None))
