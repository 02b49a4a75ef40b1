"""JPEG: marker segments up to the first scan (ITU-T T.81, annex B)."""

from __future__ import annotations

from boxmill.errors import ImageError
from boxmill.images.exif import exif_orientation
from boxmill.images.structure import ImageHeader, corrupt, take, truncated

__all__ = ["read_jpeg"]

_END_OF_IMAGE = b"\xff\xd9"
_SOS, _APP1 = 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn; the three others are DHT, JPG and DAC
_DECODABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended and progressive; Huffman and arithmetic
_BARE = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD9)})  # stuffing, TEM, fill, restarts, SOI: no length follows
_MOST_SEGMENTS = 10_000  # 64 kB each; a file of more is built to waste time


def read_jpeg(data: bytes) -> ImageHeader:
    """Size from the first frame header, orientation from the first EXIF segment that has one.

    Complete means that an end-of-image marker follows the first start of scan. Inside a scan the encoder stuffs every
    0xFF, so that those two bytes cannot be pixels; bytes after them (a phone's video, another image) do not matter.

    Raises:
        ImageError: `truncated` (ends before the first scan), `unsupported` (lossless, hierarchical, 12-bit), `corrupt`.
    """
    size: tuple[int, int] | None = None  # width, height
    orientation = 1
    position = 2
    for _ in range(_MOST_SEGMENTS):
        position = data.find(b"\xff", position)
        if position < 0:
            raise truncated("JPEG ends before its first scan")
        marker = take(data, position, 2, "the next JPEG marker")[1]
        if marker in _BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            raise corrupt("JPEG ends before any scan: it holds no pixels")
        length = int.from_bytes(take(data, position + 2, 2, "a JPEG segment length"), "big")
        if marker == _SOS:
            return _header(size, orientation, data.rfind(_END_OF_IMAGE, position) >= 0)
        if marker in _FRAMES and size is None:
            size = _frame_size(marker, take(data, position + 4, 5, "the JPEG frame header"))
        elif marker == _APP1 and orientation == 1:
            orientation = _segment_orientation(data[position + 4 : position + 2 + length])
        position += 2 + max(length, 2)
    raise corrupt(f"JPEG has more than {_MOST_SEGMENTS} segments before its first scan")


def _header(size: tuple[int, int] | None, orientation: int, complete: bool) -> ImageHeader:
    if size is None:
        raise corrupt("JPEG has a scan but no frame header: its size is unknown")
    return ImageHeader("JPEG", size[0], size[1], orientation, complete)


def _frame_size(marker: int, frame: bytes) -> tuple[int, int]:
    if marker not in _DECODABLE:
        message = f"JPEG of type SOF{marker - 0xC0} (lossless or hierarchical); expected baseline or progressive"
        raise ImageError("unsupported", f"{message}: convert it first")
    if frame[0] != 8:
        raise ImageError("unsupported", f"JPEG with samples of {frame[0]} bits; expected 8: convert it first")
    return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")


def _segment_orientation(segment: bytes) -> int:
    return exif_orientation(segment) if segment.startswith(b"Exif\0\0") else 1
