"""What one NMS costs: candidates, IoU tests, survivors, and the time of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill import _native
from boxmill.errors import UsageError
from boxmill.post.nms import NO_LIMIT, count_of, plain, threshold_of

__all__ = ["NmsCost", "nms_cost"]


@dataclass(frozen=True, slots=True, eq=False)
class NmsCost:
    """The answer of `nms`, and its cost inside the native core, without the call from Python.

    The core tests sixteen survivors at a time and stops at the first sixteen that suppress. A survivor that lies in
    several cells of the grid that large classes get may be tested more than once.
    """

    kept: npt.NDArray[np.int64]  # (K,) as `nms` returns them
    nan: int  # rows dropped because a score or a coordinate was NaN
    candidates: int  # that entered suppression
    tests: int  # IoUs computed
    filter: float  # µs: rows without NaN
    group: float  # µs: classes, and room for the survivors of each
    sort: float  # µs: the order of scores
    suppress: float  # µs: IoU tests, keeping survivors


def nms_cost(
    boxes: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    classes: npt.NDArray[Any] | None = None,
    *,
    iou: float = 0.45,
    max_nms: int | None = None,
    max_det: int | None = None,
) -> NmsCost:
    """`nms` by a copy of the same native code that counts and takes the time; `nms` itself does neither.

    Args:
        boxes: (N, 4) as for `nms`, and so are those below.
        scores: (N,).
        classes: (N,) or None.
        iou: the threshold, 0 to 1.
        max_nms: only so many best candidates enter suppression.
        max_det: stop after this many survivors.

    Raises:
        UsageError: as `nms`.
    """
    most, limit = (count_of(NO_LIMIT if number is None else number) for number in (max_nms, max_det))
    found = _native.nms_cost(*plain(boxes, scores, classes), threshold_of(iou), most, limit)
    if found is None:
        raise UsageError(f"nms_cost takes at most {NO_LIMIT - 64} boxes, got {len(scores)}")
    kept, nan, candidates, tests, seconds = found
    return NmsCost(np.frombuffer(kept, np.int64), nan, candidates, tests, *(1e6 * step for step in seconds))
