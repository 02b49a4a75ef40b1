"""What the header readers share: the result, and reads that cannot run past the end unnoticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from boxmill.errors import ImageError

__all__ = ["Format", "ImageHeader", "corrupt", "take", "truncated"]

Format = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "AVIF", "PNM"]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an encoded image says of itself."""

    format: Format
    width: int  # as OpenCV gives the pixels, before the orientation is applied
    height: int
    orientation: int = 1  # EXIF 1-8: how to turn those pixels for display
    complete: bool = True  # False: the file ends before its structure does
    raw_bits: int | None = None  # take the samples as stored, of so many bits: OpenCV would blend or round them
    edit: tuple[int, bytes] | None = None  # place and bytes to put there, so that the decoder keeps to the policy


def take(data: bytes, start: int, size: int, what: str) -> bytes:
    """`data[start : start + size]`, all of it.

    Raises:
        ImageError: `truncated`, naming `what` is missing.
    """
    piece = data[start : start + size]
    if len(piece) < size:
        raise truncated(f"{what} needs {size} bytes at {start}, but the file has {len(data)}")
    return piece


def truncated(message: str) -> ImageError:
    """The error of a file that ends too early."""
    return ImageError("truncated", f"{message}; transfer the file again")


def corrupt(message: str) -> ImageError:
    """The error of a file that contradicts itself."""
    return ImageError("corrupt", message)
