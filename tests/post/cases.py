"""Inputs that NMS finds hard, as functions of a random generator and a size.

Each returns boxes (n, 4) float32, scores (n,) float32, classes (n,) integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Case = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[Any]]
Generator = np.random.Generator


def uniform(rng: Generator, n: int) -> Case:
    corner, size = rng.uniform(0, 640, (n, 2)), rng.uniform(1, 200, (n, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    return boxes, rng.random(n).astype(np.float32), rng.integers(0, 80, n)


def crowded(rng: Generator, n: int) -> Case:
    """Jittered copies of a few objects: most boxes are suppressed."""
    objects = uniform(rng, max(2, n // 15))[0]
    owner = rng.integers(0, len(objects), n)
    boxes = (objects[owner] + rng.normal(0, 6, (n, 4))).astype(np.float32)
    return boxes, rng.random(n).astype(np.float32), owner % 5


def tied(rng: Generator, n: int) -> Case:
    boxes, _, classes = crowded(rng, n)
    return boxes, np.full(n, 0.5, np.float32), classes


def few_scores(rng: Generator, n: int) -> Case:
    """Many ties, signed zeros, negative and infinite scores among them."""
    boxes, _, classes = crowded(rng, n)
    return boxes, rng.choice(np.float32([0.0, -0.0, 1.0, -1.0, 0.25, np.inf, -np.inf, 1e-42]), n), classes


def degenerate(rng: Generator, n: int) -> Case:
    """Points, lines and inverted boxes on a small integer grid, so that IoUs are simple fractions."""
    boxes = rng.integers(0, 5, (n, 4)).astype(np.float32)
    return boxes, rng.random(n).astype(np.float32), rng.integers(0, 2, n)


def grid(rng: Generator, n: int) -> Case:
    """Integer boxes: IoUs such as 1/2 and 1/4 lie exactly on the thresholds."""
    corner, size = rng.integers(0, 6, (n, 2)), rng.integers(1, 5, (n, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    return boxes, rng.integers(0, 50, n).astype(np.float32) / 50, rng.integers(0, 2, n)


def with_nan(rng: Generator, n: int) -> Case:
    boxes, scores, classes = crowded(rng, n)
    boxes[rng.random((n, 4)) < 0.05] = np.nan
    scores[rng.random(n) < 0.1] = np.nan
    return boxes, scores, classes


def infinite(rng: Generator, n: int) -> Case:
    """Coordinates that are infinite, or so large that areas overflow."""
    boxes, scores, classes = crowded(rng, n)
    place = rng.random((n, 4))
    boxes[place < 0.1] = np.inf
    boxes[place < 0.05] = -np.inf
    boxes[(place > 0.1) & (place < 0.15)] = 3e38
    return boxes, scores, classes


def tiny(rng: Generator, n: int) -> Case:
    """Areas and intersections that are denormal numbers."""
    corner, size = rng.integers(0, 6, (n, 2)), rng.integers(1, 5, (n, 2))
    unit = 10.0 ** rng.uniform(-23, -18)
    boxes = (np.concatenate([corner, corner + size], 1) * unit).astype(np.float32)
    return boxes, rng.random(n).astype(np.float32), rng.integers(0, 2, n)


def negative(rng: Generator, n: int) -> Case:
    boxes, scores, classes = crowded(rng, n)
    return boxes - np.float32(400), scores, classes - 3


def beyond_8k(rng: Generator, n: int) -> Case:
    """Coordinates above 7680, where adding class offsets to the boxes would cost the low bits."""
    boxes, scores, classes = crowded(rng, n)
    return boxes * np.float32(30) + np.float32(7680), scores, classes


def many_classes(rng: Generator, n: int) -> Case:
    boxes, scores, _ = crowded(rng, n)
    return boxes, scores, rng.integers(0, 21841, n).astype(np.int32)


def scattered_classes(rng: Generator, n: int) -> Case:
    """A few class ids from the whole range of int64, its ends included."""
    boxes, scores, _ = crowded(rng, n)
    ends = np.iinfo(np.int64)
    ids = np.concatenate([[ends.min, ends.max, 0, -1, 2**32], rng.integers(ends.min, ends.max, 3)])
    return boxes, scores, rng.choice(ids, n)


def spread(rng: Generator, n: int) -> Case:
    """So many survivors of one class that the native code turns to its grid; boxes of every size and kind.

    A third are near copies of others; a few are giants, points, lines, inverted or infinite.
    """
    canvas = 40 * np.sqrt(n)
    size = np.exp(rng.normal(2.5, 0.8, (n, 2)))
    centre = rng.uniform(-canvas / 2, canvas / 2, (n, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    copies = rng.random(n) < 0.33
    boxes[copies] = boxes[rng.integers(0, n, copies.sum())] + rng.normal(0, 2, (copies.sum(), 4))
    boxes = boxes.astype(np.float32)
    odd = rng.permutation(n)[: n // 50]
    boxes[odd[0::4]] *= np.float32(20)
    boxes[odd[1::4], 2:] = boxes[odd[1::4], :2]
    boxes[odd[2::4], 2] -= np.float32(100)
    boxes[odd[3::4], 3] = np.inf
    return boxes, rng.random(n).astype(np.float32), rng.integers(0, 8, n) // 7 * 5


KINDS: tuple[Callable[[Generator, int], Case], ...] = (
    uniform,
    crowded,
    tied,
    few_scores,
    degenerate,
    grid,
    with_nan,
    infinite,
    tiny,
    negative,
    beyond_8k,
    many_classes,
    scattered_classes,
)
