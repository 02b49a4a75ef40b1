"""One run against ground truth, and two runs against each other: everything that is computed, as data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boxmill.errors import SourceError, UsageError
from boxmill.evaluate.bootstrap import Interval, bootstrap
from boxmill.evaluate.coco import NUMBERS, CocoNumbers, coco_numbers
from boxmill.evaluate.difference import Agreement, Difference, Side, Tolerance, compare_runs
from boxmill.evaluate.published import VAL2017, Published, published
from boxmill.evaluate.runs import EvaluatedRun
from boxmill.evaluate.scene import Scene, confront
from boxmill.evaluate.shown import ImageShare, Shown, image_share, shown
from boxmill.evaluate.truth import Truth

__all__ = ["COMPARABLE", "Comparison", "Report", "Request", "compare", "evaluate"]

COMPARABLE = 0.01  # above this threshold average precision is noticeably lower than it would be without one


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an evaluation."""

    conf: float | None = None  # threshold for what is shown; None: the run's
    sample: int | None = None  # images for the share of right ones; None: all
    seed: int = 0
    draws: int = 1000  # of the bootstrap
    tolerance: Tolerance = Tolerance()
    class_map: Mapping[str, str | None] | None = None
    val2017: bool = False  # the ground truth is COCO's


@dataclass(frozen=True, slots=True)
class Report:
    """One run against ground truth."""

    run: EvaluatedRun
    scene: Scene
    numbers: CocoNumbers
    shown: Shown
    share: ImageShare
    published: Published | None
    val2017: bool

    @property
    def keep(self) -> float:
        """What the journal kept scores above this; average precision is computed from all of it."""
        return self.run.header.keep_conf or 0.0

    @property
    def again(self) -> str | None:
        """The command whose average precision compares with others'; None where this run's does."""
        if self.keep <= COMPARABLE:
            return None
        source = self.run.source or "SOURCE"
        return f"boxmill run {shlex.quote(source)} --weights {shlex.quote(self.run.header.weights)} --keep-conf 0.001"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        scene, names = self.scene, self.scene.names
        low, high = self.share.interval(self.share.right)
        exact = self.share.interval(self.share.exact)
        return {
            "run": str(self.run.directory),
            "ground_truth": str(scene.truth),
            "images": len(scene.views),
            "objects": sum(int((~view.crowd).sum()) for view in scene.views),
            "crowds": sum(int(view.crowd.sum()) for view in scene.views),
            "without_result": scene.without_result(),
            "matched_by_whole_path": scene.pairs.whole,
            "ambiguous": list(scene.pairs.ambiguous),
            "inputs_left_out": scene.pairs.unused,
            "remarks": list(scene.remarks),
            "classes_matched": scene.classes.how,
            "class_map": [list(pair) for pair in scene.classes.pairs],
            "categories_left_out": list(scene.classes.left_out),
            "classes_left_out": list(scene.classes.unused),
            "kept_above": self.keep,
            "comparable": self.again is None,
            "command_for_comparable": self.again,
            "coco": dict(zip(NUMBERS, self.numbers.values, strict=True)),
            "classes": [
                {
                    "id": one.class_id, "name": names[one.class_id], "objects": one.objects,
                    "ap": one.ap, "ap50": one.ap50,
                }
                for one in self.numbers.classes
            ],
            "shown": _shown(self.shown, names),
            "images_right": {
                "sample": self.share.images, "seed": self.share.seed,
                "right": self.share.right, "interval": [low, high],
                "exact": self.share.exact, "exact_interval": list(exact),
            },
            "published": None if self.published is None else {
                "model": self.published.model, "ap": self.published.ap, "source": self.published.source,
            },
        }  # fmt: skip


def _shown(one: Shown, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "conf": one.conf, "iou": 0.5, "right": one.right, "wrong": one.wrong, "missed": one.missed,
        "precision": one.precision, "recall": one.recall,
        "confusions": [
            {
                "true": None if row.true is None else names[row.true],
                "shown": None if row.shown is None else names[row.shown],
                "count": row.count,
            }
            for row in one.confusions
        ],
    }  # fmt: skip


def evaluate(run: EvaluatedRun, truth: Truth, request: Request) -> Report:
    """Judges one run.

    Raises:
        UsageError: classes do not fit, the threshold is below what was kept, or no evaluator is installed.
        SourceError: no image of the ground truth is an input of the run, or --coco is no whole val2017.
    """
    if request.sample is not None and request.sample < 1:
        raise UsageError(f"--sample {request.sample}: expected at least 1 image")
    conf = run.threshold(request.conf)
    scene = confront(truth, run, request.class_map)
    known = published(run.header.weights, len(run.header.names)) if request.val2017 else None
    return Report(
        run,
        scene,
        coco_numbers(scene),
        shown(scene, conf),
        image_share(scene, conf, request.sample, request.seed),
        known,
        request.val2017 and len(scene.views) == VAL2017,
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of the same inputs."""

    runs: tuple[EvaluatedRun, EvaluatedRun]
    conf: tuple[float, float]
    agreement: Agreement
    request: Request
    reports: tuple[Report, Report] | None  # with ground truth
    intervals: tuple[Interval, Interval] | None  # AP, AP50; B less A

    def document(self, limit: int | None) -> dict[str, Any]:
        """As JSON, with the first `limit` differences."""
        found, names = self.agreement, self.runs[0].header.names
        pairs = max(found.pairs, 1)
        document: dict[str, Any] = {
            "a": str(self.runs[0].directory), "b": str(self.runs[1].directory), "conf": list(self.conf),
            "images": found.images, "images_alike": found.alike, "inputs_only": list(found.only_inputs),
            "without_result": list(found.without_result), "objects": list(found.objects),
            "pairs": found.pairs, "pairs_equal": found.equal, "share_paired": found.share,
            "mean_iou": found.iou_sum / pairs, "mean_score_difference": found.score_sum / pairs,
            "max_score_difference": found.score_max, "max_pixels": found.pixels_max,
            "tolerance": {"pixels": self.request.tolerance.pixels, "score": self.request.tolerance.score},
            "difference_counts": found.counts,
            "differences": [_difference(one, names) for one in found.differences[:limit]],
        }  # fmt: skip
        if self.reports is not None and self.intervals is not None:
            a, b = self.reports
            document["ground_truth"] = {
                "a": a.document(), "b": b.document(),
                "delta": dict(zip(NUMBERS, deltas(a.numbers, b.numbers), strict=True)),
                "bootstrap": {
                    "draws": self.request.draws, "seed": self.request.seed, "confidence": 0.95,
                    **{
                        name: {"delta": one.value, "low": one.low, "high": one.high}
                        for name, one in zip(("AP", "AP50"), self.intervals, strict=True)
                    },
                },
            }  # fmt: skip
        return document


def deltas(first: CocoNumbers, second: CocoNumbers) -> list[float | None]:
    """Each number of the second less that of the first; None where either has none."""
    pairs = zip(first.values, second.values, strict=True)
    return [None if a is None or b is None else b - a for a, b in pairs]


def _difference(one: Difference, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "image": one.key, "kind": one.kind, "pixels": one.pixels, "iou": one.iou,
        "a": _side(one.a, names), "b": _side(one.b, names),
    }  # fmt: skip


def _side(side: Side | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    if side is None:
        return None
    return {"label": names[side.class_id], "class_id": side.class_id, "confidence": side.score, "bbox": list(side.box)}


def compare(first: EvaluatedRun, second: EvaluatedRun, truth: Truth | None, request: Request) -> Comparison:
    """Compares two runs; with ground truth, also how good they are.

    Raises:
        UsageError: other classes, no common input, a threshold below what was kept, or no evaluator is installed.
        SourceError: no image of the ground truth is an input of a run, or it has no objects.
    """
    if request.draws < 1:
        raise UsageError(f"--draws {request.draws}: expected at least 1")
    conf = (first.threshold(request.conf), second.threshold(request.conf))
    agreement = compare_runs(first, second, conf, request.tolerance)
    if truth is None:
        return Comparison((first, second), conf, agreement, request, None, None)
    a, b = evaluate(first, truth, request), evaluate(second, truth, request)
    if a.numbers.values[0] is None:
        raise SourceError(f"--gt {str(truth.path)!r} has no objects, so there is no average precision to compare")
    intervals = bootstrap(a.scene, b.scene, request.draws, request.seed)
    return Comparison((first, second), conf, agreement, request, (a, b), intervals)
