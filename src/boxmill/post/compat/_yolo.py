"""The body that every `non_max_suppression` here shares: a raw head to one table of objects for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from boxmill.errors import UsageError
from boxmill.post.compat._arrays import Array, ArrayOrTensor, as_array, as_float32, like, stays_on_gpu
from boxmill.post.compat._original import nms_in_double
from boxmill.post.postprocess import Postprocessor
from boxmill.types import Float32, HeadSpec

__all__ = ["MAX_NMS", "MAX_WH", "Request", "first", "suppress", "wanted_classes"]

MAX_NMS, MAX_WH = 30000, 7680  # what all these functions use where the caller cannot choose
_NETWORK = (1, 1)  # only heads with normalized boxes look at it

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What the caller asked for, under one set of names."""

    layout: Literal["yolo", "yolov5"]  # (B, 4 + C + masks, A), or (B, A, 5 + C + masks)
    conf: float
    iou: float
    masks: int = 0  # columns behind the class scores that go with each object
    classes: Any = None
    agnostic: bool = False
    multi_label: bool = False
    labels: Sequence[Any] = ()
    max_det: int = 300
    max_nms: int = MAX_NMS
    max_wh: float = MAX_WH  # like_original: classes are moved apart by so many pixels
    like_original: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The objects of one image, best first."""

    table: Float32  # (n, 6 + masks) x1, y1, x2, y2, score, class, then the masks' columns
    anchors: Int64  # (n,)


def suppress(prediction: ArrayOrTensor, request: Request) -> tuple[list[ArrayOrTensor], list[ArrayOrTensor]]:
    """For each image its (n, 6 + masks) table, and the (n,) int64 anchors that the rows came from.

    The tables are float32, as the originals' are for float16 as well (class ids and boxes do not fit in float16), and
    float64 for a float64 prediction.

    Raises:
        UsageError: an argument has another type, shape or dtype, or is out of range.
    """
    if stays_on_gpu(prediction) and not (len(request.labels) or request.masks or request.like_original):
        return _on_gpu(prediction, request)
    raw = as_array("prediction", prediction)
    heads = as_float32("prediction", raw)
    count = _class_count(heads, request)
    post = _postprocessor(request, count)
    if len(request.labels) not in (0, len(heads)):
        raise UsageError(f"labels must be given for each of {len(heads)} images, got {len(request.labels)}")
    if len(request.labels) or request.masks or request.like_original:
        one = _original if request.like_original else _exact
        found = [one(_with_labels(heads[i], request, count, i), request, count, post) for i in range(len(heads))]
    else:
        found = [_Found(_table(image.boxes, image.scores, image.classes), image.indices.astype(np.int64))
                 for image in post(heads, _NETWORK)]  # fmt: skip
    wide = raw.dtype.itemsize > 4
    tables = [each.table.astype(np.float64) if wide else each.table for each in found]
    return [like(prediction, table) for table in tables], [like(prediction, each.anchors) for each in found]


def first(prediction: ArrayOrTensor | Sequence[Any]) -> ArrayOrTensor:
    """The raw head of what a network answers: the first member of a list or tuple."""
    chosen: Any = prediction[0] if isinstance(prediction, list | tuple) else prediction
    head: ArrayOrTensor = chosen
    return head


def _on_gpu(prediction: Any, request: Request) -> tuple[list[Any], list[Any]]:
    """`suppress` without leaving the device; waits for it once, for the number of rows of each image."""
    from boxmill.post import gpu

    count = _class_count(prediction, request)
    post = _postprocessor(request, count)
    wide = prediction.dtype.itemsize == 8
    anchors = prediction.shape[2 if request.layout == "yolo" else 1]
    found = gpu.postprocess(
        post.head,
        prediction.float() if wide else prediction,
        _NETWORK,
        conf=post.conf,
        iou=post.iou,
        max_det=min(post.max_det, max(1, anchors * (count if post.multi_label else 1))),
        max_nms=post.max_nms,
        classes=post.classes,
        agnostic=post.agnostic,
        multi_label=post.multi_label,
    )
    objects = prediction.new_empty((*found.scores.shape, 6), dtype=found.scores.dtype)  # (B, max_det, 6)
    objects[..., :4], objects[..., 4], objects[..., 5] = found.boxes, found.scores, found.classes
    objects = objects.double() if wide else objects
    counts = found.count.tolist()
    tables = [table[:rows] for table, rows in zip(objects, counts, strict=True)]
    return tables, [indices[:rows].long() for indices, rows in zip(found.indices, counts, strict=True)]


def wanted_classes(classes: Any) -> list[float]:
    """Class ids from one number, a sequence, an array or a tensor."""
    listed = classes.tolist() if hasattr(classes, "tolist") else classes
    return list(listed) if isinstance(listed, Sequence) else [listed]


def _class_count(heads: Array, request: Request) -> int:
    if heads.ndim != 3:
        raise UsageError(f"prediction must have shape (images, rows, columns), got {heads.shape}")
    fixed = 4 if request.layout == "yolo" else 5
    count = heads.shape[1 if request.layout == "yolo" else 2] - fixed - request.masks
    if request.masks < 0 or count < 1:
        expected = "(B, 4 + classes + masks, A)" if request.layout == "yolo" else "(B, A, 5 + classes + masks)"
        raise UsageError(f"prediction must be {expected}, got {heads.shape} with {request.masks} masks an anchor")
    return int(count)


def _postprocessor(request: Request, count: int) -> Postprocessor:
    classes = None
    if request.classes is not None:  # ids that the head does not have match nothing, as in the originals
        known = [label for label in wanted_classes(request.classes) if 0 <= label < count and label == int(label)]
        classes = tuple(int(label) for label in known)
    return Postprocessor(
        HeadSpec(request.layout),
        conf=float(request.conf),
        iou=float(request.iou),
        max_det=int(request.max_det),
        max_nms=int(request.max_nms),
        classes=classes,
        agnostic=bool(request.agnostic) or request.max_wh == 0,
        multi_label=bool(request.multi_label),
    )


def _table(boxes: Array, scores: Array, classes: Array, masks: Array | None = None) -> Float32:
    table = np.empty((len(scores), 6 + (0 if masks is None else masks.shape[1])), np.float32)
    table[:, :4], table[:, 4], table[:, 5] = boxes, scores, classes
    if masks is not None:
        table[:, 6:] = masks
    return table


def _with_labels(image: Array, request: Request, count: int, i: int) -> Array:
    """One image as (A, 4 + C + masks) or (A, 5 + C + masks), with an anchor of score 1 for each known object."""
    anchors = image.T if request.layout == "yolo" else image
    if not len(request.labels) or not len(request.labels[i]):
        return anchors
    known = as_array("labels", request.labels[i])
    if known.ndim != 2 or known.shape[1] != 5:
        raise UsageError(f"labels of an image must be (m, 5), class and centre x y width height, got {known.shape}")
    ids = known[:, 0].astype(np.int64)
    if not np.all((ids >= 0) & (ids < count)):
        raise UsageError(f"labels must name classes 0 to {count - 1}, got {sorted(set(ids.tolist()))}")
    extra = np.zeros((len(known), anchors.shape[1]), np.float32)
    extra[:, :4] = known[:, 1:]
    first = 4 if request.layout == "yolo" else 5
    extra[:, 4:first] = 1
    extra[np.arange(len(ids)), first + ids] = 1
    return np.concatenate([anchors, extra])


def _exact(anchors: Array, request: Request, count: int, post: Postprocessor) -> _Found:
    first = 4 if request.layout == "yolo" else 5
    head = anchors[:, : first + count]  # a view: the columns of masks are read for the results alone
    image = post(head.T if request.layout == "yolo" else head, _NETWORK)[0]
    kept = image.indices.astype(np.int64)
    masks = anchors[kept, first + count :].astype(np.float32)
    if request.layout == "yolov5":
        masks *= anchors[kept, 4:5].astype(np.float32)  # yolov5 multiplies these by the objectness, too
    return _Found(_table(image.boxes, image.scores, image.classes, masks), kept)


def _original(anchors: Array, request: Request, count: int, post: Postprocessor) -> _Found:
    """As the originals compute: in the prediction's own dtype up to the table, then classes apart by offsets."""
    conf = anchors.dtype.type(post.conf)
    with np.errstate(all="ignore"):
        if request.layout == "yolo":
            passing = np.flatnonzero(anchors[:, 4 : 4 + count].max(axis=1) > conf)
            values = anchors[passing, 4:]  # (a, C + masks)
        else:
            passing = np.flatnonzero(anchors[:, 4] > conf)
            values = anchors[passing, 5:] * anchors[passing, 4:5]  # (a, C + masks)
        centre, half = anchors[passing, :2], anchors[passing, 2:4] / anchors.dtype.type(2)  # (a, 2) each
        boxes = np.concatenate([centre - half, centre + half], axis=1)  # (a, 4)
        if post.multi_label:
            rows, labels = np.nonzero(values[:, :count] > conf)
        else:
            best = values[:, :count].argmax(axis=1)  # (a,)
            rows = np.flatnonzero(values[np.arange(len(best)), best] > conf)
            labels = best[rows]
    if post.classes is not None:
        chosen = np.isin(labels, post.classes)
        rows, labels = rows[chosen], labels[chosen]
    table = _table(boxes[rows], values[rows, labels], labels, values[rows, count:])
    order = np.argsort(-table[:, 4], kind="stable")[: post.max_nms]
    table = table[order]
    apart = 0 if post.agnostic else table[:, 5:6] * np.float32(request.max_wh)
    kept = nms_in_double(table[:, :4] + apart, table[:, 4], float(request.iou))[: post.max_det]
    return _Found(table[kept], passing[rows[order[kept]]])
