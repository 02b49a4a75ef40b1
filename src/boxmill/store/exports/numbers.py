"""Float32 numbers for text formats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["exact", "xywh"]


def exact(values: npt.NDArray[Any]) -> list[Any]:
    """As nested lists of the shortest decimals that read back to the same float32 (9 significant digits are enough)."""
    if values.ndim > 1:
        return [exact(row) for row in values]
    return [float(f"{value:.9g}") for value in values.tolist()]


def xywh(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(N, 4) x1, y1, x2, y2 to (N, 4) left, top, width, height, in float64 so that nothing is rounded."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
