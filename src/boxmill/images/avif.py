"""AVIF: the boxes that describe the primary item (ISO/IEC 14496-12 and 23008-12; AV1 Image File Format 1.1)."""

from __future__ import annotations

from collections.abc import Iterator

from boxmill.errors import ImageError
from boxmill.images.structure import ImageHeader, corrupt, truncated

__all__ = ["read_avif"]

_MOST_BOXES = 10_000  # at one level
_MOST_META = 1 << 22  # bytes; real descriptions have some hundreds, those of grids some thousands
_FULL_BOX = 4  # bytes of version and flags
# anticlockwise quarter turns (irot), then the mirror's axis (imir; None: no mirror; 0: top and bottom change places;
# 1: left and right do) -> the EXIF orientation that does the same
_ORIENTATIONS = {
    (0, None): 1,
    (0, 1): 2,
    (0, 0): 4,
    (1, None): 8,
    (1, 1): 7,
    (1, 0): 5,
    (2, None): 3,
    (2, 1): 4,
    (2, 0): 2,
    (3, None): 6,
    (3, 1): 5,
    (3, 0): 7,
}


def read_avif(data: bytes) -> ImageHeader:
    """Size, turn and mirror of the primary item; its EXIF block does not count, as the standard wants.

    Complete means that every box ends inside the file.

    Raises:
        ImageError: `truncated` (ends before its description does), `unsupported` (an image sequence without a still
            picture), `corrupt`.
    """
    top = list(_boxes(data, 0, len(data)))
    complete = all(end <= len(data) for _, _, end in top)
    meta = next(((start, end) for kind, start, end in top if kind == b"meta"), None)
    if meta is None:
        if not complete:
            raise truncated("AVIF ends before its description")
        raise ImageError("unsupported", "AVIF without a still picture (an image sequence): convert it first")
    if meta[1] > len(data):
        raise truncated("AVIF ends inside its description")
    if meta[1] - meta[0] > _MOST_META:
        raise corrupt(f"AVIF describes itself in {meta[1] - meta[0]} bytes; expected at most {_MOST_META}")
    item, container = 0, (0, 0)
    for kind, start, end in _boxes(data, meta[0] + _FULL_BOX, meta[1]):
        if kind == b"pitm":
            item = _number(data, start + _FULL_BOX, 2 if _number(data, start, 1) == 0 else 4)
        elif kind == b"iprp":
            container = (start, end)
    return _primary(data, item, container, complete=complete)


def _primary(data: bytes, item: int, container: tuple[int, int], *, complete: bool) -> ImageHeader:
    properties: list[tuple[bytes, int, int]] = []
    indices: list[int] = []
    for kind, start, end in _boxes(data, *container):
        if kind == b"ipco":
            properties = list(_boxes(data, start, end))
        elif kind == b"ipma":
            indices += _associated(data, start, end, item)
    of_item = {
        properties[index - 1][0]: properties[index - 1][1:] for index in indices if 1 <= index <= len(properties)
    }
    if b"ispe" not in of_item:
        raise corrupt("AVIF does not say how large its primary image is")
    start = of_item[b"ispe"][0] + _FULL_BOX
    width, height = _number(data, start, 4), _number(data, start + 4, 4)
    turns = _number(data, of_item[b"irot"][0], 1) & 3 if b"irot" in of_item else 0
    axis = _number(data, of_item[b"imir"][0], 1) & 1 if b"imir" in of_item else None
    # Colour and alpha have the same depth; the tiles of a grid say it, not the primary item.
    depths = [_depth(_number(data, start + 2, 1)) for kind, start, _ in properties if kind == b"av1C"]
    return ImageHeader("AVIF", width, height, _ORIENTATIONS[turns, axis], complete, raw_bits=max(depths, default=8))


def _depth(flags: int) -> int:
    """Bits of a sample from the third byte of an AV1 configuration: seq_tier, high_bitdepth, twelve_bit, …"""
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _associated(data: bytes, start: int, end: int, item: int) -> list[int]:
    """Indices, from 1, of the properties that an item property association box gives the item."""
    id_size = 2 if _number(data, start, 1) == 0 else 4
    index_size = 2 if _number(data, start + 3, 1) & 1 else 1
    position = start + _FULL_BOX + 4
    found: list[int] = []
    for _ in range(min(_number(data, start + _FULL_BOX, 4), _MOST_BOXES)):
        count = _number(data, position + id_size, 1)
        first = position + id_size + 1
        if _number(data, position, id_size) == item:
            places = range(first, min(first + count * index_size, end), index_size)
            found += [_number(data, place, index_size) & ((1 << (8 * index_size - 1)) - 1) for place in places]
        position = first + count * index_size
        if position >= end:
            break
    return found


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content, end of each box; the end may lie outside, and then it is the last one."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, kind, content = _number(data, start, 4), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, content = _number(data, start + 8, 8), start + 16
        elif size == 0:
            size = end - start
        if size < content - start:
            raise corrupt(f"AVIF box at {start} has {size} bytes; expected at least {content - start}")
        yield kind, content, start + size
        start += size


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "big")
