"""TIFF: the first image file directory (TIFF 6.0, sections 2 and 8; BigTIFF as libtiff defines it).

libtiff decodes many kinds of TIFF in many ways. Those are accepted that come out of OpenCV exactly as docs/formats.md
says; the rest is refused here, by its tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from boxmill.errors import ImageError
from boxmill.images.structure import ImageHeader, corrupt, take, truncated

__all__ = ["read_tiff"]

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _PLANAR, _EXTRA, _FORMAT, _DNG_VERSION = 274, 277, 284, 338, 339, 50706
_PALETTE_TAG, _JPEG_TABLES = 320, 347
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets, byte counts
_TILE_SIDES = (322, 323)
_READ = frozenset(
    {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR, _EXTRA, _FORMAT}
    | {_PALETTE_TAG, _JPEG_TABLES, _DNG_VERSION, *_STRIPS, *_TILES, *_TILE_SIDES}
)
_WHITE, _BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_KINDS = {  # photometric interpretation -> colour samples, bits of a sample
    _WHITE: (1, (1, 8, 16)),
    _BLACK: (1, (1, 8, 16)),
    _RGB: (3, (8, 16)),
    _PALETTE: (1, (1, 4, 8)),
    _CMYK: (4, (8,)),
    _YCBCR: (3, (8,)),
}
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})  # none, CCITT, LZW, JPEG, deflate, PackBits, deflate
_TYPES = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 16: "u8"}  # of tag values: BYTE, SHORT, LONG, UNDEFINED, LONG8
_UNASSOCIATED = 2  # alpha that the colours have not been multiplied by
_MOST_ENTRIES = 4096  # real directories hold some dozens
_MOST_TILE = 1 << 24  # pixels; OpenCV takes memory for a whole tile, however small the image


@dataclass(frozen=True, slots=True)
class _Field:
    values: npt.NDArray[np.generic]  # (n,) unsigned
    at: int  # offset of the first value in the file

    def first(self) -> int:
        return int(self.values[0])


_Directory = dict[int, _Field]


def read_tiff(data: bytes) -> ImageHeader:
    """Size, layout and completeness from the first directory.

    OpenCV turns TIFF pixels upright itself, whatever its flags say, so the size is that of the upright image and the
    orientation 1. Complete means that every strip or tile lies inside the file.

    Raises:
        ImageError: `truncated` (the first directory is not in the file), `corrupt`, `unsupported` (floating point, more
            than 16 bits, a camera's raw file, and whatever else docs/formats.md leaves out).
    """
    tags = _read_directory(data)
    missing = [tag for tag in (_WIDTH, _HEIGHT, _PHOTOMETRIC) if tag not in tags]
    if missing:
        raise corrupt(f"TIFF directory lacks the tags {missing}: the file holds no image, or is damaged")
    _refuse_raw(data, tags)
    bits, samples = _number(tags, _BITS, 1), _number(tags, _SAMPLES, 1)
    _check_kind(tags, bits, samples)
    width, height = _number(tags, _WIDTH), _number(tags, _HEIGHT)
    if _number(tags, _ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    # OpenCV rounds 16-bit colours to 8 instead of keeping the upper byte, so they are taken raw; 16-bit grey is exact.
    raw_bits = 16 if bits == 16 and _number(tags, _PHOTOMETRIC) == _RGB else None
    return ImageHeader("TIFF", width, height, 1, _complete(tags, len(data)), raw_bits, _alpha_edit(data, tags, bits))


def _read_directory(data: bytes) -> _Directory:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = int.from_bytes(data[2:4], order) == 43

    def number(start: int, size: int, what: str) -> int:
        return int.from_bytes(take(data, start, size, what), order)

    start = number(8 if big else 4, 8 if big else 4, "the TIFF directory's offset")
    wide, entry_size = (8, 20) if big else (2, 12)
    entries = number(start, wide, "the TIFF directory")
    if not 0 < entries <= _MOST_ENTRIES:
        raise corrupt(f"TIFF directory has {entries} entries; expected 1 to {_MOST_ENTRIES}")
    take(data, start + wide + entries * entry_size, 8 if big else 4, "the next TIFF directory's offset")
    tags: _Directory = {}
    for index in range(entries):
        at = start + wide + index * entry_size
        tag, kind = number(at, 2, "a TIFF tag"), number(at + 2, 2, "a TIFF tag")
        count = number(at + 4, 8 if big else 4, "a TIFF tag")
        if tag not in _READ or tag in tags or kind not in _TYPES or count == 0:
            continue
        dtype = np.dtype(_TYPES[kind]).newbyteorder("<" if order == "little" else ">")
        place, inline = at + (12 if big else 8), 8 if big else 4
        if count * dtype.itemsize > inline:
            place = number(place, inline, "a TIFF tag")
        if place + count * dtype.itemsize > len(data):
            raise truncated(f"TIFF ends before the values of its tag {tag}")
        tags[tag] = _Field(np.frombuffer(data, dtype, count, place), place)
    return tags


def _number(tags: _Directory, tag: int, default: int = 0) -> int:
    return tags[tag].first() if tag in tags else default


def _refuse_raw(data: bytes, tags: _Directory) -> None:
    """A camera's raw file is a TIFF whose first image is a small preview: not what its owner means."""
    if _DNG_VERSION in tags or _number(tags, _SUBFILE) & 1 or data[8:10] == b"CR":
        raise ImageError("unsupported", "a camera's raw file (its first TIFF image is a preview): convert it first")


def _check_kind(tags: _Directory, bits: int, samples: int) -> None:
    photometric, compression = _number(tags, _PHOTOMETRIC), _number(tags, _COMPRESSION, 1)
    colours, depths = _KINDS.get(photometric, (0, ()))
    same_bits = _BITS not in tags or bool((tags[_BITS].values == bits).all())
    planar = _number(tags, _PLANAR, 1) == 2 and samples > 1
    alpha = samples == colours + 1 and bits >= 8 and photometric in (_WHITE, _BLACK, _RGB)
    sides = [_number(tags, side, 1) for side in _TILE_SIDES]
    problem = ""
    if compression not in _COMPRESSIONS:
        problem = f"compression {compression}"
    elif _number(tags, _FORMAT, 1) != 1:
        problem = f"sample format {_number(tags, _FORMAT)} (signed or floating point)"
    elif bits not in depths or not same_bits:
        problem = f"photometric interpretation {photometric} with samples of {bits} bits"
    elif samples != colours and not alpha:
        problem = f"photometric interpretation {photometric} with {samples} samples a pixel"
    elif planar and bits == 16:
        problem = "16-bit samples in separate planes"
    elif sides[0] * sides[1] > _MOST_TILE:
        problem = f"tiles of {sides[0]}x{sides[1]} pixels"
    if problem:
        raise ImageError("unsupported", f"TIFF with {problem}: convert it first, to 8-bit RGB for example")


def _complete(tags: _Directory, size: int) -> bool:
    offsets, counts = next((pair for pair in (_TILES, _STRIPS) if pair[0] in tags), _STRIPS)
    if offsets not in tags:
        raise corrupt("TIFF says neither where its strips nor where its tiles are")
    ends = tags[offsets].values.astype(np.float64)  # exact: no file has 2**53 bytes
    if counts in tags and len(tags[counts].values) == len(ends):
        ends = ends + tags[counts].values.astype(np.float64)
    return bool((ends <= size).all())


def _alpha_edit(data: bytes, tags: _Directory, bits: int) -> tuple[int, bytes] | None:
    """libtiff multiplies 8-bit colours by their unassociated alpha, unless the extra sample is called unspecified."""
    extra = tags.get(_EXTRA)
    if extra is None or bits != 8 or _number(tags, _PHOTOMETRIC) != _RGB or extra.first() != _UNASSOCIATED:
        return None
    return extra.at, bytes(extra.values.itemsize)
