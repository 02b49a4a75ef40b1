"""NMS of boxes on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from boxmill.errors import UsageError
from boxmill.post.gpu.checks import PAIRS_LIMIT, check_device, check_floats, float32_of, on_device
from boxmill.post.gpu.launch import Boxes, Rule, run
from boxmill.post.nms import NO_LIMIT, count_of, threshold_of

__all__ = ["DeviceKept", "batched_nms", "kept_rows", "nms"]


@dataclass(frozen=True, slots=True, eq=False)
class DeviceKept:
    """Which rows of each image survive, on the device, in shapes that do not depend on how many there are."""

    indices: Tensor  # (B, max_det) int32, by score; 0 beyond count
    count: Tensor  # (B,) int32


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor | None = None,
    *,
    counts: Tensor | None = None,
    iou: float = 0.45,
    max_det: int | None = None,
) -> DeviceKept:
    """`boxmill.post.batched_nms` of tensors on a GPU, without waiting for the device.

    Args:
        boxes: (B, N, 4) float32, float16 or bfloat16 x1, y1, x2, y2.
        scores: (B, N), likewise.
        classes: (B, N) of any integer dtype; None: all boxes of an image compete.
        counts: (B,) integers: how many rows of each image are used; None: all.
        iou: the threshold, 0 to 1.
        max_det: at most this many survivors an image; None: N.

    Returns:
        For each image the kept rows, padded to min(max_det, N).

    Raises:
        UsageError: a tensor has another shape or dtype or is not on a GPU, or a number is out of range.
    """
    source = _boxes(boxes, scores, classes, counts)
    rows = boxes.shape[1]
    threshold = float32_of(threshold_of(iou))
    limit = min(count_of(NO_LIMIT if max_det is None else max_det), rows)
    with on_device(boxes):
        found = run(source, Rule(0.0, threshold, limit, max(1, rows)), None)
    return DeviceKept(found.indices, found.count)


def nms(
    boxes: Tensor, scores: Tensor, classes: Tensor | None = None, *, iou: float = 0.45, max_det: int | None = None
) -> Tensor:
    """`boxmill.post.nms` of tensors on a GPU: (K,) int64 on the same device; waits for K."""
    if boxes.ndim != 2:
        raise UsageError(f"boxes must have shape (N, 4), x1 y1 x2 y2, got {tuple(boxes.shape)}")
    labels = None if classes is None else classes[None]
    found = batched_nms(boxes[None], scores[None], labels, iou=iou, max_det=max_det)
    return found.indices[0, : int(found.count[0])].long()


def kept_rows(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor | None,
    counts: Sequence[int] | None,
    iou: float,
    max_det: int | None,
) -> list[Tensor]:
    """`boxmill.post.batched_nms` of stacked tensors: for each image (K,) int64; waits once, for the counts."""
    used = None if counts is None else torch.tensor([int(count) for count in counts], dtype=torch.int32)
    rows = None if used is None else used.to(boxes.device)
    found = batched_nms(boxes, scores, classes, counts=rows, iou=iou, max_det=max_det)
    kept = zip(found.indices, found.count.tolist(), strict=True)
    return [indices[:count].long() for indices, count in kept]


def _boxes(boxes: Tensor, scores: Tensor, classes: Tensor | None, counts: Tensor | None) -> Boxes:
    for name, tensor in (("boxes", boxes), ("scores", scores)):
        check_device(name, tensor)
        check_floats(name, tensor)
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise UsageError(f"boxes must have shape (B, N, 4), x1 y1 x2 y2, got {tuple(boxes.shape)}")
    if boxes.shape[1] > PAIRS_LIMIT:
        raise UsageError(f"nms takes at most {PAIRS_LIMIT} boxes, got {boxes.shape[1]}")
    pairs = boxes.shape[:2]
    for name, column, shape in (("scores", scores, pairs), ("classes", classes, pairs), ("counts", counts, pairs[:1])):
        if column is not None and (column.shape != shape or column.device != boxes.device):
            raise UsageError(
                f"{name} must have shape {tuple(shape)}, on the device of the boxes, "
                f"got {tuple(column.shape)} on {column.device}"
            )
    for name, column in (("classes", classes), ("counts", counts)):
        if column is not None and (column.is_floating_point() or column.is_complex() or column.dtype == torch.bool):
            raise UsageError(f"{name} must be integers, got {column.dtype}; convert them: {name}.long()")
    return Boxes(
        boxes.detach().contiguous(),
        scores.detach().contiguous(),
        None if classes is None else _labels(classes),
        None if counts is None else counts.clamp(0, boxes.shape[1]).to(torch.int32),
    )


def _labels(classes: Tensor) -> Tensor:
    """int32 or int64, contiguous; different ids stay different."""
    if classes.dtype == torch.uint64:
        return classes.contiguous().view(torch.int64)
    return (classes if classes.dtype == torch.int32 else classes.to(torch.int64)).contiguous()
