"""A runtime without a network: boxes computed from the pixels by simple arithmetic, the same everywhere.

It exists to test everything around a network, and to measure the engine alone. Every cell of the grids of strides 8, 16
and 32 yields one anchor whose centre, size and scores come from the mean colour of the cell, so the result depends on
every pixel of its own image and on nothing else.
"""

from __future__ import annotations

import numpy as np

from boxmill.types import Float32, ModelSpec

__all__ = ["FakeRuntime"]


class FakeRuntime:
    """Implements `Runtime` for models with the `yolo` head."""

    name = "fake"
    version = "1"
    precision = "fp32"

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def infer(self, tensor: Float32) -> list[Float32]:
        """(B, 3, h, w) or (B, h, w, 3) to [(B, 4 + C, A)], image by image."""
        planes = tensor if self.spec.input.layout == "NCHW" else tensor.transpose(0, 3, 1, 2)
        return [np.stack([self._head(image) for image in planes])]

    def close(self) -> None:
        """Nothing to free."""

    def _head(self, image: Float32) -> Float32:
        levels = [self._level(np.ascontiguousarray(image), stride) for stride in self.spec.head.strides]
        return np.concatenate(levels, axis=1)

    def _level(self, image: Float32, stride: int) -> Float32:
        rows, columns = image.shape[1] // stride, image.shape[2] // stride
        cells = image[:, : rows * stride, : columns * stride].reshape(3, rows, stride, columns, stride)
        red, green, blue = cells.astype(np.float64).mean(axis=(2, 4)).reshape(3, -1) % 1.0  # (rows * columns,) each
        y, x = np.divmod(np.arange(rows * columns), columns)
        head = np.empty((4 + len(self.spec.names), rows * columns), np.float32)
        head[0] = (x + red) * stride
        head[1] = (y + green) * stride
        head[2] = stride * (1 + 4 * blue)
        head[3] = stride * (1 + 4 * red)
        for class_id in range(len(self.spec.names)):
            mixed = red * (7 + class_id) + green * (13 + 3 * class_id) + blue * (29 + 5 * class_id)
            head[4 + class_id] = (mixed % 1.0) ** 8
        return head
