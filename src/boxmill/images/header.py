"""What encoded bytes say of themselves: format, size and orientation, without decoding.

One file a format walks its structure: `jpeg.py`, `png.py` and so on. The same walk notices a file that ends
before its structure does, so that a half-transferred photo is refused instead of decoded to a half-grey one.
"""

from __future__ import annotations

from collections.abc import Callable

from boxmill.errors import ImageError
from boxmill.images.avif import read_avif
from boxmill.images.bmp import read_bmp
from boxmill.images.gif import read_gif
from boxmill.images.jpeg import read_jpeg
from boxmill.images.png import read_png
from boxmill.images.pnm import read_pnm
from boxmill.images.sniff import describe
from boxmill.images.structure import ImageHeader, corrupt
from boxmill.images.tiff import read_tiff
from boxmill.images.webp import read_webp

__all__ = ["ImageHeader", "read_header"]

_READERS: tuple[tuple[bytes, Callable[[bytes], ImageHeader]], ...] = (
    (b"\xff\xd8\xff", read_jpeg),
    (b"\x89PNG\r\n\x1a\n", read_png),
    (b"BM", read_bmp),
    (b"GIF87a", read_gif),
    (b"GIF89a", read_gif),
    *((order, read_tiff) for order in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *((kind + space, read_pnm) for kind in (b"P4", b"P5", b"P6") for space in (b" ", b"\t", b"\r", b"\n")),
)
_EXPECTED = "a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or binary PNM image"
_BRANDS_LOOKED_AT = 256  # bytes of an AVIF's first box


def read_header(data: bytes) -> ImageHeader:
    """Format, size, orientation and completeness of an image file; docs/formats.md lists the formats.

    Args:
        data: the whole file.

    Raises:
        ImageError: `empty` (no bytes), `unsupported` (another format; the message says which it looks like),
            `truncated` (the file ends inside its own header), `corrupt` (the structure contradicts itself, or a side
            is zero). A file that ends after its header is returned with `complete=False`.
    """
    if not data:
        raise ImageError("empty", f"the file has no bytes; expected {_EXPECTED}")
    header = _reader(data)(data)
    if header.width < 1 or header.height < 1:
        message = f"{header.format} header says {header.width}x{header.height} pixels; expected at least 1x1"
        raise ImageError("corrupt", message)
    return header


def _reader(data: bytes) -> Callable[[bytes], ImageHeader]:
    for signature, reader in _READERS:
        if data.startswith(signature):
            return reader
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return read_webp
    if data[4:8] == b"ftyp" and _is_avif(data):
        return read_avif
    if b"PNG" in data[:5]:
        raise corrupt("PNG signature is damaged, as by a transfer that changes line endings; transfer the file again")
    raise ImageError("unsupported", f"expected {_EXPECTED}; this looks like {describe(data)}: convert it first")


def _is_avif(data: bytes) -> bool:
    """Whether the brands, major or compatible, say so; a HEIC names others."""
    brands = data[8 : min(int.from_bytes(data[:4], "big"), _BRANDS_LOOKED_AT)]
    return any(brands[at : at + 4] in (b"avif", b"avis") for at in (0, *range(8, len(brands), 4)))
