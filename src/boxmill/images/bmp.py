"""BMP: file header, then one of the bitmap headers (Microsoft "Bitmap Storage"; OS/2 1.x and 2.x)."""

from __future__ import annotations

from boxmill.errors import ImageError
from boxmill.images.structure import ImageHeader, corrupt, take

__all__ = ["read_bmp"]

_FILE_HEADER = 14
_CORE_HEADER = 12  # OS/2 1.x: 16-bit sides
_SMALLEST, _READ = 16, 20  # OS/2 2.x may be cut short after the depth; what is read of longer ones
_MASKED = (3, 6)  # BI_BITFIELDS, BI_ALPHABITFIELDS
_RAW = (0, *_MASKED)  # with BI_RGB: rows of known length
_COMPRESSED = (1, 2)  # BI_RLE8, BI_RLE4; others hold a JPEG or PNG, or are printers' and fax machines'
_DEPTHS = (1, 4, 8, 16, 24, 32)
_MASKS_AT, _MASKS_SIZE = 54, 12  # of red, green and blue, behind the first 40 bytes of whatever bitmap header
_MASKS = {  # bits -> those that OpenCV heeds
    16: ((0x7C00, 0x03E0, 0x001F), (0xF800, 0x07E0, 0x001F)),
    32: ((0xFF0000, 0x00FF00, 0x0000FF),),
}


def read_bmp(data: bytes) -> ImageHeader:
    """Size from the bitmap header; a negative height means that rows run from the top.

    Complete means that uncompressed rows all lie inside the file.

    Raises:
        ImageError: `truncated` (ends inside its headers), `unsupported` (colours in unusual places), `corrupt`.
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
    _check_kind(data, bits, compression)
    pixels = _little(data[10:14])  # where the rows start
    row_bytes = (width * bits + 31) // 32 * 4
    stored = row_bytes * height if compression in _RAW else 1
    return ImageHeader("BMP", width, height, complete=len(data) >= pixels + stored)


def _little(field: bytes, *, signed: bool = False) -> int:
    return int.from_bytes(field, "little", signed=signed)


def _check_kind(data: bytes, bits: int, compression: int) -> None:
    problem = ""
    if bits not in _DEPTHS or compression not in (*_RAW, *_COMPRESSED):
        problem = f"{bits} bits a pixel and compression {compression}"
    elif compression in _MASKED and bits in _MASKS:
        fields = take(data, _MASKS_AT, _MASKS_SIZE, "the BMP colour masks")
        masks = tuple(_little(fields[at : at + 4]) for at in (0, 4, 8))
        if masks not in _MASKS[bits]:
            problem = f"{bits} bits a pixel and the colour masks {' '.join(f'{mask:#x}' for mask in masks)}"
    if problem:
        raise ImageError("unsupported", f"BMP with {problem}: convert it first")
