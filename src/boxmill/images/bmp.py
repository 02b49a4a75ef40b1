"""BMP: file header, then one of the bitmap headers (Microsoft "Bitmap Storage"; OS/2 1.x and 2.x)."""

from __future__ import annotations

from boxmill.images.structure import ImageHeader, corrupt, take

__all__ = ["read_bmp"]

_FILE_HEADER = 14
_CORE_HEADER = 12  # OS/2 1.x: 16-bit sides
_SMALLEST, _READ = 16, 20  # OS/2 2.x may be cut short after the depth; what is read of longer ones
_RAW = (0, 3, 6)  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS: rows of known length; the others are compressed


def read_bmp(data: bytes) -> ImageHeader:
    """Size from the bitmap header; a negative height means that rows run from the top.

    Complete means that uncompressed rows all lie inside the file.

    Raises:
        ImageError: `truncated` (ends inside its headers), `corrupt`.
    """
    size = _little(take(data, _FILE_HEADER, 4, "the BMP header size"))
    if size != _CORE_HEADER and size < _SMALLEST:
        raise corrupt(f"BMP header size must be {_CORE_HEADER}, or {_SMALLEST} or more; this is {size}")
    fields = take(data, _FILE_HEADER, min(size, _READ), "the BMP header")
    compression = 0
    if size == _CORE_HEADER:
        width, height = _little(fields[4:6]), _little(fields[6:8])
        bits = _little(fields[10:12])
    else:
        width, height = _little(fields[4:8], signed=True), abs(_little(fields[8:12], signed=True))
        bits, compression = _little(fields[14:16]), _little(fields[16:20])
    pixels = _little(data[10:14])  # where the rows start
    row_bytes = (width * bits + 31) // 32 * 4
    stored = row_bytes * height if compression in _RAW else 1
    return ImageHeader("BMP", width, height, complete=len(data) >= pixels + stored)


def _little(field: bytes, *, signed: bool = False) -> int:
    return int.from_bytes(field, "little", signed=signed)
