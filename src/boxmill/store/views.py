"""A result as it is seen at a higher threshold than it was kept at (--keep-conf).

Greedy NMS is a prefix in score order: what scores above C is decided by nothing that scores less, and a limit takes
away the lowest. So the objects above C of a run at a lower threshold are the objects of a run at C, bit for bit, and a
limit has taken one away from them exactly if `cut` is above C. (With an objectness, as long as no class score is above
1.) Soft NMS is a prefix too: a box decays others only once it is the best one left, so one whose decayed score is not
above C changes none that is. `nan` alone may be higher: more candidates were looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from boxmill.types import Detections, Failure, Outcome, Tags

__all__ = ["seen", "seen_result"]

Result = TypeVar("Result", Detections, Tags)


def seen(outcome: Outcome, conf: float | None) -> Outcome:
    """The outcome with only what scores above `conf`; None: all that was kept."""
    if conf is None or isinstance(outcome.result, Failure):
        return outcome
    if isinstance(outcome.result, Tags):
        return replace(outcome, result=seen_result(outcome.result, conf))
    return replace(outcome, result=seen_result(outcome.result, conf))


def seen_result(result: Result, conf: float) -> Result:
    """The objects or tags whose score is greater than float32(conf): the comparison that candidates are chosen by."""
    above = result.scores > np.float32(conf)
    if isinstance(result, Tags):
        return replace(result, classes=result.classes[above], scores=result.scores[above])
    cut = result.cut if result.cut is not None and result.cut > np.float32(conf) else None
    return replace(
        result,
        boxes=result.boxes[above],
        scores=result.scores[above],
        classes=result.classes[above],
        indices=result.indices[above],
        cut=cut,
    )
