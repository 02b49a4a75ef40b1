"""PNM in its binary forms: PBM, PGM and PPM (Netpbm's pbm(5), pgm(5), ppm(5); P4, P5, P6)."""

from __future__ import annotations

import re

from boxmill.errors import ImageError
from boxmill.images.structure import ImageHeader, truncated

__all__ = ["read_pnm"]

# Numbers stand between whitespace, and comments run to the end of their line; one whitespace byte ends the header.
_GAP = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_SIDES = re.compile(rb"P[456]" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})")
_END, _MAXVAL = re.compile(rb"[ \t\r\n\v\f]"), re.compile(_GAP + rb"(\d{1,10})[ \t\r\n\v\f]")
_LOOKED_AT = 4096  # bytes of header; real ones have some dozens
_MAXVALS = {255: 1, 65535: 2}  # -> bytes of a sample


def read_pnm(data: bytes) -> ImageHeader:
    """Size and completeness, which is exact: the rows have a known length.

    Raises:
        ImageError: `truncated` (no whole header), `unsupported` (a maxval that OpenCV does not scale to 255).
    """
    start = data[:_LOOKED_AT]
    sides = _SIDES.match(start)
    end = None if sides is None else (_END if data[1:2] == b"4" else _MAXVAL).match(start, sides.end())
    if sides is None or end is None:
        raise truncated("PNM header needs width, height and (P5, P6) the largest value")
    width, height = int(sides[1]), int(sides[2])
    row = (width + 7) // 8
    if data[1:2] != b"4":
        maxval = int(end[1])
        if maxval not in _MAXVALS:
            message = f"PNM with a largest value of {maxval}; expected 255 or 65535: convert it first"
            raise ImageError("unsupported", message)
        row = width * (3 if data[1:2] == b"6" else 1) * _MAXVALS[maxval]
    return ImageHeader("PNM", width, height, complete=len(data) >= end.end() + row * height)
