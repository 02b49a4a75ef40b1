"""Objects paired one to one, best score first: the rule by which precision, recall and confusions are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boxmill.evaluate.truth import Bool, Float64, Int64

__all__ = ["Boxes", "Matches", "match", "overlaps"]

_Numbers = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Objects of one image."""

    boxes: _Numbers  # (N, 4) x1, y1, x2, y2
    classes: npt.NDArray[np.integer]  # (N,)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which object each of the first set is in the second."""

    partner: Int64  # (N,) place in the second set; -1: none
    same: Bool  # (N,) the partner has the same class
    iou: Float64  # (N,) with the partner; 0 without


def overlaps(first: _Numbers, second: _Numbers, *, of_first: bool = False) -> Float64:
    """(N, 4) and (M, 4) boxes to their IoU (N, M), or to the share of each first box that lies in the second."""
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])  # (N, M, 2)
    inter = np.maximum(sides[..., 0], 0) * np.maximum(sides[..., 1], 0)  # (N, M)
    own = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])  # (N, 1)
    other = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])  # (1, M)
    base = np.broadcast_to(own, inter.shape) if of_first else own + other - inter
    shares: Float64 = np.divide(inter, base, out=np.zeros_like(inter), where=base > 0)
    return shares


def match(first: Boxes, second: Boxes, iou: float = 0.5) -> Matches:
    """Pairs whose IoU is above `iou`.

    In two passes over `first` in its order, each taking the best overlap that is still free: within a class, then
    whatever the class.
    """
    matrix = overlaps(first.boxes, second.boxes)
    equal = first.classes[:, None] == second.classes[None]
    partner = np.full(len(first.boxes), -1, np.int64)
    free = np.ones(len(second.boxes), np.bool_)
    for allowed in (equal, ~equal):
        near = np.where(allowed & (matrix > iou), matrix, 0.0)
        for place in np.flatnonzero(near.any(axis=1) & (partner < 0)):
            row = np.where(free, near[place], 0.0)
            best = int(row.argmax())
            if row[best] > 0:
                partner[place], free[best] = best, False
    paired = partner >= 0
    same, shared = np.zeros(len(partner), np.bool_), np.zeros(len(partner))
    same[paired] = equal[paired, partner[paired]]
    shared[paired] = matrix[paired, partner[paired]]
    return Matches(partner, same, shared)
