"""GIF: the logical screen and its blocks (GIF87a; GIF89a, sections 17 to 27)."""

from __future__ import annotations

from boxmill.images.structure import ImageHeader, corrupt, take

__all__ = ["read_gif"]

_SCREEN = 13  # bytes of signature and logical screen descriptor
_HAS_TABLE, _TABLE_SIZE = 0x80, 0x07
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_MOST_BLOCKS = 1 << 22  # of 255 bytes, as encoders write, they make 1 GB; a file of more is built to waste time


def read_gif(data: bytes) -> ImageHeader:
    """Size of the logical screen, on which the first frame lies.

    Complete means that the blocks of all frames end in a trailer, as OpenCV demands too.

    Raises:
        ImageError: `truncated` (ends inside its first descriptor), `corrupt`.
    """
    screen = take(data, 6, _SCREEN - 6, "the GIF screen descriptor")
    width, height = int.from_bytes(screen[:2], "little"), int.from_bytes(screen[2:4], "little")
    position, images, inside = _SCREEN + _table(screen[4]), 0, False
    for _ in range(_MOST_BLOCKS):
        if position >= len(data):
            return ImageHeader("GIF", width, height, complete=False)
        byte = data[position]
        if inside:  # a sub-block and its length; one of length zero is the last
            inside = byte != 0
            position += 1 + byte
        elif byte == _TRAILER:
            if images == 0:
                raise corrupt("GIF ends before any image: it holds no pixels")
            return ImageHeader("GIF", width, height)
        elif byte in (_IMAGE, _EXTENSION):
            images += byte == _IMAGE
            position += _image_head(data, position) if byte == _IMAGE else 2
            inside = True
        else:
            raise corrupt(f"GIF has a block {byte:#04x} at {position}; expected an image, an extension or the end")
    raise corrupt(f"GIF has more than {_MOST_BLOCKS} blocks")


def _image_head(data: bytes, position: int) -> int:
    """Bytes of an image descriptor, its colour table and the LZW code size."""
    packed = data[position + 9 : position + 10]
    return 11 + (_table(packed[0]) if packed else 0)


def _table(packed: int) -> int:
    """Bytes of the colour table that a descriptor announces."""
    return 3 << ((packed & _TABLE_SIZE) + 1) if packed & _HAS_TABLE else 0
