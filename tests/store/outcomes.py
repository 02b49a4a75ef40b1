"""Made-up outcomes for tests of the store."""

from __future__ import annotations

import numpy as np

from boxmill.types import Detections, Failure, Outcome

NAMES = tuple(f"class {number}" for number in range(80))


def found(index: int, count: int = 3, key: str | None = None, cut: float | None = None) -> Outcome:
    """A result with `count` objects that depend on `index` alone."""
    random = np.random.default_rng(index)
    detections = Detections(
        boxes=random.random((count, 4), np.float32) * np.float32(4000),
        scores=np.sort(random.random(count, np.float32))[::-1].copy(),
        classes=random.integers(0, 80, count).astype(np.int32),
        indices=random.integers(0, 8400, count).astype(np.int32),
        cut=cut,
    )
    return Outcome(key or name(index), index, detections, (1920, 1080), {"read": 0.25, "decode": 7.125})


def failed(index: int, code: str = "truncated") -> Outcome:
    """A failure."""
    return Outcome(name(index), index, Failure(name(index), "decode", code, "it ends early"))


def name(index: int) -> str:
    """The key of an input."""
    return f"sub/{index:06}.jpg"


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes agree in everything but times, bit by bit."""
    if (one.key, one.index, one.size) != (other.key, other.index, other.size):
        return False
    a, b = one.result, other.result
    if isinstance(a, Failure) or isinstance(b, Failure):
        return a == b
    arrays = ((a.boxes, b.boxes), (a.scores, b.scores), (a.classes, b.classes), (a.indices, b.indices))
    return (a.cut, a.nan) == (b.cut, b.nan) and all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in arrays
    )
