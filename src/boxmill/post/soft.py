"""Soft non-maximum suppression by the native core."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from boxmill import _native
from boxmill.errors import UsageError
from boxmill.post.nms import NO_LIMIT, count_of, plain, threshold_of
from boxmill.types import Float32

__all__ = ["soft_nms"]

_Array = npt.NDArray[Any]


def soft_nms(
    boxes: _Array,
    scores: _Array,
    classes: _Array | None = None,
    *,
    method: Literal["linear", "gaussian"] = "linear",
    iou: float = 0.3,
    sigma: float = 0.5,
    conf: float = 0.001,
    max_det: int | None = None,
) -> tuple[npt.NDArray[np.int64], Float32]:
    """Class-aware Soft-NMS (Bodla and others, arXiv 1704.04503): overlapped boxes lose score instead of their place.

    Again and again the box of the highest score is picked, the lower index on ties, and the scores of all other boxes
    of its class decay: `linear`, by the factor 1 - IoU where IoU > float32(iou); `gaussian`, by exp(-IoU^2 / sigma). A
    box goes when its score, rounded to float32, is not > float32(conf) any more. IoU is that of `nms`, in float32;
    scores decay in double and are rounded to float32 at the end (`boxmill.post.reference.soft_nms`). A row with a NaN
    score or coordinate is dropped, and a NaN IoU decays nothing.

    The answer at a higher `conf` is exactly the part of this one that scores above it: a box is picked after all that
    score more, so what falls below that threshold only decays what is below it already.

    Args:
        boxes: (N, 4) float32 (or float16) x1, y1, x2, y2, in any unit.
        scores: (N,) float32 (or float16), not logits: only scores above 0 can decay.
        classes: (N,) of any integer dtype, compared as integers; None: all boxes compete.
        method: the paper's linear or Gaussian decay.
        iou: the linear threshold, 0 to 1; the Gaussian has none.
        sigma: the Gaussian's, above 0; the linear decay has none.
        conf: the lowest score, 0 or more.
        max_det: stop after this many boxes; they are the first ones of the unlimited answer.

    Returns:
        (K,) int64 indices of the kept rows in the order of their decayed scores, and those scores, (K,) float32.

    Raises:
        UsageError: an array has another shape or dtype, or an option is out of range.
    """
    if method not in ("linear", "gaussian"):
        raise UsageError(f"method must be linear or gaussian, got {method!r}")
    gaussian, limit = method == "gaussian", NO_LIMIT if max_det is None else max_det
    found = _native.soft_nms(boxes, scores, classes, gaussian, iou, sigma, conf, limit)
    if found is None:
        _check(sigma, conf)
        arrays = plain(boxes, scores, classes)
        found = _native.soft_nms(*arrays, gaussian, threshold_of(iou), sigma, conf, count_of(limit))
        if found is None:
            raise UsageError(f"soft_nms takes at most {NO_LIMIT - 64} boxes, got {len(scores)}")
    return np.frombuffer(found[0], np.int64), np.frombuffer(found[1], np.float32)


def _check(sigma: float, conf: float) -> None:
    if not isinstance(sigma, Real) or not 0 < sigma < math.inf:
        raise UsageError(f"sigma must be a number above 0, got {sigma!r}")
    if not isinstance(conf, Real) or not 0 <= conf < math.inf:
        raise UsageError(f"conf must be a number, 0 or more, got {conf!r}")
