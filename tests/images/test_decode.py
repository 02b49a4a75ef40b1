"""One decode policy: 8-bit RGB, upright, whole, within limits."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import encoded
import numpy as np
import pytest

from boxmill.errors import ImageError
from boxmill.images import DecodeLimits, configure_opencv, decode

# What a viewer does with stored pixels, by orientation, in plain numpy (EXIF 2.32, 4.6.4).
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}

BLUR = 8  # mean grey levels that JPEG blurs at the edges of the quadrants; a wrong turn gives about 100


def refusal(data: bytes, limits: DecodeLimits | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data, "x", limits)
    return caught.value


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp"])
def test_lossless_formats_give_the_pixels_back_as_rgb(suffix):
    pixels = np.random.default_rng(1).integers(0, 256, (13, 17, 3), np.uint8)
    quality = (cv2.IMWRITE_WEBP_QUALITY, encoded.LOSSLESS_WEBP) if suffix == ".webp" else ()
    frame = decode(encoded.encode(pixels, suffix, *quality), "a/b")
    assert frame.key == "a/b"
    assert frame.pixels.dtype == np.uint8
    np.testing.assert_array_equal(frame.pixels, pixels)


def test_jpeg_is_rgb():
    pixels = decode(encoded.encode(encoded.picture(), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95), "x").pixels
    assert np.abs(pixels.astype(int) - encoded.picture()).mean() < BLUR


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(suffix, orientation):
    data = encoded.with_exif(encoded.picture(), suffix, encoded.exif_block(orientation))
    pixels = decode(data, "x").pixels
    expected = UPRIGHT[orientation](encoded.picture())
    assert pixels.flags.c_contiguous
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < BLUR


def test_orientation_moves_every_pixel_exactly():
    stored = np.random.default_rng(2).integers(0, 256, (7, 5, 3), np.uint8)
    for orientation, turn in UPRIGHT.items():
        pixels = decode(encoded.with_exif(stored, ".png", encoded.exif_block(orientation)), "x").pixels
        np.testing.assert_array_equal(pixels, turn(stored))


@pytest.mark.parametrize(("header", "top_down"), [(12, False), (40, False), (40, True), (108, True), (124, False)])
def test_bmp_headers_and_row_order(header, top_down):
    pixels = np.random.default_rng(3).integers(0, 256, (5, 6, 3), np.uint8)
    np.testing.assert_array_equal(decode(encoded.bmp(pixels, header, top_down=top_down), "x").pixels, pixels)


def test_grey_becomes_three_equal_channels():
    grey = np.random.default_rng(4).integers(0, 256, (6, 7), np.uint8)
    np.testing.assert_array_equal(decode(cv2.imencode(".png", grey)[1].tobytes(), "x").pixels, np.dstack([grey] * 3))


def test_alpha_is_dropped_not_blended():
    bgra = np.random.default_rng(5).integers(0, 256, (6, 7, 4), np.uint8)
    np.testing.assert_array_equal(decode(cv2.imencode(".png", bgra)[1].tobytes(), "x").pixels, bgra[..., 2::-1])


def test_sixteen_bits_keep_the_upper_byte():
    deep = np.random.default_rng(6).integers(0, 65536, (6, 7, 3), np.uint16)
    expected = (deep >> 8).astype(np.uint8)[..., ::-1]
    np.testing.assert_array_equal(decode(cv2.imencode(".png", deep)[1].tobytes(), "x").pixels, expected)


@pytest.mark.parametrize("suffix", encoded.FORMATS.values())
def test_cut_files_are_refused(suffix):
    pixels = np.random.default_rng(7).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded.encode(pixels, suffix)
    for share in (0.25, 0.5, 0.98):
        assert refusal(data[: int(len(data) * share)]).code == "truncated"


def test_zero_filled_jpeg_is_refused():
    data = encoded.encode(np.random.default_rng(8).integers(0, 256, (64, 64, 3), np.uint8), ".jpg")
    assert refusal(data[: len(data) // 2] + bytes(len(data) // 2)).code == "truncated"


def test_damaged_pixels_are_corrupt():
    data = bytearray(encoded.encode(np.random.default_rng(9).integers(0, 256, (64, 64, 3), np.uint8), ".png"))
    data[len(data) // 2] ^= 0xFF
    error = refusal(bytes(data))
    assert error.code == "corrupt"
    assert "PNG" in str(error)


@pytest.mark.parametrize(("code", "expected"), [(cv2.Error.StsNoMem, MemoryError), (cv2.Error.StsAssert, ImageError)])
def test_no_memory_is_not_the_image_s_fault(monkeypatch, code, expected):
    def fail(*_):
        error = cv2.error("raised by the test")
        error.code, error.err = code, "what went wrong"
        raise error

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(expected, match="40x24 pixels" if expected is MemoryError else "what went wrong"):
        decode(encoded.encode(encoded.picture(24, 40), ".png"), "x")


def test_a_decoder_that_disagrees_with_the_header_is_not_believed(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((5, 6, 3), np.uint8))
    error = refusal(encoded.encode(encoded.picture(24, 40), ".png"))
    assert error.code == "corrupt"
    assert "says 40x24 pixels, but it decodes to 6x5" in str(error)


def test_empty_and_foreign_files():
    assert refusal(b"").code == "empty"
    assert refusal(b"%PDF-1.7" + bytes(30)).code == "unsupported"


def test_limits_are_checked_before_decoding():
    data = encoded.encode(encoded.picture(24, 40), ".png")
    huge = data[:16] + (100_000).to_bytes(4, "big") * 2 + data[24:]
    assert refusal(huge).code == "too_large"
    assert "100000x100000" in str(refusal(huge))
    assert refusal(data[:16] + (1).to_bytes(4, "big") + (2**20 + 1).to_bytes(4, "big") + data[24:]).code == "too_large"
    assert refusal(data, DecodeLimits(max_pixels=959)).code == "too_large"
    assert refusal(data, DecodeLimits(max_bytes=len(data) - 1)).code == "too_large"
    assert decode(data, "x", DecodeLimits(max_pixels=960, max_bytes=len(data))).pixels.shape == (24, 40, 3)


def test_a_bomb_is_refused_from_its_header(monkeypatch):
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(3751 * 1000)) for _ in range(30)) + packer.flush()  # 30000 of 1 bit a pixel
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(encoded.png_chunk(*chunk) for chunk in chunks)
    assert 90_000 < len(bomb) < 130_000
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the decoder was called"))
    error = refusal(bomb)
    assert error.code == "too_large"
    assert "900000000 pixels" in str(error)


def test_several_threads_decode_at_once():
    files = [encoded.encode(np.full((200, 200, 3), i, np.uint8), ".png") for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda data: decode(data, "x"), files * 4))
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == list(range(8)) * 4


def test_opencv_is_loaded_only_to_decode():
    code = "import sys, boxmill.images; print('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_configure_opencv_leaves_threads_and_messages_to_the_owner():
    threads, level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()
    try:
        configure_opencv()
        assert cv2.getNumThreads() == 1
        assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT
    finally:
        cv2.setNumThreads(threads)
        cv2.utils.logging.setLogLevel(level)
