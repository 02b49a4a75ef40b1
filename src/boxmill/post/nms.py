"""Non-maximum suppression by the native core."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill import _native
from boxmill.errors import UsageError

__all__ = ["NO_LIMIT", "batched_nms", "count_of", "nms", "on_gpu", "plain", "threshold_of"]

NO_LIMIT = 2**31 - 1
_Array = npt.NDArray[Any]


def nms(
    boxes: _Array, scores: _Array, classes: _Array | None = None, *, iou: float = 0.45, max_det: int | None = None
) -> npt.NDArray[np.int64]:
    """Greedy class-aware non-maximum suppression; exact, and identical on every machine.

    Boxes are visited by score, best first, equal scores by the lower index. A box is dropped iff its IoU with a box
    that was kept before it, of the same class, is greater than float32(iou); `boxmill.post.reference` defines the
    arithmetic. A row with a NaN score or coordinate is dropped. Measured against other packages by `bench/nms.py`.

    Args:
        boxes: (N, 4) float32 (or float16) x1, y1, x2, y2, in any unit.
        scores: (N,) float32 (or float16).
        classes: (N,) of any integer dtype, compared as integers; None: all boxes compete.
        iou: the threshold, 0 to 1.
        max_det: stop after this many survivors; they are the first ones of the unlimited answer.

    torch tensors on a GPU stay there: `boxmill.post.gpu.nms` answers, with a tensor, and takes bfloat16, too.

    Returns:
        (K,) int64 indices of the kept rows, in score order.

    Raises:
        UsageError: an array has another shape or dtype, or a number is out of range; triton is missing for tensors.
    """
    if not isinstance(boxes, np.ndarray) and on_gpu(boxes):
        return _on_gpu(boxes, scores, classes, iou, max_det)
    limit = NO_LIMIT if max_det is None else max_det
    found = _native.nms(boxes, scores, classes, iou, NO_LIMIT, limit, False)
    if found is None:
        found = _native.nms(*plain(boxes, scores, classes), threshold_of(iou), NO_LIMIT, count_of(limit), False)
        if found is None:
            raise UsageError(f"nms takes at most {NO_LIMIT - 64} boxes, got {len(scores)}")
    return np.frombuffer(found[0], np.int64)


def batched_nms(
    boxes: _Array | Sequence[_Array],
    scores: _Array | Sequence[_Array],
    classes: _Array | Sequence[_Array] | None = None,
    *,
    counts: Sequence[int] | npt.NDArray[np.integer[Any]] | None = None,
    iou: float = 0.45,
    max_det: int | None = None,
) -> list[npt.NDArray[np.int64]]:
    """`nms` of each image of a batch; an image's answer does not depend on its neighbours.

    (torchvision calls by this name what `nms` does here with `classes`: one image, suppression class by class.)

    Args:
        boxes: for each image (N, 4), as a sequence, or as one array (B, N, 4).
        scores: for each image (N,), or (B, N).
        classes: for each image (N,), or (B, N); None: all boxes of an image compete.
        counts: how many rows of each image are used, for arrays that are padded to one length; None: all.
        iou: the threshold, 0 to 1.
        max_det: at most this many survivors an image.

    Returns:
        For each image (K,) int64 indices of its kept rows, in score order; of tensors on a GPU, tensors there
        (`boxmill.post.gpu.batched_nms` gives them without waiting for the device).

    Raises:
        UsageError: the lengths do not agree, a count is not possible, or `nms` refuses an image.
    """
    images = len(boxes)
    for name, values in (("scores", scores), ("classes", classes), ("counts", counts)):
        if values is not None and len(values) != images:
            raise UsageError(f"expected {name} of {images} images, as many as there are boxes of, got {len(values)}")
    if images and all(on_gpu(column) for column in (boxes, scores, boxes if classes is None else classes)):
        found: list[npt.NDArray[np.int64]] = _batch_on_gpu(boxes, scores, classes, counts, iou, max_det)
        return found
    columns = [boxes, scores] if classes is None else [boxes, scores, classes]
    kept = []
    for image in range(images):
        rows = [column[image] for column in columns]
        if counts is not None:
            rows = _used(rows, counts[image], image)
        kept.append(nms(*rows, iou=iou, max_det=max_det))
    return kept


def on_gpu(value: object) -> bool:
    """Whether `value` is a torch tensor on a GPU; needs no torch to know."""
    return getattr(value, "is_cuda", False) is True


def _on_gpu(boxes: Any, scores: Any, classes: Any, iou: float, max_det: int | None) -> Any:
    """The caller has torch, for it has tensors; so the kernels are imported only here."""
    from boxmill.post import gpu

    return gpu.nms(boxes, scores, classes, iou=iou, max_det=max_det)


def _batch_on_gpu(boxes: Any, scores: Any, classes: Any, counts: Any, iou: float, max_det: int | None) -> Any:
    from boxmill.post.gpu.boxes import kept_rows

    if counts is not None:
        for image, count in enumerate(counts):
            _used([boxes[image]], count, image)
    return kept_rows(boxes, scores, classes, counts, iou, max_det)


def _used(rows: list[_Array], count: int | np.integer[Any], image: int) -> list[_Array]:
    """The first `count` rows of each array. Raises UsageError where they have not as many."""
    least = min(np.shape(array)[0] if np.ndim(array) else 0 for array in rows)
    if not isinstance(count, Integral) or not 0 <= int(count) <= least:
        raise UsageError(f"counts[{image}] must be a whole number from 0 to {least}, the image's rows, got {count!r}")
    return [array[: int(count)] for array in rows]


def plain(boxes: _Array, scores: _Array, classes: _Array | None) -> tuple[_Array, _Array, _Array | None]:
    """The same values in the form that the native core reads, or a UsageError that says what is wrong."""
    boxes, scores = _floats("boxes", boxes), _floats("scores", scores)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UsageError(f"boxes must have shape (N, 4), x1 y1 x2 y2, got {boxes.shape}")
    if scores.shape != boxes.shape[:1]:
        raise UsageError(f"scores must have shape ({len(boxes)},), one for each box, got {scores.shape}")
    if classes is None:
        return boxes, scores, None
    classes = _integers(classes)
    if classes.shape != scores.shape:
        raise UsageError(f"classes must have shape ({len(boxes)},), one for each box, got {classes.shape}")
    return boxes, scores, classes


def _floats(name: str, values: _Array) -> _Array:
    values = np.asarray(values)
    if values.dtype.newbyteorder("=") not in (np.float32, np.float16):
        raise UsageError(
            f"{name} must be float32 (or float16, which converts exactly), got {values.dtype}; "
            f"round it yourself: {name}.astype(numpy.float32)"
        )
    return np.require(values, np.float32, ["C", "A"])


def _integers(classes: _Array) -> _Array:
    classes = np.asarray(classes)
    if not np.issubdtype(classes.dtype, np.integer):
        raise UsageError(f"classes must be integers, got {classes.dtype}; convert them: classes.astype(numpy.int64)")
    if classes.dtype.newbyteorder("=") == np.uint64:
        # Two's complement keeps different ids different, and order does not matter.
        return np.require(classes, np.uint64, ["C", "A"]).view(np.int64)
    return np.require(classes, np.int32 if classes.dtype == np.int32 else np.int64, ["C", "A"])


def threshold_of(iou: float) -> float:
    """The threshold itself. Raises UsageError where it is none."""
    if not isinstance(iou, Real) or not 0 <= iou <= 1:
        raise UsageError(f"iou must be a number from 0 to 1, got {iou!r}")
    return iou


def count_of(max_det: int) -> int:
    """The limit itself. Raises UsageError where it is none."""
    if not isinstance(max_det, Integral) or max_det < 0:
        raise UsageError(f"max_det must be a whole number, 0 or more, or None for no limit, got {max_det!r}")
    return max_det
