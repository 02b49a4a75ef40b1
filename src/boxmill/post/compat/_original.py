"""What the originals answer, in the situations where that is not the exact answer; slow and plain on purpose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from boxmill.post.compat._arrays import Array
from boxmill.post.nms import nms

__all__ = ["batched_nms_by_offset", "nms_by_class", "nms_in_double"]

Int64 = npt.NDArray[np.int64]


def _below(threshold: float) -> float:
    """The largest float32 not above `threshold`: a float32 is greater than one iff it is greater than the other."""
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))


def _by_score(scores: Array) -> Int64:
    """(N,) best first, NaN before all, equal scores by the lower index: torch's stable descending sort."""
    unknown = np.isnan(scores)
    known = np.flatnonzero(~unknown)
    return np.concatenate([np.flatnonzero(unknown), known[np.argsort(-scores[known], kind="stable")]])


def nms_in_double(boxes: Array, scores: Array, iou: float) -> Int64:
    """torchvision's CPU kernel: a float32 IoU against the threshold in double; NaN rows take part.

    A box with a NaN coordinate has a NaN area, so it neither suppresses nor is suppressed; a NaN score is the best.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2.
        scores: (N,) float32.
        iou: 0 to 1.

    Returns:
        (K,) int64 indices, by score.
    """
    strange = np.asarray(np.isnan(boxes).any(axis=1))  # (N,)
    if not (strange.any() or np.isnan(scores).any()):
        return nms(boxes, scores, iou=_below(iou))
    order = _by_score(scores)
    alive = strange[order]  # (N,) in score order
    sound = np.flatnonzero(~alive)
    # Equal scores are visited in the order given, which is by score already.
    alive[sound[nms(boxes[order[sound]], np.zeros(len(sound), np.float32), iou=_below(iou))]] = True
    return order[alive]


def batched_nms_by_offset(boxes: Array, scores: Array, ids: Array, iou: float) -> Int64:
    """Each class moved by id * (largest coordinate + 1), in the boxes' own dtype, then one NMS over all."""
    with np.errstate(all="ignore"):
        step = boxes.max() + boxes.dtype.type(1)
        moved = boxes + (ids.astype(boxes.dtype) * step)[:, None]  # (N, 4)
    return nms_in_double(moved.astype(np.float32), scores, iou)


def nms_by_class(boxes: Array, scores: Array, ids: Array, iou: float) -> Int64:
    """One NMS for each class, the survivors of all by score."""
    kept = np.zeros(len(scores), bool)
    for label in np.unique(ids):
        rows = np.flatnonzero(ids == label)
        kept[rows[nms_in_double(boxes[rows], scores[rows], iou)]] = True
    survivors = np.flatnonzero(kept)
    return survivors[_by_score(scores[survivors])]
