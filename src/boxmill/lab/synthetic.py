"""Made-up candidate sets for who has no dumps: three kinds of scenes, and one crowd at any size.

Detectors fire several times at one object: boxes that differ from it by some per cent of its size, with scores that
fall the farther they are off. So each set is a number of objects, and for each candidate one of them, jittered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boxmill.lab.candidates import Candidates, Scene

__all__ = ["SCENES", "SceneKind", "crowd", "make", "synthetic_scenes"]

_SIDE = 640.0  # network pixels


@dataclass(frozen=True, slots=True)
class SceneKind:
    """What a scene looks like."""

    name: str
    candidates: int
    objects: int
    sides: tuple[float, float]  # network pixels, log-uniform
    classes: int  # how many there are; an object is of one
    jitter: float = 0.07  # of the object's size


SCENES = (
    SceneKind("single target", 80, 4, (180.0, 420.0), 2),
    SceneKind("crowd", 1200, 140, (18.0, 150.0), 3),
    SceneKind("small targets", 950, 260, (5.0, 24.0), 6),
)


def make(kind: SceneKind, seed: int = 0) -> Candidates:
    """Exactly `kind.candidates` candidates; the same arguments give the same bits."""
    rng = np.random.default_rng([seed, kind.candidates, kind.objects])
    low, high = np.log(kind.sides)
    side = np.exp(rng.uniform(low, high, kind.objects))
    stretch = np.exp(rng.normal(0, 0.3, kind.objects))
    size = np.stack([side / stretch, side * stretch], 1)  # (objects, 2) width, height
    centre = rng.uniform(size / 2, np.maximum(_SIDE - size / 2, size / 2 + 1))  # (objects, 2)
    label = rng.integers(0, kind.classes, kind.objects)
    certainty = rng.uniform(0.35, 0.95, kind.objects)

    owner = np.concatenate(  # every object fires at least once, where there are enough candidates
        [np.arange(kind.objects), rng.integers(0, kind.objects, max(0, kind.candidates - kind.objects))]
    )[: kind.candidates]
    owner = owner[np.argsort(centre[owner, 1], kind="stable")]  # anchors run from the top to the bottom
    off = rng.normal(0, 1, (kind.candidates, 4))
    middle = centre[owner] + off[:, :2] * kind.jitter * size[owner]
    extent = size[owner] * np.exp(off[:, 2:] * kind.jitter)
    boxes = np.concatenate([middle - extent / 2, middle + extent / 2], 1).astype(np.float32)
    scores = (certainty[owner] * np.exp(-0.15 * (off**2).sum(1))).clip(0.001, 0.999).astype(np.float32)
    confused = rng.random(kind.candidates) < 0.05
    classes = np.where(confused, rng.integers(0, kind.classes, kind.candidates), label[owner]).astype(np.int64)
    return Candidates(kind.name, boxes, scores, classes)


def crowd(candidates: int, classes: int = 80, seed: int = 0) -> Candidates:
    """A crowd of any size, for time against N: 15 candidates an object, up to 300 objects."""
    objects = max(4, min(candidates // 15, 300))
    return make(SceneKind(f"crowd of {candidates}", candidates, objects, (16.0, 200.0), classes), seed)


def synthetic_scenes(seed: int = 0) -> list[Scene]:
    """A single target, a crowd, small targets."""
    return [Scene(kind.name, (make(kind, seed),)) for kind in SCENES]
