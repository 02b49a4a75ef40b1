"""Runs and ground truth with objects that a test has chosen, without images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boxmill.store import Entry, Journal, NewInput, write_manifest
from boxmill.types import Detections, Failure, Outcome

NAMES = ("cat", "狗", "cow")
SIZE = (200, 100)  # width, height
Row = tuple[float, float, float, float, float, int]  # x1, y1, x2, y2, score, class
Object = tuple[float, float, float, float, int]  # x1, y1, x2, y2, category id


def detections(rows: Sequence[Row]) -> Detections:
    """The objects, best first; of equal scores the first."""
    ordered = sorted(rows, key=lambda row: -np.float32(row[4]))
    table = np.array(ordered, np.float64).reshape(-1, 6)
    return Detections(
        np.ascontiguousarray(table[:, :4], np.float32),
        np.ascontiguousarray(table[:, 4], np.float32),
        table[:, 5].astype(np.int32),
        np.arange(len(table), dtype=np.int32),
    )


def write_run(
    folder: Path, results: Mapping[str, Sequence[Row] | None], names: Sequence[str] = NAMES, open_keys: int = 0,
    size: tuple[int, int] = SIZE, **settings: object,
) -> Path:  # fmt: skip
    """A run at `folder`; None: that image failed; `open_keys` more inputs were not come to."""
    folder.mkdir(parents=True)
    outcomes = [
        Outcome(key, index, Failure(key, "decode", "truncated", "it ends early"))
        if rows is None
        else Outcome(key, index, detections(rows), size)
        for index, (key, rows) in enumerate(results.items())
    ]
    keys = [*results, *(f"open{number}.jpg" for number in range(open_keys))]
    write_manifest(folder / "manifest-0.jsonl", os.fsencode(folder), (NewInput(key, None, 1, 2) for key in keys))
    journal = Journal(folder, 1, 1)
    journal.commit([Entry.of(outcome) for outcome in outcomes])
    journal.close()
    chosen = {"weights": "net.onnx", "conf": 0.25, "keep_conf": 0.001, **settings}
    task = chosen.pop("task", "detect")
    header = {"format": 1, "source": "photos", "settings": chosen, "model": {"names": list(names), "task": task}}
    (folder / "run.json").write_text(json.dumps(header), encoding="utf-8")
    return folder


def coco(images: Mapping[str, Sequence[Object]], categories: Mapping[int, str], crowds: Sequence[int] = ()) -> Any:
    """Ground truth in COCO's form; `crowds` are numbers of objects, counted from 1."""
    annotations: list[dict[str, Any]] = []
    for image_id, objects in enumerate(images.values(), 1):
        for x1, y1, x2, y2, category in objects:
            number = len(annotations) + 1
            annotations.append(
                {"id": number, "image_id": image_id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1],
                 "area": (x2 - x1) * (y2 - y1), "iscrowd": int(number in crowds)}
            )  # fmt: skip
    return {
        "images": [
            {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for number, name in enumerate(images, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }


def write_coco(
    path: Path, images: Mapping[str, Sequence[Object]], categories: Mapping[int, str], crowds: Sequence[int] = ()
) -> Path:
    path.write_text(json.dumps(coco(images, categories, crowds)), encoding="utf-8")
    return path
