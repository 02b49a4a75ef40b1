"""PNG, BMP and GIF files written by hand, for what no encoder at hand writes."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from encoded import png_chunk

PNG_START = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(samples: np.ndarray, color: int, bits: int, extra: bytes = b"", *, interlaced: bool = False) -> bytes:
    """`samples` (H, W) or (H, W, C) of so many bits; `extra` are chunks before the pixels (PLTE, tRNS)."""
    height, width = samples.shape[:2]
    image = samples.reshape(height, width, _CHANNELS[color])
    passes = [image[y::down, x::right] for y, x, down, right in _ADAM7] if interlaced else [image]
    body = zlib.compress(b"".join(_png_rows(part, bits) for part in passes if part.size))
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, int(interlaced))
    return PNG_START + png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def _png_rows(image: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    return b"".join(b"\0" + packed(row[None], bits) for row in image)


def packed(rows: np.ndarray, bits: int) -> bytes:
    """(H, W, ...) samples of 1 to 8 bits, each row filled up to whole bytes."""
    lanes = np.unpackbits(rows.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
    return np.packbits(lanes.reshape(len(rows), -1), axis=1).tobytes()


def apng(first: np.ndarray, second: np.ndarray, *, hidden: bool) -> bytes:
    """Two RGB pictures; `hidden`: the first is not part of the animation."""
    still = png(first, 2, 8)
    height, width = first.shape[:2]
    control = struct.pack(">IIIIHHBB", width, height, 0, 0, 1, 10, 0, 0)
    start = png_chunk(b"acTL", struct.pack(">II", 1 if hidden else 2, 0))
    start += b"" if hidden else png_chunk(b"fcTL", struct.pack(">I", 0) + control)
    number = 0 if hidden else 1
    frame = png_chunk(b"fcTL", struct.pack(">I", number) + control)
    frame += png_chunk(b"fdAT", struct.pack(">I", number + 1) + zlib.compress(_png_rows(second, 8)))
    return still[:33] + start + still[33:-12] + frame + still[-12:]


def bitmap(size: tuple[int, int], bits: int, body: bytes, palette: bytes = b"", compression: int = 0) -> bytes:
    """A BMP of (height, width) with a 40-byte header; `palette` also takes the masks of compression 3."""
    head = struct.pack("<IiiHHIIiiII", 40, size[1], size[0], 1, bits, compression, len(body), 0, 0, 0, 0)
    start = 14 + 40 + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


def bitmap_rows(rows: np.ndarray) -> bytes:
    """(H, bytes) from the top as a BMP stores them: from the bottom, filled up to 4 bytes."""
    return np.pad(rows[::-1], ((0, 0), (0, -rows.shape[1] % 4))).astype(np.uint8).tobytes()


def run_length(indices: np.ndarray, bits: int) -> bytes:
    """(H, W) palette indices as runs of one pixel: BI_RLE8 or BI_RLE4."""
    rows = [b"".join(bytes([1, value << (8 - bits)]) for value in row) for row in indices[::-1].tolist()]
    return b"\0\0".join(rows) + b"\0\1"


def gif(screen: tuple[int, int], frames: list[tuple], palette: np.ndarray, background: int = 0) -> bytes:
    """Frames (left, top, indices (h, w) below 8, transparent index or None) on a screen of (width, height)."""
    data = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF2, background, 0) + palette.astype(np.uint8).tobytes()
    for left, top, indices, transparent in frames:
        if transparent is not None:
            data += b"\x21\xf9\4\1\0\0" + bytes([transparent, 0])
        height, width = indices.shape
        data += b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\3" + _sub_blocks(_lzw(indices))
    return data + b";"


def _lzw(indices: np.ndarray) -> bytes:
    """Codes of four bits, the table cleared before it would need five."""
    codes: list[int] = []
    for count, value in enumerate(indices.ravel().tolist()):
        codes += [8, value] if count % 6 == 0 else [value]
    codes.append(9)
    codes += [0] * (len(codes) % 2)
    return bytes(low | high << 4 for low, high in zip(codes[::2], codes[1::2], strict=True))


def _sub_blocks(data: bytes) -> bytes:
    pieces = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"
