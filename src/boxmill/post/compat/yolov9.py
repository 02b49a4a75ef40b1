"""`non_max_suppression` of the YOLOv9 repository: same arguments, same return shapes, one changed import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boxmill.post.compat._arrays import ArrayOrTensor
from boxmill.post.compat._yolo import Request, first, suppress

__all__ = ["non_max_suppression"]


def non_max_suppression(
    prediction: ArrayOrTensor | Sequence[Any],
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: Any = None,
    agnostic: bool = False,
    multi_label: bool = False,
    labels: Sequence[Any] = (),
    max_det: int = 300,
    nm: int = 0,
    *,
    like_original: bool = False,
) -> list[ArrayOrTensor]:
    """Objects of each image from a head without objectness.

    Where the original's own answer differs: it stops after 2.5 s + 0.05 s an image and returns nothing for the images
    that are left (never reproduced); it fails on `labels`; it moves each class by 7680 pixels a class id and runs one
    NMS over all, which rounds coordinates (to 1/16 pixel at class 79, to whole pixels beyond class 1,092) and makes
    classes collide when coordinates span more than 7680 pixels; float16 predictions are thresholded and decoded in
    float16; the IoU is compared with the threshold in double; rows with NaN coordinates are kept.

    Args:
        prediction: (B, 4 + C + nm, A): centre x, y, width, height in pixels, class scores, masks; a tensor or an array.
            A list or tuple: its first member, as in the original. So pass the main branch of a dual head, the last of
            its list, as the repository's scripts do; where the first member is itself a list (the whole answer of a
            dual-head network, which the original cannot read), its main branch is taken.
        conf_thres: a score is greater than this, 0 to 1.
        iou_thres: 0 to 1.
        classes: wanted class ids; None: all.
        agnostic: NMS between boxes of different classes as well.
        multi_label: every (anchor, class) pair above `conf_thres`, as in validation.
        labels: for each image (m, 5) known objects, class and centre x, y, width, height in pixels; they take part with
            score 1.
        max_det: at most this many objects an image, 1 or more.
        nm: mask coefficients an anchor; they follow their objects.
        like_original: the original's answer, without its time limit, instead of the exact one.

    Returns:
        For each image (n, 6 + nm) x1, y1, x2, y2, score, class, masks, best first; float32, or float64 for float64.

    Raises:
        UsageError: an argument has another type, shape or dtype, or is out of range.
    """
    request = Request(
        "yolo", conf_thres, iou_thres, nm, classes, agnostic, multi_label, labels, max_det, like_original=like_original
    )
    return suppress(_head(prediction), request)[0]


def _head(prediction: ArrayOrTensor | Sequence[Any]) -> ArrayOrTensor:
    """The raw head that is meant: the original's choice, and the main branch where the original has none."""
    head: Any = first(prediction)
    branch: ArrayOrTensor = head[-1] if isinstance(head, list | tuple) else head
    return branch
