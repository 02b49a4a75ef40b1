"""The definition of correct: slow, obvious numpy that every faster implementation must equal bit for bit.

All arithmetic is float32, every operation rounded on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.types import Detections, Geometry, HeadSpec, Tags

__all__ = [
    "NmsResult",
    "Options",
    "decode_yolo",
    "decode_yolov5",
    "decode_yolox",
    "iou_with",
    "nms",
    "postprocess",
    "tags",
    "to_source",
]

Float32 = npt.NDArray[np.float32]
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
    iou: float = 0.45,
    max_nms: int | None = None,
    max_det: int | None = None,
) -> NmsResult:
    """Greedy class-aware non-maximum suppression of (N, 4) float32 xyxy boxes with (N,) float32 scores.

    `classes` is (N,) of any integer dtype, or None: every box competes with every other. A box is suppressed by a
    better one of its class iff their IoU > float32(iou). Only the best `max_nms` candidates are considered.
    """
    numbers = ~(np.isnan(boxes).any(axis=1) | np.isnan(scores))  # (N,)
    candidates = np.flatnonzero(numbers)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    remaining = candidates if max_nms is None else candidates[:max_nms]
    lost = [float(scores[i]) for i in candidates[len(remaining) :][:1]]

    survivors: list[int] = []
    while len(remaining):
        best, rest = remaining[0], remaining[1:]
        survivors.append(int(best))
        suppressed = iou_with(boxes[best], boxes[rest]) > np.float32(iou)  # (len(rest),)
        if classes is not None:
            suppressed &= classes[rest] == classes[best]
        remaining = rest[~suppressed]
    kept = survivors if max_det is None else survivors[:max_det]
    lost += [float(scores[i]) for i in survivors[len(kept) :][:1]]
    return NmsResult(np.array(kept, np.int64), int(np.count_nonzero(~numbers)), max(lost, default=None))


# Raw head to final boxes.


@dataclass(frozen=True, slots=True)
class Options:
    """What counts as an object; the fields of `Postprocessor` without the head."""

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    max_nms: int = 30000
    classes: tuple[int, ...] | None = None
    agnostic: bool = False
    multi_label: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """Every anchor of one image before any is dropped."""

    boxes: Float32  # (A, 4) x1, y1, x2, y2 in network pixels
    objectness: Float32 | None  # (A,) final; None where the head has none
    classes: Float32  # (A, C) as the head gives them: scores or logits


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """(anchor, class) pairs whose score is greater than conf, ordered by anchor, then class."""

    anchors: Int64  # (n,)
    classes: Int64  # (n,)
    scores: Float32  # (n,)
    nan: int  # pairs or anchors without a score


def _exp(x: Float32) -> Float32:
    """In double, rounded once, so that every implementation agrees in practice."""
    with np.errstate(all="ignore"):
        return np.exp(x.astype(np.float64)).astype(np.float32)


def _activated(values: Float32, head: HeadSpec) -> Float32:
    """Scores of raw values; the sigmoid 1 / (1 + exp(-x)) in double, rounded once."""
    if head.activation == "none":
        return values
    with np.errstate(all="ignore"):
        return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)


def _corners(cxcywh: Float32) -> Float32:
    """(A, 4) centre x, centre y, width, height -> x1, y1, x2, y2 = centre -+ 0.5 * size."""
    centre, half = cxcywh[:, :2], np.float32(0.5) * cxcywh[:, 2:]  # (A, 2) each
    return np.concatenate([centre - half, centre + half], axis=1)


def _in_pixels(cxcywh: Float32, head: HeadSpec, network: tuple[int, int]) -> Float32:
    if head.boxes == "pixels":
        return cxcywh
    height, width = network
    return cxcywh * np.array([width, height, width, height], np.float32)


def decode_yolo(raw: Float32, head: HeadSpec, network: tuple[int, int]) -> _Decoded:
    """(4 + C, A): cx, cy, w, h, then class scores. `network` is (height, width)."""
    return _Decoded(_corners(_in_pixels(raw[:4].T, head, network)), None, raw[4:].T)


def decode_yolov5(raw: Float32, head: HeadSpec, network: tuple[int, int]) -> _Decoded:
    """(A, 5 + C): cx, cy, w, h, objectness, then class scores."""
    return _Decoded(_corners(_in_pixels(raw[:, :4], head, network)), _activated(raw[:, 4], head), raw[:, 5:])


def decode_yolox(raw: Float32, head: HeadSpec, network: tuple[int, int]) -> _Decoded:
    """(A, 5 + C) over grids: centre = (o + cell) * stride, size = exp(o) * stride (YOLOX, arXiv 2107.08430).

    Levels follow one another in the order of `head.strides`; each level's cells, height / stride x width / stride, are
    row-major.
    """
    cells: list[tuple[int, int, int]] = []  # x, y, stride of each anchor
    for stride in head.strides:
        rows, columns = network[0] // stride, network[1] // stride
        cells += [(x, y, stride) for y in range(rows) for x in range(columns)]
    grid = np.array(cells, np.float32).reshape(-1, 3)  # (A, 3)
    centre = (raw[:, :2] + grid[:, :2]) * grid[:, 2:]  # (A, 2)
    size = _exp(raw[:, 2:4]) * grid[:, 2:]  # (A, 2)
    return _Decoded(_corners(np.concatenate([centre, size], axis=1)), _activated(raw[:, 4], head), raw[:, 5:])


def _best_classes(decoded: _Decoded, head: HeadSpec, options: Options) -> _Candidates:
    """One candidate an anchor at most: its best class, the lower one on ties, kept only if it is wanted.

    The best class is that of the highest objectness * score, or, with a sigmoid, of the highest logit. It is determined
    over all classes, so that a NaN in any class leaves the anchor without a best score: dropped, and counted once.
    """
    values, objectness = decoded.classes, decoded.objectness
    if objectness is not None and head.activation == "none":
        values = objectness[:, None] * values  # (A, C)
    unknown = np.isnan(values).any(axis=1)  # (A,)
    best = np.argmax(values, axis=1)  # (A,)
    scores = _activated(values[np.arange(len(best)), best], head)  # (A,)
    if objectness is not None and head.activation == "sigmoid":
        scores = objectness * scores
    considered = np.ones(len(best), bool) if objectness is None else objectness > np.float32(options.conf)
    kept = considered & ~unknown & (scores > np.float32(options.conf))
    if options.classes is not None:
        kept &= np.isin(best, options.classes)
    anchors = np.flatnonzero(kept)
    return _Candidates(anchors, best[anchors], scores[anchors], int(np.count_nonzero(considered & unknown)))


def _all_classes(decoded: _Decoded, head: HeadSpec, options: Options) -> _Candidates:
    """Every wanted (anchor, class) pair; each pair whose score is NaN is dropped and counted."""
    scores, objectness = _activated(decoded.classes, head), decoded.objectness  # (A, C)
    considered = np.ones(scores.shape, bool)
    if objectness is not None:
        scores = objectness[:, None] * scores
        considered &= (objectness > np.float32(options.conf))[:, None]
    if options.classes is not None:
        considered &= np.isin(np.arange(scores.shape[1]), options.classes)
    anchors, classes = np.nonzero(considered & (scores > np.float32(options.conf)))
    nan = int(np.count_nonzero(considered & np.isnan(scores)))
    return _Candidates(anchors, classes, scores[anchors, classes], nan)


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
    raw: Float32, head: HeadSpec, network: tuple[int, int], options: Options, geometry: Geometry | None = None
) -> Detections:
    """The objects of one image from its raw head, (4 + C, A) or (A, 5 + C) float32.

    1. Heads with an objectness: only anchors whose objectness is > float32(conf) are considered; one that is NaN is
       dropped and counted in `nan`.
    2. Candidates have a score > float32(conf), where score = objectness * class score: the best class of each anchor,
       or every wanted class with `multi_label`. NaN scores are dropped and counted, and so are candidates of which a
       box coordinate is NaN, raw or decoded.
    3. NMS in network pixels, unclipped, by class unless `agnostic`; equal scores go to the lower (anchor, class).
    4. Boxes to source pixels and clipped, where `geometry` is given.
    """
    decode = {"yolo": decode_yolo, "yolov5": decode_yolov5, "yolox": decode_yolox}[head.type]
    with np.errstate(all="ignore"):
        decoded = decode(raw, head, network)
        found = (_all_classes if options.multi_label else _best_classes)(decoded, head, options)
    nan = found.nan + (0 if decoded.objectness is None else int(np.count_nonzero(np.isnan(decoded.objectness))))
    boxes = decoded.boxes[found.anchors]  # (n, 4)
    classes = None if options.agnostic else found.classes
    result = nms(boxes, found.scores, classes, iou=options.iou, max_nms=options.max_nms, max_det=options.max_det)
    boxes = boxes[result.kept]
    return Detections(
        boxes=boxes if geometry is None else to_source(boxes, geometry),
        scores=found.scores[result.kept],
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
