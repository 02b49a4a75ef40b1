"""`non_max_suppression` of the ultralytics package: same arguments, same return shapes, one changed import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from boxmill.errors import UsageError
from boxmill.post.compat._arrays import ArrayOrTensor, as_array, like, stays_on_gpu
from boxmill.post.compat._yolo import MAX_NMS, MAX_WH, Request, first, suppress, wanted_classes

__all__ = ["non_max_suppression"]


def non_max_suppression(
    prediction: ArrayOrTensor | Sequence[Any],
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: Any = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
    nc: int = 0,
    max_time_img: float = 0.05,
    max_nms: int = MAX_NMS,
    max_wh: int = MAX_WH,
    rotated: bool = False,
    end2end: bool = False,
    return_idxs: bool = False,
    *,
    labels: Sequence[Any] = (),
    like_original: bool = False,
) -> list[ArrayOrTensor] | tuple[list[ArrayOrTensor], list[ArrayOrTensor]]:
    """Objects of each image from a head without objectness; the arguments of ultralytics 8.4.

    Where the original's own answer differs: it stops after 2 s + `max_time_img` an image and returns nothing for the
    images that are left (never reproduced); it moves each class by `max_wh` pixels a class id and runs one NMS over
    all, which rounds coordinates (to 1/16 pixel at class 79, to whole pixels beyond class 1,092) and makes classes
    collide when coordinates span more than `max_wh` pixels; float16 predictions are thresholded and decoded in float16;
    rows with NaN coordinates are kept; and the IoU is compared with the threshold in double where torchvision has been
    imported, otherwise in float32.

    Args:
        prediction: (B, 4 + C + masks, A): centre x, y, width, height in pixels, class scores, masks; a tensor or an
            array. A list or tuple: its first member. (B, K, 6), or `end2end`: already final (see there).
        conf_thres: a score is greater than this, 0 to 1.
        iou_thres: 0 to 1.
        classes: wanted class ids; None: all.
        agnostic: NMS between boxes of different classes as well.
        multi_label: every (anchor, class) pair above `conf_thres`, as in validation.
        max_det: at most this many objects an image, 1 or more.
        nc: number of classes; what follows them are masks. 0: all rows are classes.
        max_time_img: accepted and not used: there is no time limit.
        max_nms: only this many best candidates an image enter NMS.
        max_wh: `like_original`: the offset of one class; 0 means agnostic. Otherwise classes are compared as integers.
        rotated: refused: rotated boxes are not supported.
        end2end: `prediction` is (B, K, 6 + masks) x1, y1, x2, y2, score, class, masks: only `conf_thres`, `classes` and
            `max_det` apply, in the order given. So is, as in the original, any prediction whose last axis has length 6.
        return_idxs: also return the anchor of each row.
        labels: for each image (m, 5) known objects, class and centre x, y, width, height in pixels; they take part with
            score 1 (an argument of earlier versions, there behind `multi_label`).
        like_original: the original's answer, torchvision imported, without its time limit, instead of the exact one.

    Returns:
        For each image (n, 6 + masks) x1, y1, x2, y2, score, class, masks, best first; float32, or float64 for float64.
        With `return_idxs` a tuple of this list and a list of (n,) int64 anchors.

    Raises:
        UsageError: an argument has another type, shape or dtype, or is out of range; `rotated`.
    """
    if rotated:
        raise UsageError("rotated boxes are not supported; call ultralytics' own non_max_suppression for them")
    head: ArrayOrTensor = first(prediction)
    raw: Any = head if stays_on_gpu(head) else as_array("prediction", head)
    if raw.ndim == 3 and (end2end or raw.shape[2] == 6):
        tables, anchors = _selected(head, conf_thres, classes, max_det)
    else:
        masks = raw.shape[1] - 4 - nc if nc and raw.ndim == 3 else 0
        request = Request(
            "yolo", conf_thres, iou_thres, masks, classes, agnostic, multi_label, labels, max_det, max_nms, max_wh,
            like_original,
        )  # fmt: skip
        tables, anchors = suppress(head, request)
    return (tables, anchors) if return_idxs else tables


def _selected(
    prediction: ArrayOrTensor, conf: float, classes: Any, max_det: int
) -> tuple[list[ArrayOrTensor], list[ArrayOrTensor]]:
    """The rows of an end-to-end head above `conf`, in the order given."""
    raw = as_array("prediction", prediction)
    if raw.dtype.kind != "f" or raw.shape[2] < 6:
        raise UsageError(f"an end-to-end head is floating point, (B, K, 6 or more), got {raw.dtype} {raw.shape}")
    if not 0 <= conf <= 1:
        raise UsageError(f"conf must be between 0 and 1, got {conf}")
    raw = raw.astype(np.float32) if raw.dtype.itemsize < 4 else raw
    kept = []
    for image in raw:
        wanted = image[:, 4] > raw.dtype.type(conf)
        if classes is not None:
            wanted &= np.isin(image[:, 5], wanted_classes(classes))
        kept.append(np.flatnonzero(wanted)[:max_det])
    tables = [image[rows] for image, rows in zip(raw, kept, strict=True)]
    return [like(prediction, table) for table in tables], [like(prediction, rows) for rows in kept]
