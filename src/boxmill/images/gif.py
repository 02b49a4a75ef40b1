"""GIF: the logical screen and its blocks (GIF87a; GIF89a, sections 17 to 27)."""

from __future__ import annotations

from boxmill.images.structure import ImageHeader, corrupt, take

__all__ = ["read_gif"]

_SCREEN = 13  # bytes of signature and logical screen descriptor
_HAS_TABLE, _TABLE_SIZE = 0x80, 0x07
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def read_gif(data: bytes) -> ImageHeader:
    """Size of the logical screen, on which the first frame lies.

    Complete means that the blocks of all frames end in a trailer, as OpenCV demands too.

    Raises:
        ImageError: `truncated` (ends inside its first descriptor), `corrupt`.
    """
    screen = take(data, 6, _SCREEN - 6, "the GIF screen descriptor")
    width, height = int.from_bytes(screen[:2], "little"), int.from_bytes(screen[2:4], "little")
    position, images = _SCREEN + _table(screen[4]), 0
    while position < len(data):
        block = data[position]
        if block == _TRAILER:
            if images == 0:
                raise corrupt("GIF ends before any image: it holds no pixels")
            return ImageHeader("GIF", width, height)
        if block == _IMAGE:
            images += 1
            packed = data[position + 9 : position + 10]
            position += 11 + (_table(packed[0]) if packed else 0)  # descriptor, colour table, LZW code size
        elif block == _EXTENSION:
            position += 2
        else:
            raise corrupt(f"GIF has a block {block:#04x} at {position}; expected an image, an extension or the end")
        position = _behind_sub_blocks(data, position)
    return ImageHeader("GIF", width, height, complete=False)


def _table(packed: int) -> int:
    """Bytes of the colour table that a descriptor announces."""
    return 3 << ((packed & _TABLE_SIZE) + 1) if packed & _HAS_TABLE else 0


def _behind_sub_blocks(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1
