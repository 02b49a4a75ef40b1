"""The orientation tag of an EXIF block, read without trusting it.

TIFF 6.0 section 2 (byte order, IFD layout) and EXIF 2.32 section 4.6.4 (tag 274, Orientation).
"""

from __future__ import annotations

from typing import Literal

__all__ = ["exif_orientation"]

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_MOST_ENTRIES = 1000  # real directories hold some dozens


def exif_orientation(block: bytes) -> int:
    """Orientation 1-8 from a TIFF-structured EXIF block; 1 where it is absent, damaged or out of range.

    Args:
        block: from the byte order mark ("II" or "MM") on; a leading "Exif\\0\\0", as JPEG has, is skipped.
    """
    block = block.removeprefix(b"Exif\0\0")
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"

    def number(start: int, size: int) -> int:
        return int.from_bytes(block[start : start + size], order)

    directory = number(4, 4)
    entries = min(number(directory, 2), _MOST_ENTRIES)
    for entry in range(directory + 2, min(directory + 2 + 12 * entries, len(block) - 11), 12):
        if number(entry, 2) == _ORIENTATION:
            kind = number(entry + 2, 2)
            value = number(entry + 8, 4 if kind == _LONG else 2)
            return value if kind in (_SHORT, _LONG) and 1 <= value <= 8 else 1
    return 1
