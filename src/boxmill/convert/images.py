"""Pictures to compare runtimes on: the same bits everywhere, of every scale that a detector looks for."""

from __future__ import annotations

import numpy as np

from boxmill.types import Float32

__all__ = ["pictures"]

_SEED = 20240223
_MOST_SHAPES = 60


def pictures(count: int, network: tuple[int, int]) -> Float32:
    """(count, 3, h, w) float32 in [0, 1]: filled rectangles of all sizes over a ramp, with grain; RGB.

    They only draw on numpy's PCG64 integers and exact divisions, so they do not depend on the machine.
    """
    rng = np.random.Generator(np.random.PCG64(_SEED))
    return np.stack([_picture(rng, *network) for _ in range(count)])


def _picture(rng: np.random.Generator, height: int, width: int) -> Float32:
    ramp = (np.arange(height)[:, None] * 96 // height + np.arange(width)[None] * 96 // width).astype(np.int64)
    pixels = np.repeat(ramp[None], 3, axis=0)  # (3, h, w), 0-190
    for _ in range(_MOST_SHAPES):
        size = max(4, min(height, width) // int(rng.integers(2, 40)))
        tall, wide = (int(side) for side in rng.integers(size // 2, size, 2, endpoint=True))
        y, x = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
        pixels[:, y : y + tall, x : x + wide] = rng.integers(0, 256, (3, 1, 1))
    grain = rng.integers(-12, 13, (3, height, width))
    picture: Float32 = np.clip(pixels + grain, 0, 255).astype(np.float32) / np.float32(255)
    return picture
