"""Before the first input: whether the network runs, and whether what it says can be meant.

A card that does not fit (other names, logits taken for scores, boxes in another unit) would make thousands of wrong
results or failures. Everything here holds for any good model on any image, one without objects included: anchors cover
the whole input whatever is on it, and scores stay in their range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from boxmill.engine.failures import StageFailed
from boxmill.errors import BoxmillError, ImageError, ModelError, UsageError
from boxmill.post import Postprocessor
from boxmill.runtimes import RawOutput, Runtime
from boxmill.types import Detections, HeadSpec, HeadType, ModelSpec

if TYPE_CHECKING:
    from boxmill.engine.pipeline import Postprocess

__all__ = ["explained", "inspect", "prove"]

_LOOKED_AT = 300  # boxes, best first
_SCORE_SLACK = 0.05  # bfloat16 rounds 0.999 up to 1.0039
_MANY_SCORES = 100  # logits of so many classes and anchors are never all within 0 to 1
_MANY_BOXES = 10
_CONFIDENT = 0.25
_UNIT = 2.0  # normalized boxes end within it; a box of so few pixels is no object
_FAR_CENTRE = 8  # input sides; grids lie in the input, distributions reach 8 strides beyond
_NEGATIVE = 0.1  # share of boxes with x2 < x1 or y2 < y1; a decoded head has none
_FAR_SIZE = 100  # input sides; YOLOv5's largest anchor is 23 sides of a 64-pixel input


def prove(runtime: Runtime, postprocessor: Postprocess, network: tuple[int, int]) -> None:
    """One grey image through network and head, so that a card that does not fit is noticed before the first photo.

    Args:
        runtime: freshly loaded; nobody else uses it yet.
        postprocessor: of its head.
        network: height and width of the shape to try.

    Raises:
        ModelError: the network does not run, or its output is not what the head expects.
    """
    spec = runtime.spec.input
    height, width = network
    shape = (1, 3, height, width) if spec.layout == "NCHW" else (1, height, width, 3)
    raw = runtime.infer(np.full(shape, spec.pad * spec.scale, np.float32))
    try:
        postprocessor(raw, network)
    except (UsageError, ImageError) as error:
        raise explained(StageFailed("postprocess", error), runtime.spec.head) from error


def explained(failed: StageFailed, head: HeadSpec) -> ModelError:
    """What a failure of the network or of its head means for the whole run."""
    cause = failed.cause
    if isinstance(cause, UsageError):
        return ModelError(f"the network's output does not fit the head {head.type!r}: {cause}; correct the model card")
    if isinstance(cause, BoxmillError):
        return ModelError(str(cause))
    return ModelError(f"the network does not run: {type(cause).__name__}: {cause}")


def inspect(raw: Sequence[RawOutput], spec: ModelSpec, network: tuple[int, int]) -> None:
    """Looks for what no network with this card can mean.

    Args:
        raw: its outputs for one image, which its postprocessor has accepted.
        spec: what the card makes of it.
        network: height and width of its input.

    Raises:
        ModelError: says what is wrong and what to change in the card.
    """
    scores, classes = _SCORES[spec.head.type](raw, spec.head)
    if classes is not None and classes != len(spec.names):
        raise ModelError(f"the network has {classes} classes, but there are {len(spec.names)} names; give --labels")
    _check_scores(scores, spec)
    if spec.task == "detect":
        probe = Postprocessor(spec.head, conf=0.0, iou=1.0, max_det=_LOOKED_AT, max_nms=_LOOKED_AT)
        (found,) = probe(raw, network)
        _check_boxes(found, spec, network)


def _check_scores(scores: RawOutput, spec: ModelSpec) -> None:
    """`scores`: all that the head says of classes and objectness, as the network gives it."""
    if scores.size == 0:  # the network found nothing
        return
    if np.isnan(scores).all():
        raise ModelError(
            "every score that the network gives is NaN; are the weights damaged, or the precision too low?"
        )
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    activation, tagger = spec.head.activation, spec.task == "tag"
    if activation == "none" and not tagger and (low < -_SCORE_SLACK or high > 1 + _SCORE_SLACK):
        raise ModelError(
            f"the network gives scores from {low:.3g} to {high:.3g}, expected 0 to 1: say `activation: sigmoid` under "
            "head in the model card if they are logits, or correct head.type"
        )
    within = low >= 0 and high <= 1 and scores.size >= _MANY_SCORES
    if activation == "sigmoid" and within:
        raise ModelError(
            f"the network gives scores from {low:.3g} to {high:.3g}, no logits: say `activation: none` under head in "
            "the model card; with sigmoid every score would be above 0.5"
        )
    if activation == "softmax" and within and np.allclose(scores.astype(np.float64).sum(axis=-1), 1, atol=1e-2):
        raise ModelError(
            "the network's scores add up to 1 already: say `activation: none` under head in the model card"
        )


def _check_boxes(found: Detections, spec: ModelSpec, network: tuple[int, int]) -> None:
    """`found`: the best candidates of all, in network pixels."""
    if found.nan and not len(found):
        raise ModelError(
            f"NaN in all {found.nan} boxes that the network gives; are the weights damaged, or the precision too low?"
        )
    if not len(found):
        return
    if found.classes.max() >= len(spec.names):
        raise ModelError(
            f"the network gives class {found.classes.max()}, but the {len(spec.names)} names are for 0 to "
            f"{len(spec.names) - 1}; give all names with --labels, or correct head.type"
        )
    many = len(found) >= _MANY_BOXES or found.scores[0] > _CONFIDENT
    if spec.head.boxes == "pixels" and many and np.abs(found.boxes).max() <= _UNIT:
        raise ModelError(
            f"all boxes lie within {_UNIT:g} pixels of a network input of {network[1]}x{network[0]}: say "
            "`boxes: normalized` under head in the model card"
        )
    _check_reach(found, spec.head, max(network))


def _check_reach(found: Detections, head: HeadSpec, side: int) -> None:
    if len(found) < _MANY_BOXES:
        return
    boxes = found.boxes.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite ones; what comes out as NaN is not within any bound
        sizes = boxes[:, 2:] - boxes[:, :2]
        centre = np.median(np.abs(boxes[:, :2] + boxes[:, 2:]).max(axis=1)) / 2 / side
        size = np.median(np.abs(sizes).max(axis=1)) / side
    remedy = "correct head.type in the model card"
    if head.type in ("yolox", "yolov5"):
        remedy += " (yolov5 where a YOLOX network decodes its boxes itself, else yolox)"
    if not (centre <= _FAR_CENTRE and size <= _FAR_SIZE):
        if head.boxes == "normalized":
            remedy = "say `boxes: pixels` under head in the model card"
        raise ModelError(
            f"the boxes lie far outside of the network's input: their centres {centre:.3g} times its side away, "
            f"{size:.3g} times as large; {remedy}"
        )
    negative = int((sizes < 0).any(axis=1).sum())
    if negative > _NEGATIVE * len(found):
        raise ModelError(f"{negative} of the {len(found)} best boxes have a negative width or height; {remedy}")


def _rows(array: RawOutput) -> RawOutput:
    """(P, Q) of one image, with a batch of 1 or without."""
    return array.reshape(array.shape[-2:])


def _of_yolo(raw: Sequence[RawOutput], head: HeadSpec) -> tuple[RawOutput, int | None]:
    rows = _rows(raw[0])
    return rows[4:], len(rows) - 4


def _of_yolov5(raw: Sequence[RawOutput], head: HeadSpec) -> tuple[RawOutput, int | None]:
    columns = _rows(raw[0])
    return columns[:, 4:], columns.shape[1] - 5


def _of_nanodet(raw: Sequence[RawOutput], head: HeadSpec) -> tuple[RawOutput, int | None]:
    if len(raw) == 1:
        scores = _rows(raw[0])[:, : -4 * head.bins]
    else:
        scores = np.concatenate([_rows(level) for level in raw[: len(raw) // 2]])
    return scores, scores.shape[1]


def _of_end2end(raw: Sequence[RawOutput], head: HeadSpec) -> tuple[RawOutput, int | None]:
    return _rows(raw[0])[:, 4:5], None


def _of_triple(raw: Sequence[RawOutput], head: HeadSpec) -> tuple[RawOutput, int | None]:
    return raw[1].reshape(-1, 1), None


def _of_detr(raw: Sequence[RawOutput], head: HeadSpec) -> tuple[RawOutput, int | None]:
    scores = _rows(raw[0]) if len(raw) == 2 else _rows(raw[0])[:, 4:]
    return scores, scores.shape[1] - (head.activation == "softmax")


def _of_classes(raw: Sequence[RawOutput], head: HeadSpec) -> tuple[RawOutput, int | None]:
    return raw[0].reshape(1, -1), raw[0].size


# (rows, …) of scores as the network gives them, and how many classes they are for; None: the head does not tell
_SCORES: Mapping[HeadType, Callable[[Sequence[RawOutput], HeadSpec], tuple[RawOutput, int | None]]] = {
    "yolo": _of_yolo,
    "yolov5": _of_yolov5,
    "yolox": _of_yolov5,
    "nanodet": _of_nanodet,
    "end2end": _of_end2end,
    "triple": _of_triple,
    "detr": _of_detr,
    "classes": _of_classes,
}
