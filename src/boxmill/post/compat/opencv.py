"""`cv2.dnn.NMSBoxes` and `NMSBoxesBatched`: same arguments, same results, one changed import; no OpenCV needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.errors import UsageError
from boxmill.post.nms import nms
from boxmill.post.reference import iou_with

__all__ = ["NMSBoxes", "NMSBoxesBatched"]

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
_Values = npt.NDArray[Any] | Sequence[Any]
_Kept = npt.NDArray[np.int32] | tuple[()]
_Overlap = Callable[[int, list[int]], Float32]


def NMSBoxes(  # noqa: N802  (OpenCV's name)
    bboxes: _Values,
    scores: _Values,
    score_threshold: float,
    nms_threshold: float,
    eta: float = 1.0,
    top_k: int = 0,
    *,
    like_original: bool = False,
) -> _Kept:
    """Greedy NMS in which every box competes with every other.

    Where OpenCV's own answer differs: its overlap is float32(1) - float32(1 - IoU), which moves the threshold by up to
    2^-24 either way; two boxes without area always suppress each other, wherever they lie; one with a NaN coordinate is
    dropped as soon as any box is kept. Exact: corners computed in double and rounded to float32, then the IoU of
    `boxmill.post.reference`; 0 / 0 suppresses nothing, NaN rows are dropped.

    Args:
        bboxes: (N, 4) left, top, width, height; an array or nested sequence of any real type.
        scores: (N,) real numbers, rounded to float32 as OpenCV does.
        score_threshold: a candidate's score is greater than this, 0 or more.
        nms_threshold: 0 to 1.
        eta: below 1: the threshold is multiplied by this after every kept box for as long as it is above 0.5.
        top_k: only this many best candidates enter NMS; 0: all.
        like_original: OpenCV's answer (for boxes without NaN) instead of the exact one.

    Returns:
        (K,) int32 indices of the kept rows, by score; as in OpenCV an empty tuple where nothing is kept.

    Raises:
        UsageError: an argument has another shape, or is out of range.
    """
    boxes, values = _rectangles(bboxes), _scores(scores, len(bboxes))
    order = _candidates(values, score_threshold, top_k)
    _check(nms_threshold, eta)
    if like_original:
        return _indices(_greedy(order, nms_threshold, eta, _opencv_overlap(boxes)))
    return _exact(boxes, values, None, order, nms_threshold, eta)


def NMSBoxesBatched(  # noqa: N802  (OpenCV's name)
    bboxes: _Values,
    scores: _Values,
    class_ids: _Values,
    score_threshold: float,
    nms_threshold: float,
    eta: float = 1.0,
    top_k: int = 0,
    *,
    like_original: bool = False,
) -> _Kept:
    """Greedy NMS in which only boxes of the same class compete.

    Where OpenCV's own answer differs, beyond what `NMSBoxes` says: it moves each class by id * (largest coordinate + 1)
    and runs one NMS over all, so classes collide when coordinates are negative. Exact: ids are compared as integers.

    Args:
        bboxes: (N, 4) left, top, width, height; an array or nested sequence of any real type.
        scores: (N,) real numbers, rounded to float32 as OpenCV does.
        class_ids: (N,) integers.
        score_threshold: a candidate's score is greater than this, 0 or more.
        nms_threshold: 0 to 1.
        eta: below 1: the threshold of all classes is multiplied by this after every kept box for as long as it is above
            0.5.
        top_k: only this many best candidates of all classes enter NMS; 0: all.
        like_original: OpenCV's answer (for boxes without NaN) instead of the exact one.

    Returns:
        (K,) int32 indices of the kept rows, by score; as in OpenCV an empty tuple where nothing is kept.

    Raises:
        UsageError: an argument has another shape, or is out of range.
    """
    boxes, values, ids = _rectangles(bboxes), _scores(scores, len(bboxes)), _ids(class_ids, len(bboxes))
    order = _candidates(values, score_threshold, top_k)
    _check(nms_threshold, eta)
    if not like_original:
        return _exact(boxes, values, ids, order, nms_threshold, eta)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    step = np.fmax.reduce(corners, axis=None, initial=0.0) + 1
    moved = np.concatenate([boxes[:, :2] + (ids * step)[:, None], boxes[:, 2:]], axis=1)  # (N, 4)
    return _indices(_greedy(order, nms_threshold, eta, _opencv_overlap(moved)))


def _rectangles(bboxes: _Values) -> Float64:
    boxes = np.asarray(bboxes, np.float64)
    if boxes.size == 0:
        return np.empty((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UsageError(f"bboxes must have shape (N, 4), left top width height, got {boxes.shape}")
    return boxes


def _scores(scores: _Values, count: int) -> Float32:
    with np.errstate(over="ignore"):
        values = np.asarray(scores, np.float32)
    if values.shape != (count,):
        raise UsageError(f"scores must have shape ({count},), one for each box, got {values.shape}")
    return values


def _ids(class_ids: _Values, count: int) -> Int64:
    ids = np.asarray(class_ids)
    if ids.shape != (count,) or (count and ids.dtype.kind not in "iu"):
        raise UsageError(f"class_ids must be ({count},) integers, one for each box, got {ids.dtype} {ids.shape}")
    return ids.astype(np.int64)


def _check(nms_threshold: float, eta: float) -> None:
    if not 0 <= nms_threshold <= 1:
        raise UsageError(f"nms_threshold must be from 0 to 1, got {nms_threshold}")
    if not eta > 0:
        raise UsageError(f"eta must be greater than 0, got {eta}")


def _candidates(scores: Float32, score_threshold: float, top_k: int) -> Int64:
    """Rows above the threshold, best first, equal scores by the lower index; (n,)."""
    if not score_threshold >= 0:
        raise UsageError(f"score_threshold must be 0 or more, got {score_threshold}")
    rows = np.flatnonzero(scores > np.float32(score_threshold))
    order = rows[np.argsort(-scores[rows], kind="stable")]
    return order[:top_k] if top_k > 0 else order


def _exact(boxes: Float64, scores: Float32, ids: Int64 | None, order: Int64, nms_threshold: float, eta: float) -> _Kept:
    with np.errstate(all="ignore"):
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)
    if eta >= 1:
        classes = None if ids is None else ids[order]
        return _indices(order[nms(corners[order], scores[order], classes, iou=nms_threshold)])
    order = order[~np.isnan(corners[order]).any(axis=1)]

    def overlap(i: int, kept: list[int]) -> Float32:
        ratios = np.nan_to_num(iou_with(corners[i], corners[kept]), nan=0)  # a NaN ratio does not suppress
        return ratios if ids is None else np.where(ids[kept] == ids[i], ratios, np.float32(0))

    return _indices(_greedy(order, nms_threshold, eta, overlap))


def _greedy(order: Int64, nms_threshold: float, eta: float, overlap: _Overlap) -> list[int]:
    """Rows that overlap no row kept before by more than the threshold of that moment."""
    threshold, kept = np.float32(nms_threshold), list[int]()
    for i in order.tolist():
        if kept and not np.all(overlap(i, kept) <= threshold):
            continue
        kept.append(i)
        if eta < 1 and threshold > 0.5:
            threshold = np.float32(threshold * np.float32(eta))
    return kept


def _opencv_overlap(boxes: Float64) -> _Overlap:
    """OpenCV's overlap of row i with other rows: 1 - float32(Jaccard distance in double)."""
    left, top, width, height = boxes.T
    area, empty = width * height, (width <= 0) | (height <= 0)

    def overlap(i: int, kept: list[int]) -> Float32:
        with np.errstate(all="ignore"):
            across = np.minimum(left[i] + width[i], left[kept] + width[kept]) - np.maximum(left[i], left[kept])
            down = np.minimum(top[i] + height[i], top[kept] + height[kept]) - np.maximum(top[i], top[kept])
            apart = (across <= 0) | (down <= 0) | empty[i] | empty[kept]
            inter = np.where(apart, 0.0, across * down)
            total = area[i] + area[kept]
            distance = np.where(total <= np.finfo(np.float64).eps, 0.0, 1 - inter / (total - inter))
            return np.float32(1) - distance.astype(np.float32)

    return overlap


def _indices(kept: Int64 | list[int]) -> _Kept:
    return np.array(kept, np.int32) if len(kept) else ()
