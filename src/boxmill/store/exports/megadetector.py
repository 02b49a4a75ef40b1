"""MegaDetector batch results, `results.json`: what Timelapse, and the tools of camera-trap work, read.

Categories are class ids as text; boxes are left, top, width, height as shares of the image; a failed image has a
`failure` and no detections. https://lila.science/megadetector-output-format
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from boxmill.store.documents import failure_document
from boxmill.store.exports.folder import ExportFolder, JsonList
from boxmill.store.exports.numbers import exact, xywh
from boxmill.store.exports.source import RunResults
from boxmill.types import Detections, Failure, Outcome

__all__ = ["write_megadetector"]

_FORMAT = "1.6"


def write_megadetector(run: RunResults, folder: ExportFolder) -> list[str]:
    """No time of completion: the same run gives the same bytes."""
    encode = msgspec.json.encode
    categories = {str(class_id): name for class_id, name in enumerate(run.names)}
    info = {"format_version": _FORMAT, "detector": os.path.basename(run.header.weights)}
    with folder.stream("results.json") as stream:
        stream.write(b'{"info":%b,\n"detection_categories":%b,\n"images":' % (encode(info), encode(categories)))
        with JsonList(stream) as images:
            for outcome in run.outcomes():
                images.add(_image(outcome))
        stream.write(b"}\n")
    return []


def _image(outcome: Outcome) -> dict[str, Any]:
    result = outcome.result
    if isinstance(result, Failure) or outcome.size is None:
        why = failure_document(result) if isinstance(result, Failure) else {}
        return {"file": outcome.key, "failure": ": ".join(why.values()), "detections": None}
    width, height = outcome.size
    image: dict[str, Any] = {"file": outcome.key, "width": width, "height": height, "detections": []}
    if isinstance(result, Detections):
        shares = exact(xywh(result.boxes) / (width, height, width, height))
        rows = zip(result.classes.tolist(), exact(result.scores), shares, strict=True)
        image["detections"] = [{"category": str(c), "conf": score, "bbox": box} for c, score, box in rows]
    return image
