"""Antialiased resizing, written slowly and plainly; the native kernel must give the same bits.

It is Pillow's `Image.resize` of 8-bit RGB, which taggers are trained with: a filter that widens with the factor by
which the image shrinks, weights of 22 bits, whole grey levels after each of the two passes, the one across the rows
first. From Pillow 13 on the other comes first where the height shrinks much more than the width; rounding then differs.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from boxmill.types import UInt8

__all__ = ["reference_antialias"]

_ONE = 1 << 22  # the weight of a pixel that counts alone


def reference_antialias(
    pixels: UInt8, height: int, width: int, interpolation: Literal["bilinear", "bicubic"] = "bilinear"
) -> UInt8:
    """(H, W, 3) uint8 -> (height, width, 3): across the rows first, then down between them."""
    across = _resize_rows(pixels.transpose(1, 0, 2), width, interpolation)  # (width, H, 3)
    return _resize_rows(across.transpose(1, 0, 2), height, interpolation)


def _resize_rows(pixels: UInt8, resized: int, interpolation: str) -> UInt8:
    """(N, M, 3) -> (resized, M, 3)."""
    rows = [_blend(pixels, *_weights(index, len(pixels), resized, interpolation)) for index in range(resized)]
    return np.stack(rows)


def _blend(pixels: UInt8, first: int, weights: npt.NDArray[np.int64]) -> UInt8:
    """(N, M, 3), (K,) -> (M, 3): rounded to the nearest grey level and clamped."""
    sums = np.tensordot(weights, pixels[first : first + len(weights)].astype(np.int64), axes=1)  # (M, 3)
    return ((sums + _ONE // 2) >> 22).clip(0, 255).astype(np.uint8)


def _weights(index: int, source: int, resized: int, interpolation: str) -> tuple[int, npt.NDArray[np.int64]]:
    """The first pixel that a resized one takes, and the (K,) weights from there on, in 1 / 2^22."""
    step = source / resized
    widened = max(1.0, step)
    reach = (2 if interpolation == "bicubic" else 1) * widened  # source pixels to either side of the centre
    centre = (index + 0.5) * step
    first, last = max(0, int(centre - reach + 0.5)), min(source, int(centre + reach + 0.5))
    inverse = 1 / widened  # multiplied with, not divided by widened, which may round otherwise
    values = [_filter((place - centre + 0.5) * inverse, interpolation) for place in range(first, last)]
    total = 0.0
    for value in values:  # in this order, each sum rounded: `sum` is more exact from Python 3.12 on
        total += value
    return first, np.array([_rounded(value / total * _ONE) for value in values], np.int64)


def _filter(x: float, interpolation: str) -> float:
    """A triangle, or the cubic convolution of Keys (1981) with a = -1/2."""
    x = abs(x)
    if interpolation == "bilinear":
        return max(0.0, 1 - x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def _rounded(value: float) -> int:
    """Halves away from zero."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)
