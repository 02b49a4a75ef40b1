"""The JSON documents of a run: one for each image and the summary (FORMATS, "Per-image JSON")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from boxmill.types import Detections, Failure, Outcome, Tags

__all__ = ["JsonStyle", "failure_document", "image_document", "pretty", "printable"]


@dataclass(frozen=True, slots=True)
class JsonStyle:
    """What of the per-image JSON is a matter of taste."""

    stems: bool = False  # a.json for a.jpg, instead of a.jpg.json
    int_boxes: bool = False  # bbox rounded to whole pixels


PLAIN = JsonStyle()


def image_document(outcome: Outcome, names: Sequence[str], style: JsonStyle = PLAIN) -> dict[str, Any]:
    """One image's result: confidence with 6 decimals, bbox in source pixels with 2, width and height after rotation."""
    width, height = outcome.size if outcome.size is not None else (None, None)
    document: dict[str, Any] = {"image": outcome.key, "width": width, "height": height}
    if isinstance(outcome.result, Failure):
        document["failure"] = failure_document(outcome.result)
        return document
    if isinstance(outcome.result, Tags):
        document["tags"] = _tags(outcome.result, names)
        return document
    document["truncated"] = outcome.result.cut is not None
    document["objects"] = _objects(outcome.result, names, style)
    return document


def failure_document(failure: Failure) -> dict[str, str]:
    """Why an input has no result: stage, code, message."""
    return {"stage": failure.stage, "code": failure.code, "message": printable(failure.message)}


def _objects(detections: Detections, names: Sequence[str], style: JsonStyle) -> list[dict[str, Any]]:
    # rounded in float64: a float32 rounded to 2 decimals would print as 12.339999
    exact = detections.boxes.astype(np.float64)
    boxes = np.rint(exact).astype(np.int64).tolist() if style.int_boxes else np.round(exact, 2).tolist()
    scores = np.round(detections.scores.astype(np.float64), 6).tolist()
    return [
        {"label": names[class_id], "class_id": class_id, "confidence": score, "bbox": box}
        for class_id, score, box in zip(detections.classes.tolist(), scores, boxes, strict=True)
    ]


def _tags(tags: Tags, names: Sequence[str]) -> list[dict[str, Any]]:
    scores = np.round(tags.scores.astype(np.float64), 6).tolist()
    return [
        {"label": names[class_id], "class_id": class_id, "confidence": score}
        for class_id, score in zip(tags.classes.tolist(), scores, strict=True)
    ]


def pretty(document: object) -> bytes:
    """UTF-8 JSON, indented by 2, characters beyond ASCII as they are, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def printable(text: str) -> str:
    r"""The text with what UTF-8 cannot hold escaped: a file name's stray byte 0xff in a message becomes \udcff."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
