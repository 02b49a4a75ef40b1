"""Small encoded images made on the spot, with hand-written EXIF blocks."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "BMP": ".bmp"}
LOSSLESS_WEBP = 101  # quality above 100


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    """(height, width, 3) RGB without any symmetry, smooth enough for JPEG: each quadrant has a colour of its own."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (230, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 230, 30)
    pixels[height // 2 :, : width // 2] = (30, 30, 230)
    pixels[height // 2 :, width // 2 :] = (200, 200, 40)
    return pixels


def encode(rgb: np.ndarray, suffix: str, *parameters: int) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), list(parameters))
    assert done
    return data.tobytes()


def exif_block(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """A TIFF structure of one directory with one other tag and the orientation, as SHORT (3) or LONG (4)."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
    other = struct.pack(order + "HHII", 0x0100, 4, 1, 77)
    return (
        mark + struct.pack(order + "IH", 8, 2) + other + struct.pack(order + "HHI", 0x0112, kind, 1) + value + bytes(4)
    )


def jpeg_with_exif(jpeg: bytes, block: bytes) -> bytes:
    segment = b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with_exif(png: bytes, block: bytes, *, last: bool = False) -> bytes:
    """With an eXIf chunk behind IHDR, or before IEND."""
    at = len(png) - 12 if last else 33
    return png[:at] + png_chunk(b"eXIf", block) + png[at:]


def webp_with_exif(webp: bytes, block: bytes, size: tuple[int, int]) -> bytes:
    """The simple file `webp` of `size` (width, height) as an extended one with an EXIF chunk."""
    canvas = (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<IB3x", 10, 0x08) + canvas + webp[12:]
    chunks += b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def with_exif(rgb: np.ndarray, suffix: str, block: bytes) -> bytes:
    if suffix == ".jpg":
        return jpeg_with_exif(encode(rgb, suffix, cv2.IMWRITE_JPEG_QUALITY, 95), block)
    if suffix == ".png":
        return png_with_exif(encode(rgb, suffix), block)
    assert suffix == ".webp"
    webp = encode(rgb, suffix, cv2.IMWRITE_WEBP_QUALITY, LOSSLESS_WEBP)
    return webp_with_exif(webp, block, (rgb.shape[1], rgb.shape[0]))


def bmp(rows: np.ndarray, header: int, *, top_down: bool = False) -> bytes:
    """A 24-bit BMP of RGB `rows` with a bitmap header of 12, 40, 108 or 124 bytes."""
    height, width = rows.shape[:2]
    padded = np.zeros((height, (width * 3 + 3) // 4 * 4), np.uint8)
    padded[:, : width * 3] = rows[..., ::-1].reshape(height, -1)
    body = (padded if top_down else padded[::-1]).tobytes()
    if header == 12:
        fields = struct.pack("<IHHHH", 12, width, height, 1, 24)
    else:
        fields = struct.pack(
            "<IiiHHIIiiII", header, width, -height if top_down else height, 1, 24, 0, len(body), 0, 0, 0, 0
        )
        fields += bytes(header - 40)
    return b"BM" + struct.pack("<IHHI", 14 + header + len(body), 0, 0, 14 + header) + fields + body
