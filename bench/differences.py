"""Why another NMS keeps other boxes than the reference: the reference with one cause changed must give its answer.

    kept(case, Flips(double=True))        # rows that survive if the threshold were compared in double
    explanation(case, theirs)             # None, a cause by name, or UNEXPLAINED

The causes are what torchvision's kernels and `batched_nms` do otherwise than `boxmill.post.reference`: on a CPU the
threshold is a double; on a GPU the compiler may fuse a multiplication with the addition behind it; small inputs have
their classes moved apart by offsets, which rounds coordinates; large ones are taken class by class and put into order
by a sort that is not stable. NumPy only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boxmill.post import reference

__all__ = ["CAUSES", "DOUBLE", "LIMIT", "TIES", "UNEXPLAINED", "Case", "Flips", "explanation", "kept", "rows_of"]

UNEXPLAINED = "UNEXPLAINED"
DOUBLE = "the threshold is compared in double"
TIES, LIMIT = "equal scores come in another order", "a limit cuts at another place"
MOST_MOVED = 5000  # boxes: torchvision takes more (on a CPU, more than 1,000) class by class


@dataclass(frozen=True)
class Case:
    """What was put to both, without NaN."""

    boxes: np.ndarray  # (N, 4) float32 x1, y1, x2, y2
    scores: np.ndarray  # (N,) float32
    classes: np.ndarray  # (N,) integers
    iou: float
    max_det: int | None = None


@dataclass(frozen=True)
class Flips:
    """What is done otherwise than in the reference."""

    offsets: type[np.floating] | None = None  # classes are moved apart, in this type, and then forgotten
    double: bool = False  # the threshold stays a double
    fused: str = ""  # a, b: that box's area is added before it is rounded; i: the intersection, before it is subtracted
    last_first: bool = False  # of equal scores, the higher row


_FUSED = tuple(Flips(fused=which) for which in ("a", "b", "i", "ai", "bi"))
_MOVED = Flips(offsets=np.float32)
CAUSES: dict[str, tuple[Flips, ...]] = {
    DOUBLE: (Flips(double=True),),
    "a multiplication and an addition of the IoU are fused": _FUSED,
    "classes are moved apart by offsets in float32": (_MOVED,),
    "classes are moved apart by offsets in float16": (Flips(offsets=np.float16),),
    "offsets in float32, and the threshold in double": (Flips(offsets=np.float32, double=True),),
    "offsets in float32, and a fused multiplication": tuple(Flips(np.float32, fused=one.fused) for one in _FUSED),
    "of equal scores the higher row is better": (Flips(last_first=True),),
}


def kept(case: Case, flips: Flips = Flips()) -> np.ndarray:
    """(K,) rows that survive, best first; `max_det` does not cut."""
    rows = np.arange(len(case.scores))
    order = np.lexsort((-rows if flips.last_first else rows, -case.scores))
    if flips.offsets is not None:
        found = _greedy(_moved(case, flips.offsets), order, case.iou, flips)
        return np.array(found, np.int64)
    rank = np.empty(len(order), np.int64)
    rank[order] = rows
    alive: list[int] = []
    for label in np.unique(case.classes):
        alive += _greedy(case.boxes, order[case.classes[order] == label], case.iou, flips)
    return np.array(sorted(alive, key=rank.__getitem__), np.int64)


def _moved(case: Case, kind: type[np.floating]) -> np.ndarray:
    """Coordinates plus class times (the largest coordinate + 1), each operation rounded to `kind`; float32."""
    boxes = case.boxes.astype(kind)
    most = boxes.max(initial=kind(0)) if len(boxes) else kind(0)
    with np.errstate(all="ignore"):
        offsets = case.classes.astype(kind) * (most + kind(1))  # (N,)
        return (boxes + offsets[:, None]).astype(np.float32)


def _greedy(boxes: np.ndarray, remaining: np.ndarray, iou: float, flips: Flips) -> list[int]:
    threshold = iou if flips.double else float(np.float32(iou))
    alive: list[int] = []
    while len(remaining):
        best, rest = remaining[0], remaining[1:]
        alive.append(int(best))
        ratio = _fused_iou(boxes[best], boxes[rest], flips.fused) if flips.fused else None
        if ratio is None:
            ratio = reference.iou_with(boxes[best], boxes[rest])
        remaining = rest[~(ratio.astype(np.float64) > threshold)]
    return alive


def _fused_iou(box: np.ndarray, others: np.ndarray, fused: str) -> np.ndarray:
    """(M,) float32: the reference's ratio, with products that are not rounded before they are added.

    A product of two float32 is exact in double; the sum is rounded to double and then to float32, which differs from
    rounding it once in about one case of 2**29.
    """
    exact, zero = np.float64, np.float32(0)
    with np.errstate(all="ignore"):
        sides, theirs = box[2:] - box[:2], others[:, 2:] - others[:, :2]  # (2,), (M, 2)
        area_a, area_b = exact(sides[0]) * exact(sides[1]), theirs[:, 0].astype(exact) * theirs[:, 1]
        shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        shared = np.maximum(zero, shared).astype(exact)  # (M, 2)
        inter = shared[:, 0] * shared[:, 1]
        first = area_a if "a" in fused else exact(np.float32(area_a))
        second = area_b if "b" in fused else area_b.astype(np.float32).astype(exact)
        areas = (first + second).astype(np.float32).astype(exact)
        union = (areas - (inter if "i" in fused else inter.astype(np.float32).astype(exact))).astype(np.float32)
        return np.asarray(inter.astype(np.float32) / union, np.float32)


def rows_of(case: Case, chosen: np.ndarray) -> list[bytes]:
    """What a row is, whatever its number: its box, score and class."""
    whole = np.column_stack([case.boxes[chosen], case.scores[chosen], case.classes[chosen].astype(np.float32)])
    return [one.tobytes() for one in whole.astype(np.float32)]


def explanation(case: Case, theirs: Sequence[bytes]) -> str | None:
    """Which cause turns the reference's answer into theirs.

    Args:
        case: what was asked.
        theirs: `rows_of` what they kept, in their order.

    Returns:
        None: there is no difference. Otherwise causes by name, one if one is enough, or UNEXPLAINED.
    """
    said: list[tuple[str, list[bytes]]] = [("", rows_of(case, kept(case)))]
    if list(theirs) == said[0][1][: case.max_det]:
        return None
    for also, agree in (("", _same), (TIES, _same_but_for_ties), (LIMIT, _same_but_for_the_limit)):
        if also and agree(case, said[0][1], theirs):
            return also
        for cause, rows in _answers(case, said):
            if cause and agree(case, rows, theirs):
                return f"{cause}; {also}" if also else cause
    return UNEXPLAINED


def _answers(case: Case, said: list[tuple[str, list[bytes]]]) -> list[tuple[str, list[bytes]]]:
    """The reference's answers with each cause; computed once, behind the plain one in `said`."""
    if len(said) == 1:
        for cause, variants in CAUSES.items():
            for flips in variants:
                if flips.offsets is None or len(case.scores) <= MOST_MOVED:
                    said.append((cause, rows_of(case, kept(case, flips))))
    return said


def _same(case: Case, rows: Sequence[bytes], theirs: Sequence[bytes]) -> bool:
    return list(theirs) == list(rows[: case.max_det])


def _same_but_for_ties(case: Case, rows: Sequence[bytes], theirs: Sequence[bytes]) -> bool:
    """The same scores in the same order, and of each score nothing that did not survive."""
    scores = [[np.frombuffer(one, np.float32)[4] for one in side] for side in (rows[: case.max_det], theirs)]
    return scores[0] == scores[1] and not Counter(theirs) - Counter(rows)


def _same_but_for_the_limit(case: Case, rows: Sequence[bytes], theirs: Sequence[bytes]) -> bool:
    limit = len(rows) if case.max_det is None else case.max_det
    return len(theirs) != min(limit, len(rows)) and list(theirs) == list(rows[: len(theirs)])
