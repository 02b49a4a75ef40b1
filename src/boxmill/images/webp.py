"""WebP: RIFF chunks (RFC 9649: 2.4 file header, 2.5 lossy, 2.6 lossless, 2.7 extended; bitstream of RFC 6386, 9.1)."""

from __future__ import annotations

from boxmill.images.exif import exif_orientation
from boxmill.images.structure import ImageHeader, corrupt, take

__all__ = ["read_webp"]

_FIRST_CHUNK = 12
_HAS_EXIF = 0x08
_MOST_CHUNKS = 100_000  # animations have a chunk a frame; a file of more is built to waste time


def read_webp(data: bytes) -> ImageHeader:
    """Size from the first chunk, orientation from the EXIF chunk of an extended file.

    Complete means that the file holds as many bytes as its RIFF header says.

    Raises:
        ImageError: `truncated` (ends inside the first chunk's header), `corrupt`.
    """
    kind = take(data, _FIRST_CHUNK, 4, "the first WebP chunk")
    body = _FIRST_CHUNK + 8
    orientation = 1
    if kind == b"VP8 ":
        frame = take(data, body, 10, "the WebP frame header")
        if frame[3:6] != b"\x9d\x01\x2a":
            raise corrupt("WebP frame lacks its start code 9d 01 2a")
        width, height = _little(frame[6:8]) & 0x3FFF, _little(frame[8:10]) & 0x3FFF
    elif kind == b"VP8L":
        frame = take(data, body, 5, "the WebP lossless header")
        if frame[0] != 0x2F:
            raise corrupt("lossless WebP lacks its signature 2f")
        bits = _little(frame[1:5])
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8X":
        frame = take(data, body, 10, "the extended WebP header")
        width, height = 1 + _little(frame[4:7]), 1 + _little(frame[7:10])
        orientation = _orientation(data) if frame[0] & _HAS_EXIF else 1
    else:
        raise corrupt(f"WebP must start with a VP8, VP8L or VP8X chunk; this starts with {kind!r}")
    complete = len(data) >= 8 + _little(data[4:8])
    return ImageHeader("WebP", width, height, orientation, complete)


def _little(field: bytes) -> int:
    return int.from_bytes(field, "little")


def _orientation(data: bytes) -> int:
    position = _FIRST_CHUNK
    for _ in range(_MOST_CHUNKS):
        head = data[position : position + 8]
        if len(head) < 8:
            return 1
        length = _little(head[4:])
        if head[:4] == b"EXIF":
            return exif_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return 1
