"""What a detection script does beside running the network, with OpenCV and NumPy, as such scripts are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from boxmill.compare.order import Limits
from boxmill.post import Postprocessor
from boxmill.runtimes import RawOutput
from boxmill.types import Float32, Geometry, HeadSpec, InputSpec, ModelSpec, UInt8

__all__ = ["SCRIPTED_HEADS", "detect", "read_pixels", "to_tensor"]

SCRIPTED_HEADS = ("yolo", "yolov5")  # decoded by NumPy and OpenCV's NMS; all others by boxmill.post
Objects = tuple[Float32, Float32, Any]  # (N, 4) x1, y1, x2, y2 in source pixels; (N,) scores; (N,) class ids


def read_pixels(path: bytes) -> UInt8 | None:
    """(H, W, 3) BGR, rotated as EXIF says; None: OpenCV cannot read it."""
    import cv2

    try:
        with open(path, "rb") as file:  # imread takes no path that is not UTF-8
            data = np.frombuffer(file.read(), np.uint8)
    except OSError:
        return None
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return cast("UInt8 | None", pixels)


def to_tensor(pixels: UInt8, place: Geometry, spec: InputSpec) -> Float32:
    """The letterboxed, normalised input, (3, h, w) or (h, w, 3)."""
    import cv2

    height, width = place.resized
    left, top = place.pad
    bottom, right = place.network[0] - top - height, place.network[1] - left - width
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    border = (spec.pad, spec.pad, spec.pad)
    padded = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=border)
    if spec.color == "RGB":
        padded = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)
    values = padded.astype(np.float32) * np.float32(spec.scale)
    if any(spec.mean) or spec.std != (1.0, 1.0, 1.0):
        values -= np.array(spec.mean, np.float32)
        values /= np.array(spec.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)) if spec.layout == "NCHW" else values


def detect(raw: Sequence[RawOutput], spec: ModelSpec, limits: Limits, place: Geometry) -> Objects:
    """One image's objects, best first; `raw` holds a batch of one."""
    head = spec.head
    if head.type not in SCRIPTED_HEADS:
        post = Postprocessor(head, conf=limits.conf, iou=limits.iou, max_det=limits.max_det)
        found = post(raw, place.network, [place])[0]
        return found.boxes, found.scores, found.classes
    centres, scores, classes = _candidates(raw[0][0], head, limits.conf)
    if head.boxes == "normalized":
        height, width = place.network
        centres = centres * np.array([width, height, width, height], np.float32)
    corners = centres.copy()
    corners[:, :2] -= centres[:, 2:] / 2
    kept = _suppress(corners, scores, classes, limits)
    boxes = corners[kept]
    boxes[:, 2:] += boxes[:, :2]
    boxes = (boxes - np.array(place.pad * 2, np.float32)) / np.array(place.scale * 2, np.float32)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, place.source[1])
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, place.source[0])
    return boxes, scores[kept], classes[kept]


def _candidates(rows: RawOutput, head: HeadSpec, conf: float) -> Objects:
    """Centre x, y, width, height; the best class's score; its id: of all anchors above `conf`."""
    anchors = rows.T if head.type == "yolo" else rows
    first = 4 if head.type == "yolo" else 5
    scores = anchors[:, first:]
    if head.activation == "sigmoid":
        scores = _sigmoid(scores)
    if head.type == "yolov5":
        objectness = anchors[:, 4:5]
        scores = scores * (_sigmoid(objectness) if head.activation == "sigmoid" else objectness)
    best = scores.max(1)
    kept = best > conf
    return anchors[kept, :4], best[kept], scores[kept].argmax(1)


def _sigmoid(values: Float32) -> Float32:
    return np.float32(1) / (np.float32(1) + np.exp(-values))


def _suppress(corners: Float32, scores: Float32, classes: Any, limits: Limits) -> Any:
    """Places of what stays, best first; `corners` are left, top, width, height."""
    import cv2

    if not len(scores):
        return np.zeros(0, np.int64)
    iou = 1.0 if limits.iou is None else limits.iou
    batched: Any = cv2.dnn.NMSBoxesBatched  # typed for lists, but it takes arrays, and faster
    kept = batched(corners, scores, classes.astype(np.int32), limits.conf, iou)
    return np.array(kept, np.int64).ravel()[: limits.max_det]
