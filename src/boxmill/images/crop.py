"""Where an image lies when its shorter side is resized and the network's input is cut from its centre."""

from __future__ import annotations

from boxmill.errors import ModelError
from boxmill.types import InputSpec

__all__ = ["center_crop", "check_resize"]


def check_resize(spec: InputSpec) -> None:
    """Refuses what no image can be resized by.

    Raises:
        ModelError: the crop is larger than what it is cut from, or bicubic is asked for without antialiasing.
    """
    if spec.resize == "center_crop" and _shorter_side(spec) < max(spec.size):
        raise ModelError(
            f"expected input.crop_from of at least {max(spec.size)}, the longer side of input.size {list(spec.size)} "
            f"that is cut out of it, got {spec.crop_from}; raise crop_from or lower size"
        )
    if spec.interpolation == "bicubic" and not spec.antialias:
        raise ModelError(
            "expected input.antialias: true with input.interpolation: bicubic, got false: bicubic is Pillow's, whose "
            "filter widens as the image shrinks; set antialias: true, or interpolation: bilinear"
        )


def center_crop(source: tuple[int, int], spec: InputSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    """The resized size (height, width) and the pad (left, top), never above 0, of a source of (height, width).

    The shorter side becomes `spec.crop_from` pixels (without it, the longer side of `spec.size`) and the longer one
    int(crop_from * long / short), as torchvision's `Resize(crop_from)` has it; the cut starts at round((resized - size)
    / 2), halves to the even pixel, as in its `CenterCrop(size)`.
    """
    short = _shorter_side(spec)
    longer = int(short * max(source) / min(source))
    resized = (longer, short) if source[0] > source[1] else (short, longer)
    top, left = (round((side - kept) / 2) for side, kept in zip(resized, spec.size, strict=True))
    return resized, (-left, -top)


def _shorter_side(spec: InputSpec) -> int:
    return max(spec.size) if spec.crop_from is None else spec.crop_from
