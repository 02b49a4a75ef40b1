"""Names for bytes that are no image we decode, so that the message can say what the file really is."""

from __future__ import annotations

__all__ = ["describe"]

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a damaged GIF"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\1\0", "an icon"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"qoif", "a QOI image"),
    (b"%PDF", "a PDF"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"RIFF", "a RIFF file (audio or video)"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)
_BRANDS: tuple[tuple[frozenset[bytes], str], ...] = (
    (frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}), "a HEIC"),
)
_LOOKED_AT = 256
_TEXT = frozenset({9, 10, 12, 13, *range(32, 127), *range(128, 256)})


def describe(data: bytes) -> str:
    """A few words on what these bytes look like, from their start."""
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return next((name for brands, name in _BRANDS if brand in brands), "an MP4 or QuickTime video")
    start = data[:_LOOKED_AT]
    if not start.strip(b"\0"):
        return "a file of zero bytes (lost data)"
    if start[:1] == b"P" and start[1:2] in b"1237" and start[2:3].isspace():
        return "a PNM in text or PAM form"
    if all(byte in _TEXT for byte in start):
        return _describe_text(start.lstrip(b"\xef\xbb\xbf \t\r\n").lower())
    return f"no format we know (it starts with {start[:8].hex(' ')})"


def _describe_text(start: bytes) -> str:
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<script")):
        return "an HTML page"
    if b"<svg" in start:
        return "an SVG"
    if start.startswith(b"<"):
        return "XML"
    return "text"
