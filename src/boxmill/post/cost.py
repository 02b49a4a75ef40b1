"""What one NMS, or one head, costs: candidates, IoU tests, survivors, and the time of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill import _native
from boxmill.errors import UsageError
from boxmill.post.nms import NO_LIMIT, count_of, plain, threshold_of
from boxmill.types import Detections

__all__ = ["NmsCost", "PostprocessCost", "cost_table", "nms_cost"]


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


@dataclass(frozen=True, slots=True, eq=False)
class PostprocessCost:
    """One image's answer of a `Postprocessor`, and its cost inside the native core, without the call from Python.

    Counts are those of `NmsCost`. Soft NMS tests a candidate only when it may be the best one left.
    """

    detections: Detections
    candidates: int  # (anchor, class) pairs above conf that entered suppression
    tests: int  # IoUs computed
    filter: float  # µs: the head read, its candidates decoded, those without NaN
    group: float  # µs: classes, and room for the survivors of each
    sort: float  # µs: the order of scores
    suppress: float  # µs: IoU tests, keeping survivors
    scale: float  # µs: survivors gathered, and their boxes to source pixels

    @property
    def kept(self) -> int:
        """Objects found."""
        return len(self.detections)

    @property
    def total(self) -> float:
        """µs: all steps."""
        return self.filter + self.group + self.sort + self.suppress + self.scale


_COLUMNS = ("image", "candidates", "IoU tests", "kept", "cut", "filter", "group", "sort", "suppress", "scale", "total")


def cost_table(costs: Sequence[PostprocessCost]) -> str:
    """A Markdown table, a row for each image in the order of the batch; times in µs, `cut` – where nothing was lost."""
    rows = [_COLUMNS, *(_cells(image, cost) for image, cost in enumerate(costs))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["| " + " | ".join(map(str.rjust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cells(image: int, cost: PostprocessCost) -> tuple[str, ...]:
    cut = cost.detections.cut
    counts = (str(image), str(cost.candidates), str(cost.tests), str(cost.kept), "–" if cut is None else f"{cut:.4g}")
    steps = (cost.filter, cost.group, cost.sort, cost.suppress, cost.scale, cost.total)
    return (*counts, *(f"{step:.1f}" for step in steps))
