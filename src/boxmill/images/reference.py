"""The letterbox's arithmetic, written slowly and plainly; the native kernel must give the same bits.

Resizing with `antialias` is in antialias.py. Without, it is OpenCV's INTER_LINEAR for uint8 on x86-64 (compared with
4.12 and 5.0): float32 positions, weights of 11 bits, products rounded down, whole grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from boxmill.images.antialias import reference_antialias
from boxmill.types import Float32, Geometry, InputSpec, Int32, UInt8

__all__ = ["AxisTaps", "axis_taps", "reference_letterbox"]

_WEIGHT = 2048  # of a pixel that counts alone


def reference_letterbox(pixels: UInt8, geometry: Geometry, spec: InputSpec) -> Float32:
    """One image as the network takes it: (3, h, w) or (h, w, 3) float32; `preprocess` without the speed.

    Args:
        pixels: (H, W, 3) RGB.
        geometry: of this image.
        spec: the same that the geometry was made with.
    """
    (height, width), (left, top) = geometry.resized, geometry.pad
    canvas = np.full((*geometry.network, 3), spec.pad, np.uint8)  # (h, w, 3)
    resize = partial(reference_antialias, interpolation=spec.interpolation) if spec.antialias else _resize
    kept = resize(pixels, height, width)[max(0, -top) :, max(0, -left) :][: len(canvas), : canvas.shape[1]]  # a crop
    canvas[max(0, top) :, max(0, left) :][: len(kept), : kept.shape[1]] = kept
    if spec.color == "BGR":
        canvas = canvas[..., ::-1]
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    values = (canvas.astype(np.float32) * np.float32(spec.scale) - mean) / std
    if spec.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values, np.float32)


def _resize(pixels: UInt8, height: int, width: int) -> UInt8:
    """(H, W, 3) -> (height, width, 3): across the rows first, then down between them."""
    across = axis_taps(pixels.shape[1], width).ending_at_the_outermost()
    left, right = across.weights[:, :, None]  # (width, 1) each
    source = pixels.astype(np.int32)
    rows = (source[:, across.first] * left + source[:, across.second] * right) >> 4  # (H, width, 3), below 2^15
    down = axis_taps(pixels.shape[0], height)
    upper, lower = down.weights[:, :, None, None]  # (height, 1, 1) each
    quarters = ((rows[down.first] * upper) >> 16) + ((rows[down.second] * lower) >> 16)  # of a grey level
    return np.asarray((quarters + 2) >> 2, np.uint8)


@dataclass(frozen=True)
class AxisTaps:
    """What each resized row or column takes from its axis."""

    before: npt.NDArray[np.int64]  # (resized,) the pixel at or before the sampled position; -1 where it lies outside
    weights: Int32  # (2, resized) of that pixel and of the next, in 1 / 2048; they add up to 2047-2049
    source: int  # pixels of the axis

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """(resized,) the pixel at or before the sampled position, within the axis."""
        return self.before.clip(0, self.source - 1)

    @property
    def second(self) -> npt.NDArray[np.int64]:
        """(resized,) the one after it."""
        return (self.before + 1).clip(0, self.source - 1)

    def ending_at_the_outermost(self) -> AxisTaps:
        """With all the weight on one pixel beyond the centres of the outermost.

        OpenCV does so across a row only. Down a column it takes the outermost row twice, by two weights whose products
        are each rounded down, which can be a grey level less.
        """
        beyond = (self.before < 0) | (self.before >= self.source - 1)
        alone = np.array([[_WEIGHT], [0]], np.int32)  # (2, 1)
        return AxisTaps(self.before.clip(0, self.source - 1), np.where(beyond, alone, self.weights), self.source)


def axis_taps(source: int, resized: int) -> AxisTaps:
    """Of one axis of `source` pixels resized to `resized`.

    Half-pixel centres: (i + 0.5) * step - 0.5 in double precision, rounded to float32 as all that follows.
    """
    step = 1 / (resized / source)  # not source / resized, which may round otherwise
    position = ((np.arange(resized) + 0.5) * step - 0.5).astype(np.float32)
    before = np.floor(position)
    fraction = position - before
    weights = np.rint(np.stack([np.float32(1) - fraction, fraction]) * np.float32(_WEIGHT))  # halves to even
    return AxisTaps(before.astype(np.int64), weights.astype(np.int32), source)
