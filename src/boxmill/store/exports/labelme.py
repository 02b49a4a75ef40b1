"""labelme: a JSON file for each image, with rectangles, named as labelme names it: a.json for a.jpg, folders mirrored.

`imagePath` is relative to the JSON file and leads to the image where it lies, so labelme opens the files in place.
https://github.com/wkentaro/labelme
"""

from __future__ import annotations

import os

from boxmill.store.documents import pretty, printable
from boxmill.store.exports.folder import ExportFolder
from boxmill.store.exports.numbers import exact
from boxmill.store.exports.per_image import create_for
from boxmill.store.exports.source import RunResults
from boxmill.store.stems import stem
from boxmill.types import Detections

__all__ = ["write_labelme"]

_VERSION = "5.5.0"  # of labelme, whose layout this is


def write_labelme(run: RunResults, folder: ExportFolder) -> list[str]:
    """An image without objects has a file without shapes; a failed one has none."""
    for outcome, entry in run.located():
        found = outcome.result
        if not isinstance(found, Detections) or outcome.size is None:
            continue
        place = os.path.join(folder.path, os.path.dirname(f"annotations/{stem(outcome.key)}.json"))
        document: dict[str, object] = {
            "version": _VERSION,
            "flags": {},
            "shapes": _shapes(found, run.names),
            "imagePath": printable(os.path.relpath(os.fsdecode(entry.path), place)),
            "imageData": None,
            "imageHeight": outcome.size[1],
            "imageWidth": outcome.size[0],
        }
        create_for(run, folder, outcome.key, lambda name: f"annotations/{name}.json", pretty(document))
    return []


def _shapes(found: Detections, names: tuple[str, ...]) -> list[dict[str, object]]:
    rows = zip(found.classes.tolist(), exact(found.boxes), exact(found.scores), strict=True)
    return [
        {
            "label": names[class_id],
            "points": [box[:2], box[2:]],
            "group_id": None,
            "description": f"score {score:.6f}",
            "shape_type": "rectangle",
            "flags": {},
            "mask": None,
        }
        for class_id, box, score in rows
    ]
