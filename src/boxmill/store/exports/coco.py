"""COCO: `instances.json` with images, categories and annotations, and `results.json`, the list that evaluation takes.

`COCO("instances.json")` loads the run as if it were ground truth; `COCO(truth).loadRes("results.json")` compares it
with one. An image's id is its place in the listing, from 1; a category's is its class id + 1, or as --coco-ids says.
https://cocodataset.org/#format-results
"""

from __future__ import annotations

from typing import Any

from boxmill.coco80 import COCO80_EN, COCO80_ZH
from boxmill.errors import UsageError
from boxmill.store.documents import failure_document
from boxmill.store.exports.folder import ExportFolder, JsonList, Stream
from boxmill.store.exports.numbers import exact, xywh
from boxmill.store.exports.source import CocoIds, RunResults
from boxmill.types import Detections, Failure

__all__ = ["COCO91", "category_ids", "write_coco"]

# the ids 1 to 90 that COCO's 2017 annotations use, in the order of its 80 classes
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO91 = tuple(number for number in range(1, 91) if number not in _UNUSED)


def category_ids(names: tuple[str, ...], choice: CocoIds | None) -> tuple[int, ...]:
    """The category id of each class.

    Raises:
        UsageError: `choice` is 80 or 91 and these are not COCO's 80 classes in their order.
    """
    if choice == "class":
        return tuple(range(len(names)))
    if choice is not None and names not in (COCO80_EN, COCO80_ZH):
        raise UsageError(
            f"--coco-ids {choice}: these {len(names)} classes are not COCO's 80 in their order; leave it out for ids "
            "from 1, or give class for ids from 0"
        )
    return COCO91 if choice == "91" else tuple(range(1, len(names) + 1))


def write_coco(run: RunResults, folder: ExportFolder) -> list[str]:
    """Writes both files. Failed images stand under `failures`: they are not images without objects."""
    ids = category_ids(run.names, run.options.coco_ids)
    with folder.stream("instances.json") as stream, folder.stream("results.json") as results:
        stream.write(b'{"info":{"description":"detections by boxmill"},\n"images":')
        _images(run, stream)
        stream.write(b',\n"failures":')
        _failures(run, stream)
        stream.write(b',\n"categories":')
        with JsonList(stream) as categories:
            for number, name in zip(ids, run.names, strict=True):
                categories.add({"id": number, "name": name, "supercategory": ""})
        stream.write(b',\n"annotations":')
        _annotations(run, stream, results, ids)
        stream.write(b"}\n")
    return []


def _images(run: RunResults, stream: Stream) -> None:
    with JsonList(stream) as images:
        for outcome in run.outcomes():
            if isinstance(outcome.result, Detections) and outcome.size is not None:
                width, height = outcome.size
                images.add({"id": outcome.index + 1, "file_name": outcome.key, "width": width, "height": height})


def _failures(run: RunResults, stream: Stream) -> None:
    with JsonList(stream) as failures:
        for outcome in run.outcomes():
            if isinstance(outcome.result, Failure):
                why = failure_document(outcome.result)
                failures.add({"id": outcome.index + 1, "file_name": outcome.key, **why})


def _annotations(run: RunResults, stream: Stream, results: Stream, ids: tuple[int, ...]) -> None:
    number = 0
    with JsonList(stream) as annotations, JsonList(results) as listed:
        for outcome in run.outcomes():
            found = outcome.result
            if not isinstance(found, Detections):
                continue
            boxes = xywh(found.boxes)
            areas = exact(boxes[:, 2] * boxes[:, 3])
            rows = zip(found.classes.tolist(), exact(boxes), exact(found.scores), areas, strict=True)
            for class_id, box, score, area in rows:
                number += 1  # from 1: pycocotools takes an annotation with id 0 for no match
                row: dict[str, Any] = {"image_id": outcome.index + 1, "category_id": ids[class_id]}
                row |= {"bbox": box, "score": score}
                listed.add(row)
                annotations.add({"id": number, **row, "area": area, "iscrowd": 0, "segmentation": []})
