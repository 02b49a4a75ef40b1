"""At least one file for each row of the table in docs/formats.md: its bytes, and the RGB that the row promises.

Lossless kinds are judged by the samples they were made of, exactly; lossy ones by Pillow's decoder, or by a formula.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from encoded import bmp, encode, exif_block, png_chunk
from PIL import Image, ImageOps
from rasters import apng, bitmap, bitmap_rows, gif, packed, png, run_length
from tiffs import CMYK, GREY, PALETTE, YCBCR, Layout, tiff


class Sample(NamedTuple):
    format: str
    kind: str
    data: bytes
    pixels: np.ndarray | None = None  # (H, W, 3) RGB; None: refused
    tolerance: int = 0  # grey levels


SIZE = HEIGHT, WIDTH = 13, 21
_RNG = np.random.default_rng(20)
RGB8 = _RNG.integers(0, 256, (*SIZE, 3), np.uint8)
RGBA8 = _RNG.integers(0, 256, (*SIZE, 4), np.uint8)
GREY8, GREY16 = RGBA8[..., 0].copy(), _RNG.integers(0, 65536, SIZE, np.uint16)
RGB16, RGBA16 = (_RNG.integers(0, 65536, (*SIZE, n), np.uint16) for n in (3, 4))
INDICES = _RNG.integers(0, 8, SIZE)
COLOURS = _RNG.integers(0, 256, (256, 3), np.uint8)
_SMOOTH = cv2.resize(RGB8[:4, :5].copy(), (40, 24), interpolation=cv2.INTER_CUBIC)  # for lossy formats
_ARITHMETIC = base64.b85decode(  # 16 x 16 pixels, baseline with arithmetic coding, from libjpeg-turbo's cjpeg
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00;&K2L=TQ2L}fU2?z=d6b%du3k(?&6Au&}8Xq1V8XO!TBrYc)A}k{u94I#_EHE)NG&CP4IXyTsJT5adGX"
    "L8ELjeg12@DGi7!3^=G9erxGBPqUGBPqUGBPqUGBPqUGBPqUGBPqUGBPqUGBPqUGBPqUGBPqUGBPqUGBPqUGBW?k01*fP5C9MZ0U`hb5di}c0sqVZ"
    "3IGrg1pyEd1^?Or3<CiG0ucid06zf#0HLWhU=Kw3=%w%0N;L<3JW0X^n4ijBl`ep@H4y*V"
)


def upper(samples: np.ndarray) -> np.ndarray:
    return (samples >> 8).astype(np.uint8)


def grey(samples: np.ndarray) -> np.ndarray:
    return np.dstack([samples.astype(np.uint8)] * 3)


def pillow(data: bytes) -> np.ndarray:
    """Pillow's pixels, upright, without the alpha."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image if image.mode in ("RGB", "RGBA") else image.convert("RGB"))[..., :3]


def save(pixels: np.ndarray, kind: str, mode: str | None = None, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind, **options)
    return file.getvalue()


def samples() -> Iterator[Sample]:
    for make in (
        jpeg_samples,
        png_samples,
        webp_samples,
        bmp_samples,
        tiff_samples,
        tiff_refused_samples,
        gif_samples,
        avif_samples,
        pnm_samples,
        others_samples,
    ):
        yield from make()


def jpeg_samples() -> Iterator[Sample]:
    plain = save(_SMOOTH, "JPEG", quality=90)
    for data in (plain, save(_SMOOTH, "JPEG", progressive=True), save(_SMOOTH, "JPEG", subsampling=0)):
        yield Sample("JPEG", "baseline, progressive", data, pillow(data))
    yield Sample("JPEG", "arithmetic coding", _ARITHMETIC, pillow(_ARITHMETIC))
    one = save(_SMOOTH[..., 0], "JPEG", quality=90)
    yield Sample("JPEG", "grey", one, grey(np.asarray(Image.open(io.BytesIO(one)))))
    straight = save(_SMOOTH, "JPEG", quality=90, keep_rgb=True)
    yield Sample("JPEG", "RGB", straight, pillow(straight))
    inks = np.dstack([_SMOOTH, _SMOOTH[::-1, :, 0]])
    four = save(inks, "JPEG", "CMYK", quality=90)
    adobe = four.index(b"Adobe") + 11  # of its segment, the byte that says what the colours are: 0 CMYK, 2 YCCK
    for data in (four, four[:adobe] + b"\2" + four[adobe + 1 :]):
        light = 255 - np.asarray(Image.open(io.BytesIO(data))).astype(int)  # as stored: 255 is no ink
        key = light[..., 3:]
        yield Sample("JPEG", "CMYK, YCCK", data, key - ((255 - light[..., :3]) * key >> 8))
    frame = plain.index(b"\xff\xc0")
    yield Sample("JPEG", "12 bits", plain[: frame + 4] + b"\x0c" + plain[frame + 5 :])
    for kind in (b"\xc3", b"\xc5"):
        yield Sample("JPEG", "lossless, hierarchical", plain[: frame + 1] + kind + plain[frame + 2 :])
    yield Sample("JPEG", "no end-of-image marker", plain[:-2])


def png_samples() -> Iterator[Sample]:
    for bits in (1, 2, 4, 8):
        values = GREY8 >> (8 - bits)
        chunk = png_chunk(b"PLTE", COLOURS[: 1 << bits].tobytes())
        yield Sample("PNG", "grey, 1 to 8 bits", png(values, 0, bits), grey(values * (255 // ((1 << bits) - 1))))
        for data in (png(values, 3, bits, chunk), png(values, 3, bits, chunk + png_chunk(b"tRNS", bytes(1 << bits)))):
            yield Sample("PNG", "palette", data, COLOURS[values])
    yield Sample("PNG", "RGB", png(RGB8, 2, 8), RGB8)
    yield Sample("PNG", "16 bits", png(RGB16, 2, 16), upper(RGB16))
    yield Sample("PNG", "16 bits", png(GREY16, 0, 16), grey(upper(GREY16)))
    yield Sample("PNG", "alpha", png(RGBA8, 6, 8), RGBA8[..., :3])
    yield Sample("PNG", "alpha", png(RGBA16, 6, 16), upper(RGBA16[..., :3]))
    yield Sample("PNG", "alpha", png(RGBA8[..., :2], 4, 8), grey(GREY8))
    transparent = png_chunk(b"tRNS", struct.pack(">HHH", *RGB8[0, 0]))
    yield Sample("PNG", "alpha", png(RGB8, 2, 8, transparent), RGB8)
    for data, pixels in ((png(RGB8, 2, 8, interlaced=True), RGB8), (png(GREY8, 0, 8, interlaced=True), grey(GREY8))):
        yield Sample("PNG", "interlaced", data, pixels)
    for hidden in (False, True):
        yield Sample("PNG", "animated (APNG)", apng(RGB8, 255 - RGB8, hidden=hidden), RGB8)
    yield Sample("PNG", "Apple's CgBI", png(RGB8, 2, 8)[:8] + png_chunk(b"CgBI", bytes(4)) + png(RGB8, 2, 8)[8:])


def webp_samples() -> Iterator[Sample]:
    lossy = save(_SMOOTH, "WEBP", quality=80)
    yield Sample("WebP", "lossy", lossy, pillow(lossy))
    yield Sample("WebP", "lossless", save(RGB8, "WEBP", lossless=True), RGB8)
    yield Sample("WebP", "alpha", save(RGBA8, "WEBP", lossless=True, exact=True), RGBA8[..., :3])
    seen = RGBA8.copy()
    seen[0, :5, 3] = 0
    frames = save(seen, "WEBP", lossless=True, exact=True, save_all=True, append_images=[Image.fromarray(255 - RGB8)])
    yield Sample("WebP", "animated", frames, np.where(seen[..., 3:] == 0, 0, seen[..., :3]))


def bmp_samples() -> Iterator[Sample]:
    for bits in (1, 4, 8):
        values = GREY8 >> (8 - bits)
        rows = np.frombuffer(packed(values, bits), np.uint8).reshape(HEIGHT, -1)
        palette = np.pad(COLOURS[: 1 << bits, ::-1], ((0, 0), (0, 1))).tobytes()
        yield Sample("BMP", "palette", bitmap(SIZE, bits, bitmap_rows(rows), palette), COLOURS[values])
        if bits > 1:
            runs = run_length(values, bits)
            data = bitmap(SIZE, bits, runs, palette, {8: 1, 4: 2}[bits])
            yield Sample("BMP", "run-length (RLE4, RLE8)", data, COLOURS[values])
    rows = bitmap_rows(GREY16.astype("<u2").view(np.uint8).reshape(HEIGHT, -1))
    five = np.dstack([GREY16 >> 10 & 31, GREY16 >> 5 & 31, GREY16 & 31]) << 3
    yield Sample("BMP", "16 bits", bitmap(SIZE, 16, rows), five)
    six = np.dstack([(GREY16 >> 11) << 3, (GREY16 >> 5 & 63) << 2, (GREY16 & 31) << 3])
    yield Sample("BMP", "16 bits", bitmap(SIZE, 16, rows, struct.pack("<III", 0xF800, 0x7E0, 0x1F), 3), six)
    for header in (12, 40, 124):
        yield Sample("BMP", "24 bits", bmp(RGB8, header, top_down=header == 40), RGB8)
    rows = bitmap_rows(RGBA8.reshape(HEIGHT, -1))
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    for data in (bitmap(SIZE, 32, rows), bitmap(SIZE, 32, rows, masks, 3)):
        yield Sample("BMP", "32 bits", data, RGBA8[..., 2::-1])
    yield Sample("BMP", "other colour masks", bitmap(SIZE, 32, rows, struct.pack("<III", 0xFF, 0xFF00, 0xFF0000), 3))
    for kind in (4, 5):
        yield Sample("BMP", "other compressions", bitmap(SIZE, 24, b"\xff\xd8\xff\xd9", b"", kind))


def tiff_samples() -> Iterator[Sample]:
    layouts = [Layout(order=order, big=big) for order in "<>" for big in (False, True)]
    for layout in (*layouts, Layout(rows=5), Layout(planar=True), Layout(planar=True, rows=4), Layout(tile=(64, 32))):
        yield Sample("TIFF", "RGB", tiff(RGB8, layout), RGB8)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Sample("TIFF", "RGB", save(RGB8, "TIFF", compression=compression), RGB8)
    jpeg = save(_SMOOTH, "TIFF", compression="jpeg", quality=90)
    yield Sample("TIFF", "YCbCr", jpeg, pillow(jpeg), 4)
    ycc = np.asarray(Image.fromarray(RGB8).convert("YCbCr"))
    yield Sample("TIFF", "YCbCr", tiff(ycc, Layout(YCBCR, tags=((530, 3, (1, 1)),))), RGB8, 4)
    for white, flip in ((0, 255), (1, 0)):
        yield Sample("TIFF", "grey, 1 or 8 bits", tiff(GREY8, Layout(white)), grey(GREY8 ^ flip))
        bit = GREY8 >> 7
        yield Sample("TIFF", "grey, 1 or 8 bits", tiff(bit, Layout(white, packed=1)), grey((bit * 255) ^ flip))
        yield Sample("TIFF", "16 bits", tiff(GREY16, Layout(white)), grey(upper(GREY16) ^ flip))
    bilevel = Image.fromarray(GREY8 > 127)  # mode 1
    file = io.BytesIO()
    bilevel.save(file, "TIFF", compression="group4")
    yield Sample("TIFF", "grey, 1 or 8 bits", file.getvalue(), grey((GREY8 > 127) * 255))
    for layout in (Layout(), Layout(rows=5), Layout(order=">", big=True), Layout(tile=(16, 16))):
        yield Sample("TIFF", "16 bits", tiff(RGB16, layout), upper(RGB16))
    for extra in (0, 1, 2):
        yield Sample("TIFF", "alpha", tiff(RGBA8, Layout(extra=extra)), RGBA8[..., :3])
        yield Sample("TIFF", "alpha", tiff(RGBA16, Layout(extra=extra, order=">")), upper(RGBA16[..., :3]))
        yield Sample("TIFF", "alpha", tiff(RGBA8[..., :2], Layout(GREY, extra=extra)), grey(GREY8))
    wide = COLOURS.astype(np.uint16) * 257
    for bits in (1, 4, 8):
        values = GREY8 >> (8 - bits)
        layout = Layout(PALETTE, packed=bits % 8, palette=wide[: 1 << bits])
        yield Sample("TIFF", "palette", tiff(values, layout), COLOURS[values])
    ink = RGBA8.astype(int)
    yield Sample("TIFF", "CMYK", tiff(RGBA8, Layout(CMYK)), (255 - ink[..., :3]) * (255 - ink[..., 3:]) // 255)
    pages = save(RGB8, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGB8)])
    yield Sample("TIFF", "several pages", pages, RGB8)


def tiff_refused_samples() -> Iterator[Sample]:
    for array in (GREY8.astype(np.float32), GREY8.astype(np.float16), GREY16.astype(np.uint32), GREY16.view(np.int16)):
        yield Sample("TIFF", "floating point, signed, over 16 bits", tiff(array, Layout(GREY)))
    for array, layout in (
        (GREY8 >> 4, Layout(GREY, packed=4)),
        (GREY16, Layout(GREY, tags=((258, 3, (12,)),))),
        (RGBA16, Layout(CMYK)),
        (RGB16, Layout(planar=True)),
        (RGB8, Layout(8)),
        (RGB8, Layout(tags=((259, 3, (50000,)),))),
        (np.dstack([RGBA8, GREY8]), Layout(tags=((338, 3, (0, 0)),))),
        (RGB8, Layout(tile=(16, 16), tags=((322, 4, (1 << 15,)), (323, 4, (1 << 15,))))),
    ):
        yield Sample("TIFF", "other depths, colours, compressions", tiff(array, layout))
    for layout in (Layout(tags=((254, 4, (1,)),)), Layout(tags=((50706, 1, (1, 4, 0, 0)),))):
        yield Sample("TIFF", "camera raw (DNG, NEF, CR2 and others)", tiff(RGB8, layout))


def gif_samples() -> Iterator[Sample]:
    colours, screen = COLOURS[:8], (WIDTH, HEIGHT)
    yield Sample("GIF", "still or animated", gif(screen, [(0, 0, INDICES, None)], colours), colours[INDICES])
    two = [(0, 0, INDICES, None), (0, 0, 7 - INDICES, None)]
    yield Sample("GIF", "still or animated", gif(screen, two, colours), colours[INDICES])
    interlaced = save(INDICES.astype(np.uint8) * 30, "GIF", interlace=1)
    yield Sample("GIF", "still or animated", interlaced, grey(INDICES * 30))
    empty = gif(screen, [(0, 0, INDICES, 3)], colours, background=6)
    yield Sample("GIF", "transparency", empty, colours[np.where(INDICES == 3, 6, INDICES)])
    canvas = np.tile(colours[6], (HEIGHT + 3, WIDTH + 4, 1))
    canvas[1 : HEIGHT + 1, 2 : WIDTH + 2] = colours[INDICES]
    larger = gif((WIDTH + 4, HEIGHT + 3), [(2, 1, INDICES, None)], colours, background=6)
    yield Sample("GIF", "frame smaller than the screen", larger, canvas)
    yield Sample("GIF", "frame outside the screen", gif(screen, [(2, 1, INDICES, None)], colours))
    yield Sample("GIF", "no trailer", gif(screen, two, colours)[:-1])


def avif_samples() -> Iterator[Sample]:
    for data in (save(_SMOOTH, "AVIF", quality=80), save(_SMOOTH[..., 0], "AVIF", quality=80)):
        yield Sample("AVIF", "8 bits", data, pillow(data))
    for bits in (10, 12):
        deep = RGB16 >> (16 - bits)
        data = encode_deep(deep, bits)
        yield Sample("AVIF", "10 and 12 bits", data, upper(RGB16)[..., ::-1], 1)
    clear = save(RGBA8, "AVIF", quality=90)
    yield Sample("AVIF", "alpha", clear, pillow(clear))
    for first in (_SMOOTH, np.dstack([_SMOOTH, _SMOOTH[..., 0]])):
        moving = save(first, "AVIF", save_all=True, append_images=[Image.fromarray(255 - first)], quality=90)
        yield Sample("AVIF", "sequence with a still picture", moving, pillow(moving))
    yield Sample("AVIF", "sequence alone", b"\0\0\0\x14ftypavis\0\0\0\0avis" + b"\0\0\0\x08moov")


def encode_deep(samples: np.ndarray, bits: int) -> bytes:
    options = [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, bits]
    return cv2.imencode(".avif", samples, options)[1].tobytes()


def pnm_samples() -> Iterator[Sample]:
    size = f"{WIDTH} {HEIGHT}\n"
    yield Sample("PNM", "P4", f"P4\n# made here\n{size}".encode() + packed(GREY8 >> 7, 1), grey((GREY8 >> 7 ^ 1) * 255))
    yield Sample("PNM", "P5, P6 of 8 bits", f"P5 {size}255\n".encode() + GREY8.tobytes(), grey(GREY8))
    yield Sample("PNM", "P5, P6 of 8 bits", f"P6 {size}255\n".encode() + RGB8.tobytes(), RGB8)
    deep = f"P6\n{size}65535\n".encode() + RGB16.astype(">u2").tobytes()
    yield Sample("PNM", "P5, P6 of 16 bits", deep, upper(RGB16))
    deep = f"P5\n{size}65535\n".encode() + GREY16.astype(">u2").tobytes()
    yield Sample("PNM", "P5, P6 of 16 bits", deep, grey(upper(GREY16)))
    yield Sample("PNM", "another largest value", f"P5 {size}100\n".encode() + GREY8.tobytes())
    for start in (b"P1\n1 1\n0\n", b"P2\n1 1\n255\n7\n", b"P3\n1 1\n255\n7 8 9\n", b"P7\nWIDTH 1\n"):
        yield Sample("PNM", "in text (P1, P2, P3), PAM (P7)", start)


def others_samples() -> Iterator[Sample]:
    for brand in (b"heic", b"mif1"):
        yield Sample("HEIC", "any", b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(9))
    for options in ({}, {"no_jp2": True}):
        yield Sample("JPEG 2000", "any", save(RGB8, "JPEG2000", **options))
    for start in (b"\0\0\0\x0cJXL \r\n\x87\n", b"8BPS\0\1", b"%PDF-1.7", b"<svg xmlns=''/>", b"\0\0\1\0\1\0", b"notes"):
        yield Sample("anything else", "JPEG XL, PSD, PDF, SVG, icons, text, …", start)


def turned(stored: np.ndarray, orientation: int) -> dict[str, bytes]:
    """The stored pixels with an orientation, in every format that can carry one without loss; AVIF nearly so."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {
        "PNG": encode(stored, ".png")[:33] + png_chunk(b"eXIf", exif_block(orientation)) + encode(stored, ".png")[33:],
        "WebP": save(stored, "WEBP", lossless=True, exif=exif),
        "TIFF": tiff(stored, Layout(orientation=orientation)),
        "AVIF": save(stored, "AVIF", quality=100, subsampling="4:4:4", exif=exif),
    }
