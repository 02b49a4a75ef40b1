"""Pixels to the network's input: where the image lies in it, and one native pass that puts it there."""

from __future__ import annotations

import numpy as np

from boxmill import _native
from boxmill.images.crop import center_crop, check_resize
from boxmill.types import Float32, Frame, Geometry, InputSpec

__all__ = ["geometry", "preprocess", "tensor_shape"]


def geometry(source: tuple[int, int], spec: InputSpec, *, rect: bool = False) -> Geometry:
    """Where a source image lies in the network's input; a function of this image alone.

    Letterbox: r = min(W / w, H / h) in double precision; resized = w * r and h * r, rounded half to even (Python's
    `round`, as the YOLO trainers do) or down (`rounding: floor`), at least 1; centred with the smaller half of an odd
    border left and above, or in the upper left corner (`letterbox_topleft`). `scale` is r on both axes, not the rounded
    size / source: so the trainers scale their labels. Stretch: each axis by itself, no border. Center crop: the shorter
    side becomes `spec.crop_from` pixels and `spec.size` is cut from the centre (see `crop.center_crop`), so that the
    image reaches beyond the network's input: `pad` is negative, or 0.

    Args:
        source: height, width in pixels.
        spec: what the network takes.
        rect: the smallest multiples of `spec.stride` that hold the resized image, instead of `spec.size`. Whether the
            network takes such shapes is the caller's to know. Without effect on `stretch` and `center_crop`.

    Raises:
        ValueError: a source side is below 1.
        ModelError: see `crop.check_resize`; it depends on `spec` alone.
    """
    check_resize(spec)
    height, width = source
    if height < 1 or width < 1:
        raise ValueError(f"expected a source of at least 1x1 pixels, got {width}x{height}")
    if spec.resize == "center_crop":
        network = spec.size
        resized, pad = center_crop(source, spec)
    elif spec.resize == "stretch":
        resized, network, pad = spec.size, spec.size, (0, 0)
    else:
        return _letterbox(source, spec, rect=rect)
    scale = (float(np.float32(resized[1] / width)), float(np.float32(resized[0] / height)))
    return Geometry(scale, pad, resized, network, (height, width))


def _letterbox(source: tuple[int, int], spec: InputSpec, *, rect: bool) -> Geometry:
    height, width = source
    ratio = min(spec.size[1] / width, spec.size[0] / height)
    rounded = round if spec.rounding == "round" else int
    resized = (max(1, rounded(height * ratio)), max(1, rounded(width * ratio)))
    network = _rect(resized, spec.stride) if rect else spec.size
    centred = ((network[1] - resized[1]) // 2, (network[0] - resized[0]) // 2)
    scale = float(np.float32(ratio))
    return Geometry(
        (scale, scale), centred if spec.resize == "letterbox" else (0, 0), resized, network, (height, width)
    )


def _rect(resized: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-resized[0] // stride) * stride, -(-resized[1] // stride) * stride


def tensor_shape(network: tuple[int, int], spec: InputSpec) -> tuple[int, int, int]:
    """Shape of one image's tensor, (3, h, w) or (h, w, 3) as the layout says, of a network input of (h, w)."""
    return (3, *network) if spec.layout == "NCHW" else (*network, 3)


def preprocess(frame: Frame, geometry: Geometry, spec: InputSpec, out: Float32 | None = None) -> Float32:
    """Resizes, reorders, normalises and pads or crops one image in one native pass that releases the GIL.

    The resized pixels are those of OpenCV's uint8 INTER_LINEAR on x86-64, bit for bit and on every instruction set:
    whole grey levels, as networks were trained on; with `spec.antialias` those of Pillow's `Image.resize` (see
    antialias.py). `reference.reference_letterbox` writes the arithmetic out.
    value = (pixel * scale - mean) / std in float32; the border is `spec.pad`, normalised likewise.

    Args:
        frame: pixels (H, W, 3) uint8; rows may lie apart, other strides are copied first.
        geometry: of this image, from `geometry`.
        spec: the same that `geometry` was made with.
        out: where to write, float32, C-contiguous, of `tensor_shape`: one slot of a batch. Reusing it also saves the
            page faults of a fresh array, which cost about as much as the whole pass.

    Returns:
        (3, h, w) or (h, w, 3) float32: `out` if given.

    Raises:
        ValueError: the frame is not the geometry's source, or `out` does not fit.
    """
    pixels = frame.pixels
    if pixels.shape != (*geometry.source, 3) or pixels.dtype != np.uint8:
        expected = (*geometry.source, 3)
        raise ValueError(f"{frame.key}: expected uint8 pixels of {expected}, got {pixels.dtype} of {pixels.shape}")
    shape = tensor_shape(geometry.network, spec)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous float32 of {shape}, got {out.dtype} of {out.shape}")
    if pixels.strides[1:] != (3, 1):
        pixels = pixels.copy(order="C")  # ascontiguousarray keeps odd strides along axes of length 1
    height, width = geometry.resized
    place = (*geometry.pad, width, height)
    values = (spec.scale, *spec.mean, *spec.std, float(spec.pad))
    order = (spec.layout == "NHWC", spec.color == "BGR")
    if spec.antialias:
        _native.resample(pixels, out, place, values, *order, spec.interpolation == "bicubic")
    else:
        _native.letterbox(pixels, out, place, values, *order)
    return out
