"""One pass over a run's journal: everything that the report counts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from boxmill.store import States, load, replay
from boxmill.types import Detections, Failure, Float32, Int32

__all__ = ["SCORE_BINS", "Survey", "survey"]

SCORE_BINS = 40  # of equal width, from 0 to 1
_CHUNK = 4096  # images whose objects are counted at once

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(slots=True)
class ByClass:
    """By class id."""

    objects: Int64  # (C,)
    images: Int64  # (C,) that have at least one
    scores: Float64  # (C,) sum over the objects


@dataclass(slots=True)
class Survey:
    """What a run's journal holds, at the run's own threshold. About 30 bytes an input."""

    states: States
    count: Int32  # (total,) objects or tags
    lowest: Float32  # (total,) score; NaN where there is no object
    spent: Float32  # (total,) milliseconds, all stages together
    cut: Bool  # (total,) a limit was reached
    classes: ByClass
    scores: Int64 = field(default_factory=lambda: np.zeros(SCORE_BINS, np.int64))
    beyond: int = 0  # scores below 0 or above 1
    ended: Float64 = field(default_factory=lambda: np.empty(0))  # (N,) ascending; seconds since 1970
    began: float = 0.0  # when work on the first of those did
    untimed: int = 0  # finished inputs whose record has no time

    @property
    def total(self) -> int:
        """Inputs."""
        return len(self.count)


def survey(directory: str | os.PathLike[str], total: int, classes: int) -> Survey:
    """Counts a run with `total` inputs and `classes` classes.

    Raises:
        OutputError: the journal cannot be read.
    """
    by_class = ByClass(np.zeros(classes, np.int64), np.zeros(classes, np.int64), np.zeros(classes))
    seen = Survey(
        load(directory, total),
        np.zeros(total, np.int32),
        np.full(total, np.nan, np.float32),
        np.zeros(total, np.float32),
        np.zeros(total, np.bool_),
        by_class,
    )
    begins, ends = [], []  # of each record with a time
    chunk = _Chunk(seen)
    for record in replay(directory, total):
        spent = sum(record.ms.values())
        seen.spent[record.i] = spent
        if record.at is None:
            seen.untimed += 1
        else:
            ends.append(record.at)
            begins.append(record.at - spent / 1e3)
        result = record.seen().result
        if isinstance(result, Failure):
            continue
        seen.count[record.i] = len(result)
        if len(result):
            seen.lowest[record.i] = result.scores.min()
            chunk.add(result.classes, result.scores)
        seen.cut[record.i] = isinstance(result, Detections) and result.cut is not None
    chunk.flush()
    seen.ended, seen.began = np.sort(np.array(ends, np.float64)), min(begins, default=0.0)
    return seen


class _Chunk:
    """Objects of some images, counted together: numpy's calls cost more than what they do for one image."""

    def __init__(self, into: Survey) -> None:
        self._into = into
        self._classes: list[Int32] = []
        self._scores: list[Float32] = []

    def add(self, classes: Int32, scores: Float32) -> None:
        self._classes.append(classes)
        self._scores.append(scores)
        if len(self._classes) == _CHUNK:
            self.flush()

    def flush(self) -> None:
        if not self._classes:
            return
        known = self._into.classes
        size = len(known.objects)
        image = np.repeat(np.arange(len(self._classes)), [len(one) for one in self._classes])  # (N,)
        classes = np.concatenate(self._classes).astype(np.int64)  # (N,)
        scores = np.concatenate(self._scores).astype(np.float64)  # (N,)
        known.objects += np.bincount(classes, minlength=size)
        known.scores += np.bincount(classes, scores, minlength=size)
        known.images += np.bincount(np.unique(image * size + classes) % size, minlength=size)
        inside = scores[(scores >= 0) & (scores <= 1)]
        bins = np.minimum((inside * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        self._into.scores += np.bincount(bins, minlength=SCORE_BINS)
        self._into.beyond += len(scores) - len(inside)
        self._classes.clear()
        self._scores.clear()
