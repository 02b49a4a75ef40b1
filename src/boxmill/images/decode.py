"""Encoded bytes to pixels: one policy for every format.

8-bit RGB, upright. Grey becomes three equal channels; alpha is dropped, not blended; 16-bit samples keep their upper
byte; CMYK is converted as OpenCV does; colour profiles are ignored; of several pages or frames, the first. The
orientation is applied for every format that can carry one. docs/formats.md has it all, format by format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.errors import ImageError
from boxmill.images.header import ImageHeader, read_header
from boxmill.images.reduce import Wanted, reduction
from boxmill.images.structure import truncated
from boxmill.types import Frame, UInt8

__all__ = ["DecodeLimits", "configure_opencv", "decode"]

_MOST_SIDE = 1 << 20  # OpenCV's own limit on width and height (OPENCV_IO_MAX_IMAGE_WIDTH)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one image may cost; checked from its header, before memory is taken for pixels."""

    max_pixels: int = 100_000_000
    max_bytes: int = 512 * 1024 * 1024  # of the file: 100 megapixels of uncompressed RGBA are 400 MB


def decode(data: bytes, key: str, limits: DecodeLimits | None = None, fast: Wanted | None = None) -> Frame:
    """Decodes one image file. Releases the GIL while it decodes; safe from several threads.

    Args:
        data: the whole file.
        key: what the frame is called.
        limits: defaults to `DecodeLimits()`.
        fast: gives the size that will do for an upright image (`wanted_by` makes one from a network's input). A JPEG is
            then decoded at 1/2, 1/4 or 1/8 of its size as long as neither side falls below that, which is faster and
            changes the pixels. Other formats are decoded whole.

    Returns:
        Frame with pixels (H, W, 3) uint8 RGB, C-contiguous, turned upright; `Frame.source` is the image's own size.

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
    turned = header.orientation >= 5
    source = (header.width, header.height) if turned else (header.height, header.width)
    shrink = 1 if fast is None or header.format != "JPEG" else reduction(source, fast(source))
    pixels = _upright(_pixels(data, header, shrink), header.orientation)
    return Frame(key, pixels, None if shrink == 1 else source)


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


def _pixels(data: bytes, header: ImageHeader, shrink: int) -> UInt8:
    if header.edit is not None:
        place, put = header.edit
        data = data[:place] + put + data[place + len(put) :]
    pixels = _decoded(data, header, shrink)
    height, width = (-(-side // shrink) for side in (header.height, header.width))
    if pixels.shape[:2] != (height, width):
        shape = "x".join(map(str, pixels.shape[1::-1]))
        message = f"{header.format} header says {width}x{height} pixels, but it decodes to {shape}"
        raise ImageError("corrupt", message)
    if header.raw_bits is not None:
        return _from_raw(pixels, header.raw_bits)
    return np.asarray(pixels, np.uint8)


def _decoded(data: bytes, header: ImageHeader, shrink: int) -> Any:
    """What OpenCV makes of it: (H, W, 3) uint8 RGB, or for raw samples whatever the file holds, in BGR order."""
    import cv2

    # The flags named after grey hold the reduction alone; those named after colour ask for BGR, against COLOR_RGB.
    grey = cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_GRAYSCALE_8
    reduced = dict(zip((1, 2, 4, 8), (0, *grey), strict=True))
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | reduced[shrink]
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED if header.raw_bits else flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(f"no memory for {header.width}x{header.height} pixels") from error
        raise ImageError("corrupt", f"the {header.format} decoder refused the data: {error.err}") from error
    if pixels is None:
        raise ImageError("corrupt", f"the {header.format} decoder refused the data; the file is damaged")
    return pixels


def _from_raw(samples: npt.NDArray[np.uint8 | np.uint16], bits: int) -> UInt8:
    """(H, W), (H, W, 3) or (H, W, 4) samples, BGR with alpha last, to RGB: the upper 8 bits, without the alpha."""
    import cv2

    if samples.dtype == np.uint8:
        codes = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
        return np.asarray(
            cv2.cvtColor(samples, codes[samples.ndim if samples.ndim == 2 else samples.shape[2]]), np.uint8
        )
    rgb = np.empty((*samples.shape[:2], 3), np.uint8)
    for channel in range(3):  # plane by plane: a shifted copy of all samples would cost as much memory again
        plane = samples if samples.ndim == 2 else samples[..., 2 - channel]
        np.right_shift(plane, bits - 8, out=rgb[..., channel], casting="unsafe")
    return rgb


def _upright(pixels: UInt8, orientation: int) -> UInt8:
    """Turns (H, W, 3) stored pixels for display; EXIF 2.32, 4.6.4, tag 274. The result is C-contiguous."""
    import cv2

    # Orientations from 5 on store rows as columns: transpose, then flip what remains. cv2.flip takes 0 for upside down,
    # 1 for left to right and -1 for both.
    turned = np.asarray(cv2.transpose(pixels), np.uint8) if orientation >= 5 else pixels
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return turned if flip is None else np.asarray(cv2.flip(turned, flip), np.uint8)
