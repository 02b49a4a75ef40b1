"""The definition of correct: slow, obvious numpy that every faster implementation must equal bit for bit.

All arithmetic is float32, every operation rounded on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.post.reference_heads import DECODERS, Decoded
from boxmill.types import Detections, Float32, Geometry, HeadSpec, NmsMethod, Tags

__all__ = [
    "NmsResult",
    "Options",
    "iou_with",
    "nms",
    "postprocess",
    "soft_nms",
    "tags",
    "to_source",
]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NmsResult:
    """What survives, and what the limits and NaNs took away."""

    kept: Int64  # (K,) indices, score descending, ties by the lower index
    nan: int  # rows dropped because a score or a coordinate was NaN
    cut: float | None  # highest score lost: of the (max_nms+1)th candidate or the (max_det+1)th survivor


def iou_with(box: Float32, others: Float32) -> Float32:
    """Intersection over union of `box` (4,) with each of `others` (M, 4) xyxy; (M,) float32.

    Areas are unclamped. A ratio may be NaN (0 / 0, or infinite coordinates) and then compares false with any threshold.
    """
    zero = np.float32(0)
    with np.errstate(all="ignore"):
        area = (box[2] - box[0]) * (box[3] - box[1])
        areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])  # (M,)
        width = np.maximum(zero, np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]))  # (M,)
        height = np.maximum(zero, np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]))  # (M,)
        inter = width * height  # (M,)
        ratio: Float32 = inter / ((area + areas) - inter)
    return ratio


def nms(
    boxes: Float32,
    scores: Float32,
    classes: npt.NDArray[Any] | None = None,
    *,
    iou: float | None = 0.45,
    max_nms: int | None = None,
    max_det: int | None = None,
) -> NmsResult:
    """Greedy class-aware non-maximum suppression of (N, 4) float32 xyxy boxes with (N,) float32 scores.

    `classes` is (N,) of any integer dtype, or None: every box competes with every other. A box is suppressed by a
    better one of its class iff their IoU > float32(iou); never where iou is None. Only the best `max_nms` candidates
    are considered.
    """
    numbers = ~(np.isnan(boxes).any(axis=1) | np.isnan(scores))  # (N,)
    candidates = np.flatnonzero(numbers)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    remaining = candidates if max_nms is None else candidates[:max_nms]
    lost = [float(scores[i]) for i in candidates[len(remaining) :][:1]]

    survivors: list[int] = remaining.tolist() if iou is None else []
    while iou is not None and len(remaining):
        best, rest = remaining[0], remaining[1:]
        survivors.append(int(best))
        suppressed = iou_with(boxes[best], boxes[rest]) > np.float32(iou)  # (len(rest),)
        if classes is not None:
            suppressed &= classes[rest] == classes[best]
        remaining = rest[~suppressed]
    kept = survivors if max_det is None else survivors[:max_det]
    lost += [float(scores[i]) for i in survivors[len(kept) :][:1]]
    return NmsResult(np.array(kept, np.int64), int(np.count_nonzero(~numbers)), max(lost, default=None))


def soft_nms(
    boxes: Float32,
    scores: Float32,
    classes: npt.NDArray[Any] | None = None,
    *,
    method: str = "linear",
    iou: float = 0.3,
    sigma: float = 0.5,
    conf: float = 0.001,
    max_det: int | None = None,
) -> tuple[Int64, Float32]:
    """Class-aware Soft-NMS (arXiv 1704.04503): kept rows, by decayed score, and those scores, decayed in double.

    The best box, the lower index on ties, multiplies the scores of the others of its class by 1 - IoU where that is
    greater than float32(iou) (`linear`), or by exp(-IoU^2 / sigma) (`gaussian`). Only boxes whose score, rounded to
    float32, is > float32(conf) remain.
    """
    numbers = ~(np.isnan(boxes).any(axis=1) | np.isnan(scores))  # (N,)
    rows = np.flatnonzero(numbers & (scores > np.float32(conf)))
    current = scores[rows].astype(np.float64)
    kept: list[int] = []
    decayed: list[float] = []
    while len(rows) and (max_det is None or len(kept) < max_det):
        first = int(np.argmax(current))
        best = rows[first]
        kept.append(int(best))
        decayed.append(float(current[first]))
        rows, current = np.delete(rows, first), np.delete(current, first)
        ratio = iou_with(boxes[best], boxes[rows])  # (len(rows),)
        overlapping = ratio > (np.float32(iou) if method == "linear" else 0)
        if classes is not None:
            overlapping &= classes[rows] == classes[best]
        doubles = ratio.astype(np.float64)
        with np.errstate(all="ignore"):
            factors = 1 - doubles if method == "linear" else np.exp(-(doubles * doubles) / sigma)
            current = np.where(overlapping, current * factors, current)
        remaining = current.astype(np.float32) > np.float32(conf)
        rows, current = rows[remaining], current[remaining]
    return np.array(kept, np.int64), np.array(decayed).astype(np.float32)


# Raw head to final boxes.


@dataclass(frozen=True, slots=True)
class Options:
    """What counts as an object; the fields of `Postprocessor` without the head."""

    conf: float = 0.25
    iou: float | None = 0.45
    max_det: int = 300
    max_nms: int = 30000
    classes: tuple[int, ...] | None = None
    agnostic: bool = False
    multi_label: bool = False
    nms: NmsMethod = "hard"
    sigma: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """(anchor, class) pairs whose score is greater than conf, ordered by anchor, then class."""

    anchors: Int64  # (n,)
    classes: Int64  # (n,)
    scores: Float32  # (n,)
    nan: int  # pairs or anchors without a score


def _best_classes(decoded: Decoded, options: Options) -> _Candidates:
    """One candidate an anchor at most: its best class, the lower one on ties, kept only if it is wanted.

    The best class is that of the highest objectness * score, or, with a sigmoid or softmax, of the highest logit. It is
    determined over all classes, so that a NaN in any class leaves the anchor without a best score: dropped, and counted
    once.
    """
    scores, objectness = decoded.scores, decoded.objectness  # (A, C), (A,)
    unknown = np.isnan(scores).any(axis=1)  # (A,)
    best = np.argmax(decoded.ranks, axis=1)  # (A,)
    scores = scores[np.arange(len(best)), best]  # (A,)
    considered = np.ones(len(best), bool) if objectness is None else objectness > np.float32(options.conf)
    kept = considered & ~unknown & (scores > np.float32(options.conf))
    if options.classes is not None:
        kept &= np.isin(best, options.classes)
    anchors = np.flatnonzero(kept)
    return _Candidates(anchors, best[anchors], scores[anchors], int(np.count_nonzero(considered & unknown)))


def _all_classes(decoded: Decoded, options: Options) -> _Candidates:
    """Every wanted (anchor, class) pair; each pair whose score is NaN is dropped and counted."""
    scores, objectness = decoded.scores, decoded.objectness  # (A, C), (A,)
    considered = np.ones(scores.shape, bool)
    if objectness is not None:
        considered &= (objectness > np.float32(options.conf))[:, None]
    if options.classes is not None:
        considered &= np.isin(np.arange(scores.shape[1]), options.classes)
    anchors, classes = np.nonzero(considered & (scores > np.float32(options.conf)))
    nan = int(np.count_nonzero(considered & np.isnan(scores)))
    return _Candidates(anchors, classes, scores[anchors, classes], nan)


def _chosen_classes(chosen: Sequence[int | None], scores: Float32, options: Options) -> _Candidates:
    """The rows as the network selected them; `scores` is (K,).

    A row of a class below 0 is not used; one of a class that is not wanted is not looked at. A row whose class is not a
    number is dropped and counted, unless its score excludes it anyway.
    """
    found: list[tuple[int, int]] = []
    nan = 0
    for row, (label, score) in enumerate(zip(chosen, scores, strict=True)):
        if label is not None and (label < 0 or (options.classes is not None and label not in options.classes)):
            continue
        if score <= np.float32(options.conf):
            continue
        if label is None or np.isnan(score):
            nan += 1
        else:
            found.append((row, label))
    rows, classes = np.array(found, np.int64).reshape(-1, 2).T  # (n,) each
    return _Candidates(rows, classes, scores[rows], nan)


def _candidates(decoded: Decoded, options: Options) -> _Candidates:
    if decoded.chosen is not None:
        return _chosen_classes(decoded.chosen, decoded.scores[:, 0], options)
    return (_all_classes if options.multi_label else _best_classes)(decoded, options)


def _suppressed(boxes: Float32, scores: Float32, classes: Int64 | None, options: Options) -> tuple[NmsResult, Float32]:
    """Hard or soft NMS of candidates, and the scores of what it keeps."""
    if options.nms == "hard":
        result = nms(boxes, scores, classes, iou=options.iou, max_nms=options.max_nms, max_det=options.max_det)
        return result, scores[result.kept]
    best = nms(boxes, scores, iou=None, max_nms=options.max_nms)  # only order and limit
    rows = np.sort(best.kept)
    soft, decayed = soft_nms(
        boxes[rows],
        scores[rows],
        None if classes is None else classes[rows],
        method="gaussian" if options.nms == "soft-gaussian" else "linear",
        iou=0.0 if options.iou is None else options.iou,
        sigma=options.sigma,
        conf=options.conf,
    )
    lost = [float(score) for score in decayed[options.max_det :][:1]]
    lost += [] if best.cut is None else [best.cut]
    kept = rows[soft[: options.max_det]]
    return NmsResult(kept, best.nan, max(lost, default=None)), decayed[: options.max_det]


def to_source(boxes: Float32, geometry: Geometry) -> Float32:
    """(N, 4) network pixels -> source pixels, (x - pad) / scale, then clipped to [0, width] x [0, height]."""
    scale = np.array(geometry.scale * 2, np.float32)  # (4,)
    pad = np.array(geometry.pad * 2, np.float32)
    limit = np.array([geometry.source[1], geometry.source[0]] * 2, np.float32)
    with np.errstate(all="ignore"):
        places = (boxes - pad) / scale
    places = np.where(places > 0, places, np.float32(0))
    return np.where(places < limit, places, limit)


def postprocess(
    raw: Float32 | Sequence[npt.NDArray[Any]],
    head: HeadSpec,
    network: tuple[int, int],
    options: Options,
    geometry: Geometry | None = None,
) -> Detections:
    """The objects of one image from its raw head: float32 arrays (labels of any integer or float dtype), without batch.

    The functions in `reference_heads` say what the arrays hold. `network` is height and width in pixels.

    1. Heads with an objectness: only anchors whose objectness is > float32(conf) are considered; one that is NaN is
       dropped and counted in `nan`.
    2. Candidates have a score > float32(conf), where score = objectness * class score: the best class of each anchor,
       or every wanted class with `multi_label`; where the network chose the class (`end2end`, `triple`), each row with
       its class. NaN scores are dropped and counted, and so are candidates of which a box coordinate is NaN, raw or
       decoded. Rows that a network does not use (score 0, or a class below 0) are dropped and not counted.
    3. NMS in network pixels, unclipped, by class unless `agnostic`; equal scores go to the lower (anchor, class). With
       iou None there is no suppression; order and limits remain. With `nms` soft or soft-gaussian, `soft_nms` of the
       best `max_nms` candidates, equal ones as above; objects then have their decayed scores and are in the order of
       those before they are rounded to float32, and `cut` is the higher one of the score of candidate max_nms + 1 and
       the decayed score of survivor max_det + 1: what scores above it is as without limits.
    4. Boxes to source pixels and clipped, where `geometry` is given.
    """
    parts = [raw] if isinstance(raw, np.ndarray) else raw
    with np.errstate(all="ignore"):
        decoded = DECODERS[head.type](parts, head, network)
        found = _candidates(decoded, options)
    nan = found.nan + (0 if decoded.objectness is None else int(np.count_nonzero(np.isnan(decoded.objectness))))
    boxes = decoded.boxes[found.anchors]  # (n, 4)
    classes = None if options.agnostic else found.classes
    result, scores = _suppressed(boxes, found.scores, classes, options)
    boxes = boxes[result.kept]
    return Detections(
        boxes=boxes if geometry is None else to_source(boxes, geometry),
        scores=scores,
        classes=found.classes[result.kept].astype(np.int32),
        indices=found.anchors[result.kept].astype(np.int32),
        cut=result.cut,
        nan=nan + result.nan,
    )


# Taggers


def tags(
    logits: Float32,
    activation: str,
    conf: float | None = None,
    top_k: int | None = None,
    classes: tuple[int, ...] | None = None,
) -> Tags:
    """What a tagger says of one image of (C,) raw outputs; `boxmill.post.Tagger` without the speed.

    Softmax subtracts the highest logit first; it and sigmoid are computed in float64 and rounded to float32 once. All
    that follows compares the rounded scores: kept iff score > float32(conf), best first, ties to the lower id.
    """
    exact = logits.astype(np.float64)
    with np.errstate(all="ignore"):
        if activation == "softmax":
            powers = np.exp(exact - exact.max())
            exact = powers / powers.sum()
        elif activation == "sigmoid":
            exact = 1 / (1 + np.exp(-exact))
        scores = exact.astype(np.float32)  # (C,)
    wanted = range(len(scores)) if classes is None else sorted(set(classes))
    numbers = [label for label in wanted if not np.isnan(scores[label])]
    candidates = [label for label in numbers if conf is None or scores[label] > np.float32(conf)]
    best = sorted(candidates, key=lambda label: -scores[label])[:top_k]  # stable
    return Tags(np.array(best, np.int32), scores[best].astype(np.float32), len(wanted) - len(numbers))
