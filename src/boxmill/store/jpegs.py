"""Pixels as JPEG, for the files of a run that show them."""

from __future__ import annotations

from typing import Final

from boxmill.types import UInt8

__all__ = ["MAX_SIDE", "jpeg"]

MAX_SIDE: Final = 65_500  # pixels; libjpeg's limit


def jpeg(pixels: UInt8, quality: int, *, sharp_colors: bool = False) -> bytes:
    """The file of (H, W, 3) RGB pixels.

    Args:
        pixels: at most MAX_SIDE a side.
        quality: 0 to 100.
        sharp_colors: colours in full resolution: otherwise thin lines and letters bleed into what is beside them.
    """
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if sharp_colors:
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)[1])
