"""`torchvision.ops.nms` and `batched_nms`: same arguments, same results, one changed import."""

from __future__ import annotations

from typing import Any

import numpy as np

from boxmill.errors import UsageError
from boxmill.post.compat._arrays import Array, ArrayOrTensor, as_array, as_float32, like, stays_on_gpu
from boxmill.post.compat._original import batched_nms_by_offset, nms_by_class, nms_in_double
from boxmill.post.nms import nms as exact_nms

__all__ = ["batched_nms", "nms"]


def nms(
    boxes: ArrayOrTensor, scores: ArrayOrTensor, iou_threshold: float, *, like_original: bool = False
) -> ArrayOrTensor:
    """Greedy NMS in which every box competes with every other.

    Where torchvision's own answer differs: on the CPU it compares the float32 IoU with the threshold in double, so an
    IoU equal to float32(iou_threshold) suppresses where float32 rounds the threshold up (0.1, 0.3, 0.6); and it keeps
    every row with a NaN coordinate, and takes a NaN score for the best. Exact: suppress iff IoU >
    float32(iou_threshold); NaN rows are dropped.

    Args:
        boxes: (N, 4) x1, y1, x2, y2; any floating-point dtype (float64 is rounded to float32).
        scores: (N,) floating point.
        iou_threshold: 0 to 1.
        like_original: torchvision's answer (CPU kernel) instead of the exact one.

    Returns:
        (K,) int64 indices of the kept rows, by score; a tensor on the device of `boxes`, or an array.

    Raises:
        UsageError: an argument has another type, shape or dtype, or is out of range.
    """
    if not like_original and stays_on_gpu(boxes, scores):
        found: ArrayOrTensor = _on_gpu(boxes, scores, None, iou_threshold)
        return found
    plain, values = as_float32("boxes", as_array("boxes", boxes)), as_float32("scores", as_array("scores", scores))
    if not like_original:
        return like(boxes, exact_nms(plain, values, iou=iou_threshold))
    _check(plain, values, iou_threshold)
    return like(boxes, nms_in_double(plain.astype(np.float32), values.astype(np.float32), iou_threshold))


def batched_nms(
    boxes: ArrayOrTensor,
    scores: ArrayOrTensor,
    idxs: ArrayOrTensor,
    iou_threshold: float,
    *,
    like_original: bool = False,
) -> ArrayOrTensor:
    """Greedy NMS in which only boxes of the same class compete.

    Where torchvision's own answer differs, beyond what `nms` says: up to 1000 boxes on the CPU (5000 elsewhere) it
    moves each class by idx * (largest coordinate + 1) and runs one NMS over all. That rounds coordinates (float16 to
    many pixels), lets classes collide when coordinates are negative, and turns every box into NaN, so that nothing is
    suppressed, when one coordinate is NaN. Exact: idxs are compared as integers.

    Args:
        boxes: (N, 4) x1, y1, x2, y2; any floating-point dtype (float64 is rounded to float32).
        scores: (N,) floating point.
        idxs: (N,) class of each box: integers, or whole numbers in floating point.
        iou_threshold: 0 to 1.
        like_original: torchvision's answer (CPU kernel) instead of the exact one.

    Returns:
        (K,) int64 indices of the kept rows, by score; a tensor on the device of `boxes`, or an array.

    Raises:
        UsageError: an argument has another type, shape or dtype, or is out of range.
    """
    if not like_original and stays_on_gpu(boxes, scores, idxs):
        found: ArrayOrTensor = _on_gpu(boxes, scores, idxs, iou_threshold)
        return found
    plain, values = as_float32("boxes", as_array("boxes", boxes)), as_float32("scores", as_array("scores", scores))
    ids = _whole(as_array("idxs", idxs))
    if not like_original:
        return like(boxes, exact_nms(plain, values, ids, iou=iou_threshold))
    _check(plain, values, iou_threshold, ids)
    values = values.astype(np.float32)
    limit = 4000 if isinstance(boxes, np.ndarray) or boxes.device.type == "cpu" else 20000  # numbers, four a box
    if 0 < plain.size <= limit:
        return like(boxes, batched_nms_by_offset(plain, values, ids, iou_threshold))
    return like(boxes, nms_by_class(plain.astype(np.float32), values, ids, iou_threshold))


def _on_gpu(boxes: Any, scores: Any, ids: Any, iou: float) -> Any:
    """Exact, without leaving the device; waits for it, as the result's shape does, once more for classes in float."""
    from boxmill.post import gpu

    boxes, scores = (each.float() if each.dtype.itemsize == 8 else each for each in (boxes, scores))
    if ids is not None and ids.is_floating_point():
        whole = ids.long()
        if not bool((whole == ids).all()):
            raise UsageError(f"idxs must be whole numbers, the class of each box, got {ids.dtype} with other values")
        ids = whole
    return gpu.nms(boxes, scores, ids, iou=iou)


def _whole(ids: Array) -> Array:
    """Class ids as integers."""
    if ids.dtype.kind in "iu":
        return ids
    with np.errstate(invalid="ignore"):
        whole = ids.astype(np.int64)
    if ids.dtype.kind == "c" or not np.array_equal(whole, ids):
        raise UsageError(f"idxs must be whole numbers, the class of each box, got {ids.dtype} with other values")
    return whole


def _check(boxes: Array, scores: Array, iou: float, ids: Array | None = None) -> None:
    """Refuses what the exact function would refuse, on no rows at all."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise UsageError(f"expected boxes (N, 4) and scores (N,), got {boxes.shape} and {scores.shape}")
    if ids is not None and ids.shape != scores.shape:
        raise UsageError(f"idxs must have shape ({len(scores)},), one for each box, got {ids.shape}")
    exact_nms(np.empty((0, 4), np.float32), np.empty(0, np.float32), iou=iou)
