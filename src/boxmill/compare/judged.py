"""A script's JSON files as a run, so that the evaluator judges what the script has written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from boxmill.compare.order import Order
from boxmill.store import Entry, Journal, NewInput, pretty, write_file, write_manifest
from boxmill.types import Detections, Failure, Outcome

__all__ = ["write_judged"]

_GROUP = 1000  # outcomes in memory at once


class _Object(msgspec.Struct):
    class_id: int
    confidence: float
    bbox: tuple[float, float, float, float]


class _Document(msgspec.Struct):
    width: int
    height: int
    objects: list[_Object]


def write_judged(order: Order, folder: Path) -> Path:
    """Makes a run at `folder` of what a script wrote; an image without a JSON file failed.

    Raises:
        OutputError: it cannot be written.
    """
    folder.mkdir(parents=True)
    inputs = (NewInput(key, path, 0, -1) for key, path in order.images)
    write_manifest(folder / "manifest-0.jsonl", os.fsencode(folder.absolute()), inputs)
    journal = Journal(folder, 1, 1)
    for start in range(0, len(order.images), _GROUP):
        numbered = range(start, min(start + _GROUP, len(order.images)))
        journal.commit([Entry.of(_outcome(order, index)) for index in numbered])
    journal.close()
    spec, limits = order.spec, order.limits
    header = {
        "format": 1,
        "source": "",
        "settings": {"weights": os.fsdecode(order.network), "conf": limits.conf, "keep_conf": limits.conf},
        "model": {"names": list(spec.names), "task": spec.task},
    }
    write_file(folder / "run.json", pretty(header))
    return folder


def _outcome(order: Order, index: int) -> Outcome:
    key = order.images[index][0]
    try:
        data = Path(os.fsdecode(order.folder), f"{key}.json").read_bytes()
    except FileNotFoundError:
        return Outcome(key, index, Failure(key, "decode", "unreadable", "OpenCV cannot read it"))
    document = msgspec.json.decode(data, type=_Document)
    return Outcome(key, index, _detections(document.objects), (document.width, document.height))


def _detections(objects: Sequence[_Object]) -> Detections:
    return Detections(
        boxes=np.array([one.bbox for one in objects], np.float32).reshape(-1, 4),
        scores=np.array([one.confidence for one in objects], np.float32),
        classes=np.array([one.class_id for one in objects], np.int32),
        indices=np.arange(len(objects), dtype=np.int32),
    )
