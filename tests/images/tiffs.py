"""TIFF files written by hand: any sample layout, byte order, strips or tiles, classic or BigTIFF, uncompressed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

GREY, RGB, PALETTE, CMYK, YCBCR = 1, 2, 3, 5, 6
_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True)
class Layout:
    """How samples are stored."""

    photometric: int = RGB
    order: str = "<"
    big: bool = False  # BigTIFF
    planar: bool = False
    rows: int | None = None  # of a strip; None: one strip
    tile: tuple[int, int] | None = None  # height, width; instead of strips
    extra: int | None = None  # ExtraSamples
    packed: int = 0  # bits of a sample below 8; 0: those of the array
    orientation: int = 0  # 0: no tag
    palette: np.ndarray | None = None  # (entries, 3) uint16
    tags: tuple[tuple[int, int, tuple[int, ...]], ...] = ()  # further (tag, type, values); these win


def tiff(samples: np.ndarray, layout: Layout | None = None) -> bytes:
    """One page of `samples` (H, W) or (H, W, S)."""
    layout = layout or Layout()
    image = samples[..., None] if samples.ndim == 2 else samples
    pieces = _pieces(image, layout)
    mark = b"II" if layout.order == "<" else b"MM"
    head = struct.pack(layout.order + ("HHHQ" if layout.big else "HI"), *((43, 8, 0) if layout.big else (42,)), 0)
    offsets, position = [], len(head) + 2
    for piece in pieces:
        offsets.append(position)
        position += len(piece)
    tags = _tags(image, layout, offsets, [len(piece) for piece in pieces])
    start = position + position % 2
    head = head[: -8 if layout.big else -4] + struct.pack(layout.order + ("Q" if layout.big else "I"), start)
    body = mark + head + b"".join(pieces)
    return body + bytes(start - len(body)) + _directory(tags, layout, start)


def _pieces(image: np.ndarray, layout: Layout) -> list[bytes]:
    height, width = image.shape[:2]
    planes = [image[..., i : i + 1] for i in range(image.shape[2])] if layout.planar else [image]
    pieces = []
    for plane in planes:
        if layout.tile:
            high, wide = layout.tile
            padded = np.pad(plane, ((0, -height % high), (0, -width % wide), (0, 0)))
            blocks = [padded[y : y + high, x : x + wide] for y in range(0, height, high) for x in range(0, width, wide)]
        else:
            blocks = [plane[y : y + (layout.rows or height)] for y in range(0, height, layout.rows or height)]
        pieces += [_stored(block, layout) for block in blocks]
    return pieces


def _stored(block: np.ndarray, layout: Layout) -> bytes:
    if layout.packed:
        bits = np.unpackbits(block.astype(np.uint8)[..., None], axis=-1)[..., 8 - layout.packed :]
        return np.packbits(bits.reshape(len(block), -1), axis=1).tobytes()
    return block.astype(block.dtype.newbyteorder(layout.order)).tobytes()


def _tags(image: np.ndarray, layout: Layout, offsets: list[int], counts: list[int]) -> dict[int, tuple[int, tuple]]:
    height, width, samples = image.shape
    bits = layout.packed or image.dtype.itemsize * 8
    place = (324, 325) if layout.tile else (273, 279)
    tags: dict[int, tuple[int, tuple]] = {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, (bits,) * samples),
        259: (3, (1,)),
        262: (3, (layout.photometric,)),
        place[0]: (16 if layout.big else 4, tuple(offsets)),
        277: (3, (samples,)),
        place[1]: (4, tuple(counts)),
        284: (3, (2 if layout.planar else 1,)),
    }
    if layout.tile:
        tags |= {322: (4, (layout.tile[1],)), 323: (4, (layout.tile[0],))}
    else:
        tags[278] = (4, (layout.rows or height,))
    if layout.extra is not None:
        tags[338] = (3, (layout.extra,))
    if layout.orientation:
        tags[274] = (3, (layout.orientation,))
    if layout.palette is not None:
        tags[320] = (3, tuple(layout.palette.T.ravel().tolist()))
    if image.dtype.kind in "fi":
        tags[339] = (3, ({"f": 3, "i": 2}[image.dtype.kind],) * samples)
    return tags | {tag: (kind, values) for tag, kind, values in layout.tags}


def _directory(tags: dict[int, tuple[int, tuple]], layout: Layout, start: int) -> bytes:
    count, value = ("Q", 8) if layout.big else ("H", 4)
    entries, beyond = b"", b""
    size = struct.calcsize("<" + count) + len(tags) * (20 if layout.big else 12) + value
    for tag, (kind, values) in sorted(tags.items()):
        data = struct.pack(f"{layout.order}{len(values)}{_LETTERS[kind]}", *values)
        if len(data) > value:
            at = start + size + len(beyond)
            beyond += data + bytes(len(data) % 2)
            data = struct.pack(layout.order + ("Q" if layout.big else "I"), at)
        entries += struct.pack(layout.order + ("HHQ" if layout.big else "HHI"), tag, kind, len(values))
        entries += data.ljust(value, b"\0")
    return struct.pack(layout.order + count, len(tags)) + entries + bytes(value) + beyond
