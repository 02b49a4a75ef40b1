"""Finished runs that were never run: images, manifest, journal and run.json, for tests of what is made from them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from boxmill.store import Entry, Journal, NewInput, write_manifest
from boxmill.types import Detections, Failure, Outcome, Tags

NAMES = ("人", 'dog <&> "it\'s"', "车: 大\u0001")
WIDTH, HEIGHT = 64, 48


def detections(index: int, count: int, classes: int = len(NAMES)) -> Detections:
    """`count` boxes within the image, best first."""
    rng = np.random.default_rng(index)
    corners = np.sort(rng.random((count, 2, 2), np.float32), axis=1) * np.float32([WIDTH, HEIGHT])
    return Detections(
        boxes=corners.reshape(count, 4).astype(np.float32),
        scores=np.sort(rng.random(count, np.float32) * np.float32(0.9) + np.float32(0.1))[::-1].copy(),
        classes=rng.integers(0, classes, count).astype(np.int32),
        indices=np.arange(count, dtype=np.int32),
    )


def detected(key: str, index: int, count: int) -> Outcome:
    return Outcome(key, index, detections(index, count), (WIDTH, HEIGHT))


def tagged(key: str, index: int, count: int) -> Outcome:
    return Outcome(
        key,
        index,
        Tags(np.arange(count, dtype=np.int32), np.linspace(0.9, 0.5, count, dtype=np.float32)),
        (WIDTH, HEIGHT),
    )


def failed(key: str, index: int) -> Outcome:
    return Outcome(key, index, Failure(key, "decode", "truncated", "it ends early, 末尾"))


def write_run(
    folder: Path, outcomes: Sequence[Outcome], total: int | None = None, task: str = "detect",
    names: Sequence[str] = NAMES, **settings: object,
) -> Path:  # fmt: skip
    """A run at `folder`/run over `folder`/photos, where every input that has not failed is a grey PNG."""
    run, photos = folder / "run", folder / "photos"
    run.mkdir(parents=True)
    image = cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 127, np.uint8))[1].tobytes()
    for outcome in outcomes:
        if not isinstance(outcome.result, Failure):
            (photos / outcome.key).parent.mkdir(parents=True, exist_ok=True)
            (photos / outcome.key).write_bytes(image)
    extra = (total or len(outcomes)) - len(outcomes)
    keys = [*(outcome.key for outcome in outcomes), *(f"open{number}.jpg" for number in range(extra))]
    write_manifest(run / "manifest-0.jsonl", os.fsencode(photos), (NewInput(key, None, 1, 2) for key in keys))
    journal = Journal(run, 1, 1)
    journal.commit([Entry.of(outcome) for outcome in outcomes])
    journal.close()
    chosen = {"weights": "somewhere/net.onnx", "conf": 0.1, "keep_conf": 0.1, **settings}
    header = {"format": 1, "settings": chosen, "model": {"names": list(names), "task": task}}
    (run / "run.json").write_text(json.dumps(header))
    return run
