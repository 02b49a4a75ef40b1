"""Ground truth and a run side by side, image by image, in class ids of the model: what everything is computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boxmill.errors import SourceError
from boxmill.evaluate.classes import ClassMap, map_classes
from boxmill.evaluate.images import ImagePairs, pair_images
from boxmill.evaluate.runs import EvaluatedRun
from boxmill.evaluate.truth import Bool, Float64, Int64, Truth, TruthImage
from boxmill.types import Detections, Failure, Float32, Int32, Outcome

__all__ = ["Objects", "Scene", "View", "confront"]


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What a run found in one image, best first."""

    boxes: Float32  # (N, 4) x1, y1, x2, y2
    scores: Float32  # (N,)
    classes: Int32  # (N,)

    def above(self, conf: float) -> Objects:
        """Only what scores above `conf`, the comparison by which a run selects."""
        kept = self.scores > np.float32(conf)
        return Objects(self.boxes[kept], self.scores[kept], self.classes[kept])


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One image of the ground truth."""

    name: str
    boxes: Float64  # (M, 4) x1, y1, x2, y2 in pixels: what is there
    classes: Int64  # (M,)
    crowd: Bool  # (M,)
    areas: Float64  # (M,)
    found: Objects  # nothing where there is no result
    state: str  # ok; failed; open: the run has not come to it; absent: it is none of the run's inputs


@dataclass(frozen=True, slots=True)
class Scene:
    """All images of the ground truth against one run."""

    truth: Path
    views: tuple[View, ...]
    classes: ClassMap
    names: tuple[str, ...]  # of the model's classes, by id
    pairs: ImagePairs
    remarks: tuple[str, ...]

    def without_result(self) -> dict[str, int]:
        """How many images of each state but ok; all their objects count as missed."""
        states = [view.state for view in self.views]
        return {state: states.count(state) for state in ("failed", "open", "absent") if state in states}


def confront(truth: Truth, run: EvaluatedRun, given: Mapping[str, str | None] | None = None) -> Scene:
    """Sets a run against ground truth.

    Args:
        truth: ground truth; each of its images counts, also one without a result.
        run: the run; inputs that the ground truth does not know are left out.
        given: the class of each category; None: by name.

    Raises:
        SourceError: no image of the ground truth is an input of the run.
        UsageError: categories and classes do not fit.
    """
    classes = map_classes(truth, run.header.names, given)
    pairs = pair_images([image.name for image in truth.images], run.keys, stems=truth.stems)
    wanted = [index for index in pairs.inputs if index is not None]
    if not wanted:
        first = [repr(names[0]) if names else "none" for names in ([one.name for one in truth.images], run.keys)]
        raise SourceError(
            f"--gt {str(truth.path)!r} knows none of the run's images: its first is {first[0]}, the run's {first[1]}"
        )
    outcomes = {outcome.index: outcome for outcome in run.outcomes(wanted)}
    images, remarks = _sized(truth, pairs, outcomes)
    look = np.array([-1 if one is None else one for one in classes.classes], np.int64)
    used = np.array(classes.used, np.int64)
    views = tuple(
        _view(image, look, used, None if index is None else outcomes.get(index), absent=index is None)
        for image, index in zip(images, pairs.inputs, strict=True)
    )
    return Scene(truth.path, views, classes, run.header.names, pairs, (*truth.remarks, *remarks))


def _sized(truth: Truth, pairs: ImagePairs, outcomes: Mapping[int, Outcome]) -> tuple[list[TruthImage], list[str]]:
    """The images with boxes in pixels, and what is to be said of sizes."""
    sizes = [None if index is None or index not in outcomes else outcomes[index].size for index in pairs.inputs]
    unlike = sum(
        image.size is not None and size is not None and image.size != size
        for image, size in zip(truth.images, sizes, strict=True)
    )
    remarks = []
    if unlike:
        remarks.append(
            f"{unlike} images have another width and height in the ground truth than in the run: "
            "their boxes may lie elsewhere (was the rotation in EXIF applied?)"
        )
    if not truth.relative:
        return list(truth.images), remarks
    known = [size for size in sizes if size is not None]
    usual = (640, 640) if not known else _median(known)
    if unknown := len(sizes) - len(known):
        remarks.append(
            f"{unknown} images have no size, as the run did not decode them: their objects count as those of "
            f"{usual[0]}x{usual[1]} images, which matters only to which of them are small, medium or large"
        )
    return [image.in_pixels(size or usual) for image, size in zip(truth.images, sizes, strict=True)], remarks


def _median(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    width, height = np.median(np.array(sizes), axis=0)
    return round(float(width)), round(float(height))


def _view(image: TruthImage, look: Int64, used: Int64, outcome: Outcome | None, *, absent: bool) -> View:
    classes = look[image.categories]
    kept = classes >= 0
    found = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    state = "absent" if absent else "open" if outcome is None else "failed"
    if outcome is not None and isinstance(outcome.result, Detections):
        state = "ok"
        mine = np.isin(outcome.result.classes, used)
        found = Objects(outcome.result.boxes[mine], outcome.result.scores[mine], outcome.result.classes[mine])
    elif outcome is not None and not isinstance(outcome.result, Failure):
        raise SourceError(f"{outcome.key!r} has tags for a result; expected boxes")
    return View(
        image.name, image.boxes[kept], classes[kept], image.crowd[kept], image.object_areas()[kept], found, state
    )
