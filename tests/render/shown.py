"""Detections for tests of drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boxmill.types import Detections, UInt8


def detections(
    boxes: Sequence[Sequence[float]], classes: Sequence[int] | None = None, scores: Sequence[float] | None = None
) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(np.linspace(0.9, 0.3, count) if scores is None else scores, np.float32),
        np.array(range(count) if classes is None else classes, np.int32),
        np.arange(count, dtype=np.int32),
    )


def grey(height: int, width: int) -> UInt8:
    return np.full((height, width, 3), 128, np.uint8)


def crowd(count: int, height: int, width: int, seed: int = 0) -> Detections:
    """Small boxes everywhere, of 80 classes."""
    random = np.random.default_rng(seed)
    start = random.uniform((0, 0), (width - 40, height - 60), (count, 2))
    boxes = np.concatenate([start, start + random.uniform((8, 15), (40, 60), (count, 2))], axis=1)
    return detections(boxes.tolist(), random.integers(0, 80, count).tolist())
