"""Raw heads that post-processing finds hard, as functions of a random generator, anchors and classes.

Each returns one image's head as rows cx, cy, w, h, objectness, then classes: (5 + C, A) float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from boxmill.types import HeadSpec

Rows = npt.NDArray[np.float32]
Generator = np.random.Generator


def uniform(rng: Generator, anchors: int, classes: int) -> Rows:
    rows = rng.random((5 + classes, anchors)).astype(np.float32)
    rows[:2] *= 64
    rows[2:4] *= 40
    return rows


def rare(rng: Generator, anchors: int, classes: int) -> Rows:
    """Few anchors above a usual threshold, as a real head has."""
    rows = uniform(rng, anchors, classes)
    rows[4:] **= 12
    return rows


def tied(rng: Generator, anchors: int, classes: int) -> Rows:
    """Scores of few values, on integer boxes: ties between classes, anchors and with the threshold itself."""
    rows = np.ceil(uniform(rng, anchors, classes))
    rows[4:] = rng.choice(np.float32([0.0, 0.25, 0.5, 1.0]), rows[4:].shape)
    return rows


def signed(rng: Generator, anchors: int, classes: int) -> Rows:
    """Logits, or scores that are no probabilities: negative, signed zero, above one, denormal."""
    rows = uniform(rng, anchors, classes)
    rows[4:] = rng.normal(0, 4, rows[4:].shape)
    odd = rng.random(rows[4:].shape) < 0.2
    rows[4:][odd] = rng.choice(np.float32([0.0, -0.0, 1e-42, -1e-42, 3.0, -200.0, 200.0]), np.count_nonzero(odd))
    return rows


def extreme(rng: Generator, anchors: int, classes: int) -> Rows:
    """NaNs of both signs and infinities everywhere."""
    rows = signed(rng, anchors, classes)
    odd = rng.random(rows.shape) < 0.5 / (5 + classes)
    rows[odd] = rng.choice(np.float32([np.nan, -np.nan, np.inf, -np.inf, 3e38]), np.count_nonzero(odd))
    return rows


KINDS: tuple[Callable[[Generator, int, int], Rows], ...] = (uniform, rare, tied, signed, extreme)


def arranged(rows: Rows, head: HeadSpec) -> Rows:
    """The rows as the head lays them out: (4 + C, A), or (A, 5 + C)."""
    if head.type == "yolo":
        return np.ascontiguousarray(np.delete(rows, 4, axis=0))
    raw = np.ascontiguousarray(rows.T)
    if head.type == "yolox":
        raw[:, :4] /= 16  # cells and logarithms of sizes
    return raw
