"""What two runs of the same inputs say differently, object by object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from boxmill.errors import UsageError
from boxmill.evaluate.matching import Boxes, match
from boxmill.evaluate.runs import EvaluatedRun
from boxmill.evaluate.scene import Objects
from boxmill.types import Detections, Outcome

__all__ = ["Agreement", "Difference", "Tolerance", "compare_runs"]

Kind = Literal["only A", "only B", "class", "moved", "score"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as a difference of two objects that are a pair."""

    pixels: float = 1.0  # of any side
    score: float = 0.01


@dataclass(frozen=True, slots=True)
class Side:
    """One object as one run has it."""

    class_id: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that the runs do not have alike. `moved` may have another score as well, `class` both."""

    key: str
    kind: Kind
    a: Side | None
    b: Side | None
    pixels: float = 0.0  # how far the side that moved most did
    iou: float = 0.0

    @property
    def score(self) -> float:
        """The higher of both."""
        return max(side.score for side in (self.a, self.b) if side is not None)


@dataclass(slots=True)
class Agreement:
    """Counts over the inputs that both runs have a result for."""

    images: int = 0
    alike: int = 0  # images with the same objects, bit for bit
    only_inputs: tuple[int, int] = (0, 0)  # inputs that only A, only B was given
    without_result: tuple[int, int] = (0, 0)  # common inputs for which A, B has none
    objects: tuple[int, int] = (0, 0)
    pairs: int = 0  # of one class, IoU above .5
    equal: int = 0  # of those, box and score bit for bit
    iou_sum: float = 0.0
    score_sum: float = 0.0  # of absolute differences
    score_max: float = 0.0
    pixels_max: float = 0.0
    differences: list[Difference] = field(default_factory=list)  # best score first

    @property
    def share(self) -> float:
        """Objects that have a partner, of all of both runs; 1 where there are none."""
        return 2 * self.pairs / sum(self.objects) if sum(self.objects) else 1.0

    @property
    def counts(self) -> dict[str, int]:
        """Differences by kind."""
        kinds = [one.kind for one in self.differences]
        return {kind: kinds.count(kind) for kind in ("only A", "only B", "class", "moved", "score")}


def compare_runs(
    first: EvaluatedRun, second: EvaluatedRun, conf: tuple[float, float], tolerance: Tolerance
) -> Agreement:
    """Compares what two runs show, image by image; inputs are the same where their keys are.

    Args:
        first: A.
        second: B; its classes must be A's.
        conf: objects score above this, in A and in B.
        tolerance: what counts as a difference of a pair.

    Raises:
        UsageError: other classes, or no common input.
    """
    if first.header.names != second.header.names:
        names = [", ".join(run.header.names) for run in (first, second)]
        raise UsageError(f"the runs have other classes\nA: {names[0]}\nB: {names[1]}")
    places = {key: index for index, key in enumerate(second.keys)}
    common = [(index, places[key]) for index, key in enumerate(first.keys) if key in places]
    if not common:
        raise UsageError(
            f"the runs have no input in common: A has {first.keys[:1]}, B {second.keys[:1]}; "
            "expected two runs of the same source"
        )
    found = Agreement(only_inputs=(len(first.keys) - len(common), len(second.keys) - len(common)))
    for one, other in _together(first, second, common):
        states = [outcome is not None and isinstance(outcome.result, Detections) for outcome in (one, other)]
        found.without_result = _plus(found.without_result, (int(not states[0]), int(not states[1])))
        if one is not None and other is not None and all(states):
            _add(found, one.key, _objects(one, conf[0]), _objects(other, conf[1]), tolerance)
    found.differences.sort(key=lambda one: (-one.score, one.key))
    return found


def _together(
    first: EvaluatedRun, second: EvaluatedRun, common: list[tuple[int, int]]
) -> Iterator[tuple[Outcome | None, Outcome | None]]:
    others = {outcome.index: outcome for outcome in second.outcomes([b for _, b in common])}
    ones = first.outcomes([a for a, _ in common])
    outcome = next(ones, None)
    for a, b in common:  # ascending in a, as the outcomes are
        mine = outcome if outcome is not None and outcome.index == a else None
        if mine is not None:
            outcome = next(ones, None)
        yield mine, others.get(b)


def _plus(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    return left[0] + right[0], left[1] + right[1]


def _objects(outcome: Outcome, conf: float) -> Objects:
    found = outcome.result
    if not isinstance(found, Detections):
        raise TypeError(f"expected Detections, got {type(found).__name__}")
    return Objects(found.boxes, found.scores, found.classes).above(conf)


def _add(found: Agreement, key: str, a: Objects, b: Objects, tolerance: Tolerance) -> None:
    matches = match(Boxes(a.boxes, a.classes), Boxes(b.boxes, b.classes))
    mine, theirs = np.flatnonzero(matches.partner >= 0), matches.partner[matches.partner >= 0]
    gaps = np.abs(a.boxes[mine].astype(np.float64) - b.boxes[theirs]).max(axis=1, initial=0.0)  # (P,) pixels
    steps = np.abs(a.scores[mine].astype(np.float64) - b.scores[theirs])
    same = matches.same[mine]
    equal = same & (gaps == 0) & (steps == 0)
    found.images += 1
    found.alike += len(a.scores) == len(b.scores) == int(equal.sum())
    found.objects = _plus(found.objects, (len(a.scores), len(b.scores)))
    found.pairs += int(same.sum())
    found.equal += int(equal.sum())
    found.iou_sum += float(matches.iou[mine][same].sum())
    found.score_sum += float(steps[same].sum())
    found.score_max = max(found.score_max, float(steps[same].max(initial=0.0)))
    found.pixels_max = max(found.pixels_max, float(gaps[same].max(initial=0.0)))
    rows = zip(mine.tolist(), theirs.tolist(), same.tolist(), gaps.tolist(), steps.tolist(), strict=True)
    for x, y, one_class, gap, step in rows:
        kind = _kind(tolerance, gap, step, same=one_class)
        if kind is not None:
            found.differences.append(Difference(key, kind, _side(a, x), _side(b, y), gap, float(matches.iou[x])))
    lost = np.flatnonzero(matches.partner < 0).tolist()
    new = np.setdiff1d(np.arange(len(b.scores)), theirs).tolist()
    found.differences += [Difference(key, "only A", _side(a, place), None) for place in lost]
    found.differences += [Difference(key, "only B", None, _side(b, place)) for place in new]


def _kind(tolerance: Tolerance, gap: float, step: float, *, same: bool) -> Kind | None:
    if not same:
        return "class"
    if gap > tolerance.pixels:
        return "moved"
    return "score" if step > tolerance.score else None


def _side(objects: Objects, place: int) -> Side:
    x1, y1, x2, y2 = objects.boxes[place].tolist()
    return Side(int(objects.classes[place]), float(objects.scores[place]), (x1, y1, x2, y2))
