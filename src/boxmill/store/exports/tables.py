"""csv: one row for each object, at least one for each image. jsonl: the per-image documents, one a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import msgspec

from boxmill.store.documents import failure_document, image_document
from boxmill.store.exports.folder import ExportFolder
from boxmill.store.exports.numbers import exact
from boxmill.store.exports.source import RunResults
from boxmill.types import Detections, Failure, Outcome

__all__ = ["write_csv", "write_jsonl"]

COLUMNS = (
    *("image", "status", "width", "height", "label", "class_id", "confidence", "x1", "y1", "x2", "y2"),
    *("truncated", "stage", "code", "message"),
)


def write_jsonl(run: RunResults, folder: ExportFolder) -> list[str]:
    """`results.jsonl`, as a run writes it."""
    encoder = msgspec.json.Encoder()
    with folder.stream("results.jsonl") as stream:
        for outcome in run.outcomes():
            stream.write(encoder.encode(image_document(outcome, run.names, run.header.style)) + b"\n")
    return []


def write_csv(run: RunResults, folder: ExportFolder) -> list[str]:
    """`results.csv`, UTF-8. `status` is object, tag, empty (the image has none) or failed; a failure is one row."""
    with folder.stream("results.csv") as stream:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for outcome in run.outcomes():
            writer.writerows(_rows(outcome, run))
            stream.write(text.getvalue().encode())
            text.seek(0)
            text.truncate()
        stream.write(text.getvalue().encode())
    return []


def _rows(outcome: Outcome, run: RunResults) -> Iterator[tuple[Any, ...]]:
    width, height = outcome.size if outcome.size is not None else ("", "")
    result = outcome.result
    if isinstance(result, Failure):
        why = failure_document(result)
        yield (outcome.key, "failed", width, height, *("",) * 8, why["stage"], why["code"], why["message"])
        return
    kind, boxes, truncated = "tag", [[""] * 4] * len(result), ""
    if isinstance(result, Detections):
        kind, boxes, truncated = "object", exact(result.boxes), str(int(result.cut is not None))
    for class_id, score, box in zip(result.classes.tolist(), exact(result.scores), boxes, strict=True):
        label = run.names[class_id]
        yield (outcome.key, kind, width, height, label, class_id, score, *box, truncated, "", "", "")
    if not len(result):
        yield (outcome.key, "empty", width, height, *("",) * 7, truncated, "", "", "")
