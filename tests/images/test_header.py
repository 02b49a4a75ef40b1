"""Format, size, orientation and completeness from the bytes alone."""

from __future__ import annotations

import struct

import cv2
import encoded
import numpy as np
import pytest
import rasters
from hypothesis import example, given
from hypothesis import strategies as st
from tiffs import tiff

from boxmill.errors import ImageError
from boxmill.images import read_header
from boxmill.images.exif import exif_orientation

SAMPLES = {name: encoded.encode(encoded.picture(), suffix) for name, suffix in encoded.FORMATS.items()}


GIF = rasters.gif((7, 5), [(0, 0, np.zeros((5, 7), int), None)], np.zeros((8, 3)))
TIFF = tiff(encoded.picture())
AVIF = b"\0\0\0\x18ftypavif" + bytes(12)  # its first box


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_header(data)
    return caught.value


@pytest.mark.parametrize("name", SAMPLES)
def test_size_of_each_format(name):
    header = read_header(SAMPLES[name])
    assert (header.format, header.width, header.height) == (name, 40, 24)
    assert header.orientation == 1
    assert header.complete


@pytest.mark.parametrize(
    ("suffix", "parameters"),
    [
        (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)),
        (".webp", (cv2.IMWRITE_WEBP_QUALITY, encoded.LOSSLESS_WEBP)),
        (".webp", (cv2.IMWRITE_WEBP_QUALITY, 50)),
    ],
)
def test_size_of_variants(suffix, parameters):
    header = read_header(encoded.encode(encoded.picture(17, 31), suffix, *parameters))
    assert (header.width, header.height, header.complete) == (31, 17, True)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(suffix, order, orientation):
    data = encoded.with_exif(encoded.picture(), suffix, encoded.exif_block(orientation, order))
    header = read_header(data)
    assert (header.orientation, header.width, header.height, header.complete) == (orientation, 40, 24, True)


def test_orientation_in_a_png_chunk_behind_the_pixels():
    data = encoded.png_with_exif(SAMPLES["PNG"], encoded.exif_block(6), last=True)
    assert read_header(data).orientation == 6


def test_orientation_from_the_first_segment_that_has_one():
    data = encoded.jpeg_with_exif(SAMPLES["JPEG"], encoded.exif_block(8))
    data = encoded.jpeg_with_exif(data, b"not a TIFF")
    assert read_header(data).orientation == 8


def test_webp_exif_may_carry_the_jpeg_prefix():
    data = encoded.with_exif(encoded.picture(), ".webp", b"Exif\0\0" + encoded.exif_block(3))
    assert read_header(data).orientation == 3


@pytest.mark.parametrize("kind", [3, 4])
def test_exif_orientation_as_short_or_long(kind):
    assert exif_orientation(encoded.exif_block(5, ">", kind)) == 5


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        b"XX*\0" + bytes(40),
        encoded.exif_block(0),
        encoded.exif_block(9),
        encoded.exif_block(0x0600),  # a SHORT of 6 in the wrong byte order
        encoded.exif_block(6, kind=4).replace(struct.pack("<HH", 0x0112, 4), struct.pack("<HH", 0x0112, 7)),
        encoded.exif_block(6)[:4] + struct.pack("<I", 0xFFFFFFFF) + encoded.exif_block(6)[8:],  # a directory outside
        encoded.exif_block(6)[:30],  # cut inside the entry
    ],
)
def test_damaged_exif_means_upright(block):
    assert exif_orientation(block) == 1


def test_exif_survives_a_wrong_entry_count():
    block = encoded.exif_block(6)
    assert exif_orientation(block[:8] + b"\xff\xff" + block[10:]) == 6


@pytest.mark.parametrize("header", [12, 40, 108, 124])
def test_bmp_headers(header):
    read = read_header(encoded.bmp(encoded.picture(9, 11), header))
    assert (read.format, read.width, read.height, read.complete) == ("BMP", 11, 9, True)


def test_bmp_with_rows_from_the_top():
    assert read_header(encoded.bmp(encoded.picture(9, 11), 40, top_down=True)).height == 9


def test_jpeg_ignores_an_end_marker_inside_a_segment():
    thumbnail = encoded.jpeg_with_exif(SAMPLES["JPEG"], encoded.exif_block(1) + SAMPLES["JPEG"])
    assert read_header(thumbnail).complete
    assert not read_header(thumbnail[:-2]).complete


def test_jpeg_accepts_fill_bytes_and_what_follows_the_image():
    jpeg = SAMPLES["JPEG"]
    assert read_header(jpeg[:2] + b"\xff\xff\xff" + jpeg[2:] + b"a phone's video" * 99).complete


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cut_file_is_incomplete_or_truncated(name):
    data = encoded.encode(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8), encoded.FORMATS[name])
    for share in (0.3, 0.6, 0.9, 0.999):
        assert not read_header(data[: int(len(data) * share)]).complete
    assert refusal(data[:16]).code in ("truncated", "corrupt")
    assert refusal(data[:12] if name == "WebP" else data[:10]).code == "truncated"


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "empty", "no bytes"),
        (b"GIF88a" + bytes(20), "unsupported", "GIF"),
        (b"\0\0\0\x18ftypheic" + bytes(9), "unsupported", "HEIC"),
        (b"\0\0\0\x18ftypisom" + bytes(9), "unsupported", "video"),
        (b"%PDF-1.7", "unsupported", "PDF"),
        (b"\n<!DOCTYPE html><p>", "unsupported", "HTML"),
        (b"<?xml version='1.0'?><svg/>", "unsupported", "SVG"),
        (b"<?xml version='1.0'?><a/>", "unsupported", "XML"),
        ("没有图像".encode(), "unsupported", "text"),
        (b"P3 1 1 255 1 2 3", "unsupported", "PNM"),
        (GIF[:-1] + b"\x07", "corrupt", "block 0x07"),
        (GIF[:13] + bytes(24) + b";", "corrupt", "before any image"),
        (GIF[:37] + b"\x21\xfe" + b"\1\0" * (1 << 22), "corrupt", "blocks"),
        (GIF[:10], "truncated", "screen"),
        (b"II*\0\x08\0\0\0\0\0", "corrupt", "0 entries"),
        (b"II*\0\xff\0\0\0", "truncated", "directory"),
        (TIFF.replace(b"\x06\x01\3\0", b"\x07\x01\3\0"), "corrupt", "[262]"),
        (TIFF.replace(b"\x11\x01\4\0", b"\x12\x01\4\0"), "corrupt", "strips"),
        (AVIF[:4] + b"ftypavif" + bytes(12) + box(b"meta", bytes(4)), "corrupt", "how large"),
        (AVIF[:4] + b"ftypavif" + bytes(12) + box(b"meta", bytes(5 << 20)), "corrupt", "expected at most"),
        (AVIF[:4] + b"ftypavif" + bytes(12) + b"\0\0\0\7meta", "corrupt", "7 bytes"),
        (AVIF[:24], "unsupported", "sequence"),
        (b"P5 3", "truncated", "PNM header"),
        (b"P5 " + b"9" * 20 + b" 1 255\n", "truncated", "PNM header"),
        (bytes(100), "unsupported", "zero bytes"),
        (b"\x07\x01\x02", "unsupported", "07 01 02"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "unsupported", "RIFF"),
        (SAMPLES["PNG"].replace(b"\r\n", b"\n", 1), "corrupt", "line endings"),
        (SAMPLES["PNG"][:8] + b"\0\0\0\4CgBI" + bytes(30), "unsupported", "CgBI"),
        (SAMPLES["PNG"][:16] + bytes(4) + SAMPLES["PNG"][20:], "corrupt", "0x24"),
        (SAMPLES["PNG"][:8] + b"\0\0\0\rIDAT" + bytes(30), "corrupt", "IHDR"),
        (b"RIFF\x20\0\0\0WEBPJUNK" + bytes(30), "corrupt", "JUNK"),
        (b"RIFF\x20\0\0\0WEBPVP8 " + bytes(30), "corrupt", "start code"),
        (b"RIFF\x20\0\0\0WEBPVP8L" + bytes(30), "corrupt", "signature"),
        (b"BM" + bytes(30), "corrupt", "header size"),
        (b"\xff\xd8\xff\xd9", "corrupt", "no pixels"),
        (b"\xff\xd8\xff\xda\0\2", "corrupt", "no frame header"),
        (b"\xff\xd8\xff\xc3\0\x0b\x08\0\1\0\1\1" + bytes(9), "unsupported", "SOF3"),
        (b"\xff\xd8\xff\xe0\xff\xff" + bytes(9), "truncated", "first scan"),
        (b"\xff\xd8" + b"\xff\xe0\0\2" * 10_001, "corrupt", "segments"),
    ],
)
def test_refusals_say_what_came(data, code, words):
    error = refusal(data)
    assert error.code == code
    assert words in str(error)


def mangled(data: bytes, edits: list[tuple[int, int]], length: int) -> bytes:
    changed = bytearray(data)
    for at, value in edits:
        changed[at % len(changed)] = value
    return bytes(changed[: max(1, length % (len(changed) + 1))])


@given(st.binary(max_size=200))
@example(b"\xff\xd8\xff")
@example(b"BM")
@example(b"RIFF\0\0\0\0WEBP")
def test_any_bytes_give_a_header_or_an_image_error(data):
    try:
        header = read_header(data)
    except ImageError:
        return
    assert header.width >= 1
    assert header.height >= 1


@given(
    st.sampled_from([*SAMPLES.values(), encoded.with_exif(encoded.picture(), ".jpg", encoded.exif_block(6))]),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
    st.integers(0, 5000),
)
def test_mangled_files_give_a_header_or_an_image_error(data, edits, length):
    try:
        header = read_header(mangled(data, edits, length))
    except ImageError:
        return
    assert header.orientation in range(1, 9)
