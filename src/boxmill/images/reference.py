"""The letterbox's arithmetic, written slowly and plainly; the native kernel must give the same bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from boxmill.images.letterbox import resized_size
from boxmill.types import Float32, Geometry, InputSpec, Int32, UInt8

__all__ = ["reference_letterbox"]

_UNIT = 128  # samples are held in 1/128 of a grey level
_WEIGHT = 32768  # and blended with weights of 1/32768


def reference_letterbox(pixels: UInt8, geometry: Geometry, spec: InputSpec) -> Float32:
    """One image as the network takes it: (3, h, w) or (h, w, 3) float32; `preprocess` without the speed.

    Args:
        pixels: (H, W, 3) RGB.
        geometry: of this image.
        spec: the same that the geometry was made with.
    """
    height, width = resized_size(geometry)
    rows = _lerp(pixels.astype(np.int32) * _UNIT, 0, height)  # (height, W, 3)
    samples = _lerp(rows, 1, width)  # (height, width, 3)
    canvas = np.full((*geometry.network, 3), spec.pad * _UNIT, np.int32)  # (h, w, 3)
    left, top = geometry.pad
    canvas[top : top + height, left : left + width] = samples
    if spec.color == "BGR":
        canvas = canvas[..., ::-1]
    grey = canvas.astype(np.float32) / np.float32(_UNIT)  # exact: at most 15 bits
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    values = (grey * np.float32(spec.scale) - mean) / std
    if spec.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values, np.float32)


def _lerp(samples: Int32, axis: int, resized: int) -> Int32:
    """Resamples one axis: a + round((b - a) * weight / 32768), half up, between the two nearest samples a and b."""
    first, weight = _positions(samples.shape[axis], resized)
    a = np.take(samples, first, axis)
    b = np.take(samples, np.minimum(first + 1, samples.shape[axis] - 1), axis)
    weight = weight.reshape([-1 if i == axis else 1 for i in range(samples.ndim)])
    step = ((b - a).astype(np.int64) * weight + _WEIGHT // 2) >> 15
    return np.asarray(a + step, np.int32)


def _positions(source: int, resized: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First sample and weight of the second in 1/32768, each (resized,): half-pixel centres, clamped to the edge."""
    position = ((np.arange(resized) + 0.5) * (source / resized) - 0.5).clip(0, source - 1)
    first = np.floor(position).astype(np.int64)
    return first, np.minimum(((position - first) * _WEIGHT + 0.5).astype(np.int64), _WEIGHT - 1)
