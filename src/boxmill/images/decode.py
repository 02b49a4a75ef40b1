"""Encoded bytes to pixels: one policy for every format.

8-bit RGB, upright. Grey becomes three equal channels; alpha is dropped, not blended; 16-bit samples keep their upper
byte; CMYK is converted as OpenCV does; colour profiles are ignored; of an animation, the first frame. The EXIF
orientation is applied here, for every format that can carry one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boxmill.errors import ImageError
from boxmill.images.header import ImageHeader, read_header
from boxmill.images.structure import truncated
from boxmill.types import Frame, UInt8

__all__ = ["DecodeLimits", "configure_opencv", "decode"]

_MOST_SIDE = 1 << 20  # OpenCV's own limit on width and height (OPENCV_IO_MAX_IMAGE_WIDTH)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one image may cost; checked from its header, before memory is taken for pixels."""

    max_pixels: int = 100_000_000
    max_bytes: int = 512 * 1024 * 1024  # of the file: 100 megapixels of uncompressed RGBA are 400 MB


def decode(data: bytes, key: str, limits: DecodeLimits | None = None) -> Frame:
    """Decodes one JPEG, PNG, WebP or BMP file. Releases the GIL while it decodes; safe from several threads.

    Args:
        data: the whole file.
        key: what the frame is called.
        limits: defaults to `DecodeLimits()`.

    Returns:
        Frame with pixels (H, W, 3) uint8 RGB, C-contiguous, turned upright.

    Raises:
        ImageError: `empty`, `unsupported`, `too_large`, `truncated` (the file ends before the image does), `corrupt`.
        MemoryError: there is no memory for the pixels; that says nothing about the image.
    """
    limits = limits or DecodeLimits()
    if len(data) > limits.max_bytes:
        message = f"file has {len(data)} bytes; the limit is {limits.max_bytes}: raise it or shrink the image"
        raise ImageError("too_large", message)
    header = read_header(data)
    _check_size(header, limits)
    if not header.complete:
        raise truncated(f"the {header.format} file ends before its {header.width}x{header.height} pixels do")
    return Frame(key, _upright(_pixels(data, header), header.orientation))


def configure_opencv() -> None:
    """Sets OpenCV up for a process that decodes in threads of its own: no inner threads, no messages on stderr.

    Process-wide, so for the owner of the process to call once; nothing here calls it. libpng's warnings remain: OpenCV
    has no switch for them.
    """
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _check_size(header: ImageHeader, limits: DecodeLimits) -> None:
    width, height = header.width, header.height
    if width * height > limits.max_pixels:
        message = f"{width}x{height} is {width * height} pixels; the limit is {limits.max_pixels}"
        raise ImageError("too_large", f"{message}: raise it or shrink the image")
    if max(width, height) > _MOST_SIDE:
        raise ImageError(
            "too_large", f"{width}x{height}: a side is over OpenCV's limit of {_MOST_SIDE}; shrink the image"
        )


def _pixels(data: bytes, header: ImageHeader) -> UInt8:
    import cv2

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"no memory for {header.width}x{header.height} pixels") from error
        raise ImageError("corrupt", f"the {header.format} decoder refused the data: {error.err}") from error
    if pixels is None:
        raise ImageError("corrupt", f"the {header.format} decoder refused the data; the file is damaged")
    if pixels.shape != (header.height, header.width, 3):
        shape = "x".join(map(str, pixels.shape[1::-1]))
        message = f"{header.format} header says {header.width}x{header.height} pixels, but it decodes to {shape}"
        raise ImageError("corrupt", message)
    return np.asarray(pixels, np.uint8)


def _upright(pixels: UInt8, orientation: int) -> UInt8:
    """Turns (H, W, 3) stored pixels for display; EXIF 2.32, 4.6.4, tag 274. The result is C-contiguous."""
    import cv2

    # Orientations from 5 on store rows as columns: transpose, then flip what remains. cv2.flip takes 0 for upside down,
    # 1 for left to right and -1 for both.
    turned = np.asarray(cv2.transpose(pixels), np.uint8) if orientation >= 5 else pixels
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return turned if flip is None else np.asarray(cv2.flip(turned, flip), np.uint8)
