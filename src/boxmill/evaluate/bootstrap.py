"""How sure a difference in average precision is: a paired bootstrap over images.

Each draw takes as many images as there are, with replacement, the same for both runs, and computes AP again. The
interval is the middle 95 % of the differences (B. Efron, Bootstrap methods, Annals of Statistics 7, 1979). An image
that is drawn twice counts twice: hotcoco's own `compare` takes each drawn image once, which is a sample of about 63 %
of them without replacement, whose spread is smaller: intervals come out about three quarters as wide.

Matching is done once, as it is a matter of one image. Only precision at the places of right detections has to be
computed for each draw: the interpolated precision, its maximum from the right, lies at one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boxmill.evaluate.coco import evaluation
from boxmill.evaluate.scene import Scene
from boxmill.evaluate.truth import Bool, Float64, Int64

__all__ = ["Interval", "Matched", "bootstrap", "draw_images", "matched", "resampled"]

_RECALLS = np.linspace(0.0, 1.0, 101)
_CELLS = 1 << 22  # of an array of draws by detections


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference and the middle 95 % of its bootstrap distribution."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class _Class:
    """The detections of one class, best first, and its objects."""

    images: Int64  # (N,) place of each detection's image
    right: Bool  # (10, N) by IoU threshold: has an object
    ignored: Bool  # (10, N) lies in a crowd, or is one of a crowd: not counted
    objects: Int64  # (images,) number of objects in each


@dataclass(frozen=True, slots=True)
class Matched:
    """What average precision needs of a run, image by image."""

    classes: tuple[_Class, ...]
    images: int


def matched(scene: Scene) -> Matched:
    """Does the matching. Raises UsageError where hotcoco is not installed."""
    used, total = scene.classes.used, len(scene.views)
    cells: dict[int, list[dict[str, Any]]] = {class_id: [] for class_id in used}
    for cell in evaluation(scene.views, used, whole=False).eval_imgs:
        if cell is not None:
            cells[cell["category_id"] - 1].append(cell)
    return Matched(tuple(_collect(cells[class_id], total) for class_id in used), total)


def _collect(cells: Sequence[dict[str, Any]], total: int) -> _Class:
    """One class, from what was matched in each image that has anything of it."""
    scores, images, objects = [np.zeros(0)], [np.zeros(0, np.int64)], np.zeros(total, np.int64)
    right, ignored = [np.zeros((10, 0), np.bool_)], [np.zeros((10, 0), np.bool_)]
    for cell in sorted(cells, key=lambda one: one["image_id"]):
        place = cell["image_id"] - 1
        found = np.array(cell["dtScores"], np.float64)
        scores.append(found)
        images.append(np.full(len(found), place))
        right.append(np.array(cell["dtMatched"], np.bool_).reshape(10, -1))
        ignored.append(np.array(cell["dtIgnore"], np.bool_).reshape(10, -1))
        objects[place] = len(cell["gtIgnore"]) - sum(cell["gtIgnore"])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    skip = np.concatenate(ignored, axis=1)[:, order]
    return _Class(
        np.concatenate(images)[order], np.concatenate(right, axis=1)[:, order] & ~skip, skip, objects
    )  # fmt: skip


def draw_images(images: int, draws: int, seed: int) -> Int64:
    """(draws, images): how often each draw takes each image."""
    chosen = np.random.default_rng(seed).integers(0, images, (draws, images))
    return np.stack([np.bincount(row, minlength=images) for row in chosen])


def resampled(run: Matched, weights: Int64) -> Float64:
    """AP and AP50 (D, 2) when each image counts as often as `weights` (D, images) says; NaN where nothing is there."""
    parts = [_class_precision(one, weights) for one in run.classes]  # each (D, 10), NaN without objects
    by_class = np.stack(parts) if parts else np.full((1, len(weights), 10), np.nan)
    there = ~np.isnan(by_class[:, :, 0])  # (C, D)
    count = np.maximum(there.sum(axis=0), 1)
    both = np.stack([by_class.mean(axis=2), by_class[:, :, 0]], axis=2)  # (C, D, 2)
    result: Float64 = np.where(there[:, :, None], both, 0.0).sum(axis=0) / count[:, None]
    result[~there.any(axis=0)] = np.nan
    return result


def _class_precision(one: _Class, weights: Int64) -> Float64:
    """(D, 10) average precision of a class at each IoU threshold."""
    step = max(1, _CELLS // max(1, len(one.images)))
    chunks = [_chunk(one, weights[start : start + step]) for start in range(0, len(weights), step)]
    return np.concatenate(chunks)


def _chunk(one: _Class, weights: Int64) -> Float64:
    objects = (weights @ one.objects).astype(np.float64)  # (D,)
    result = np.full((len(weights), 10), np.nan)
    result[objects > 0] = 0.0
    counts = weights[:, one.images]  # (D, N)
    seen = np.cumsum(counts, axis=1)
    for level in range(10):
        places = np.flatnonzero(one.right[level])
        if not len(places):
            continue
        skipped = np.flatnonzero(one.ignored[level])
        before = np.zeros((len(weights), len(skipped) + 1), np.int64)
        before[:, 1:] = np.cumsum(counts[:, skipped], axis=1)
        shown = seen[:, places] - before[:, np.searchsorted(skipped, places)]  # (D, K) down to each right one
        result[:, level] = _average(np.cumsum(counts[:, places], axis=1), shown, objects)
    return result


def _average(right: Int64, shown: Int64, objects: Float64) -> Float64:
    """(D,) mean of the interpolated precision at 101 recalls, from counts (D, K) at each right detection."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(shown > 0, right / np.maximum(shown, 1), 0.0)
        recall = right / objects[:, None]
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(_RECALLS, np.nan_to_num(recall), side="right")  # (D, K) recalls that are not above
    reached = np.where(right > 0, reached, 0)  # an image that was not drawn
    share = np.diff(reached, axis=1, prepend=0) / len(_RECALLS)
    return np.where(objects > 0, (best * share).sum(axis=1), np.nan)


def bootstrap(first: Scene, second: Scene, draws: int, seed: int) -> tuple[Interval, Interval]:
    """AP and AP50 of `second` less those of `first`, each with its interval.

    Args:
        first: one run against ground truth.
        second: the other, against the same.
        draws: how many samples of images.
        seed: of the random numbers: the same seed gives the same interval.
    """
    a, b = matched(first), matched(second)
    weights = draw_images(a.images, draws, seed)
    whole = np.ones((1, a.images), np.int64)
    value = (resampled(b, whole) - resampled(a, whole))[0]
    spread = resampled(b, weights) - resampled(a, weights)
    low, high = np.nanpercentile(spread, [2.5, 97.5], axis=0)
    ap, ap50 = (Interval(float(value[n]), float(low[n]), float(high[n])) for n in range(2))
    return ap, ap50
