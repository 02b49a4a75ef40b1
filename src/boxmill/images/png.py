"""PNG: chunks from IHDR to IEND (W3C PNG specification, third edition, section 5; eXIf in 11.3.4.5)."""

from __future__ import annotations

from boxmill.errors import ImageError
from boxmill.images.exif import exif_orientation
from boxmill.images.structure import ImageHeader, corrupt, take

__all__ = ["read_png"]

_SIGNATURE_BYTES = 8
_CHUNK_OVERHEAD = 12  # length, type, CRC
_MOST_CHUNKS = 1 << 16  # of 8 kB, as encoders write at least, they make 512 MB; a file of more is built to waste time


def read_png(data: bytes) -> ImageHeader:
    """Size from IHDR, orientation from the eXIf chunk wherever it lies; complete when the chunks lead to IEND.

    Raises:
        ImageError: `truncated` (ends inside IHDR), `unsupported` (Apple's CgBI variant), `corrupt`.
    """
    first = take(data, _SIGNATURE_BYTES, 25, "the PNG header")
    if first[4:8] == b"CgBI":
        raise ImageError("unsupported", "PNG in Apple's CgBI variant, which only iOS reads: convert it first")
    if first[:8] != b"\0\0\0\rIHDR":
        raise corrupt(f"PNG must start with a 13-byte IHDR chunk; this starts with {first[4:8]!r}")
    width, height = int.from_bytes(first[8:12], "big"), int.from_bytes(first[12:16], "big")
    orientation, complete = _walk(data, _SIGNATURE_BYTES + 25)
    return ImageHeader("PNG", width, height, orientation, complete)


def _walk(data: bytes, position: int) -> tuple[int, bool]:
    orientation = 1
    for _ in range(_MOST_CHUNKS):
        head = data[position : position + 8]
        kind = head[4:]
        if len(head) < 8 or kind == b"IEND":
            return orientation, kind == b"IEND"
        length = int.from_bytes(head[:4], "big")
        if kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : position + 8 + length])
        position += _CHUNK_OVERHEAD + length
    raise corrupt(f"PNG has more than {_MOST_CHUNKS} chunks")
