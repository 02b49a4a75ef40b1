"""The pictures of things: colour emoji, drawn once from a font of the system and kept at several sizes.

The font is needed only to make scenes. Debian and Ubuntu have it as fonts-noto-color-emoji (SIL Open Font License 1.1).
Scenes of the same seed are the same bytes on the same versions of the font, Pillow, numpy and OpenCV.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxmill.demo.classes import CLASSES, CLUTTER, CLUTTER_HELD_OUT, CLUTTER_MORE
from boxmill.errors import SourceError, UsageError
from boxmill.types import UInt8

__all__ = ["Atlas", "Glyph", "draw_glyph", "every_glyph", "find_font", "load_atlas", "sheet"]

_FAMILY = "Noto Color Emoji"
_PLACES = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),  # Debian, Ubuntu
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),  # Arch
    Path("/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf"),  # Fedora
)
_STRIKE = 109  # pixels per em of the font's bitmaps; FreeType has no other size of them
_CANVAS = (136, 128)  # width, height of one bitmap
_SHEET = ".npz"
_SMALLEST = 8  # pixels; the levels of a glyph end above this


@dataclass(frozen=True, slots=True, eq=False)
class Glyph:
    """One picture, cropped to what can be seen of it, in halving sizes."""

    levels: tuple[UInt8, ...]  # (h, w, 4) RGBA, colours multiplied by alpha; each about half the one before

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the largest level, pixels."""
        height, width = self.levels[0].shape[:2]
        return width, height

    @classmethod
    def from_bitmap(cls, rgba: UInt8) -> Glyph:
        """From (h, w, 4) RGBA with plain alpha.

        Raises:
            UsageError: no pixel is opaque enough to be seen.
        """
        import cv2

        rows, columns = np.nonzero(rgba[:, :, 3] >= 128)
        if not len(rows):
            raise UsageError("expected a glyph with opaque pixels; this one is empty")
        tight = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        levels = [_premultiplied(tight)]
        while min(levels[-1].shape[:2]) >= 2 * _SMALLEST:
            height, width = levels[-1].shape[:2]
            half = cv2.resize(levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(half, np.uint8))
        return cls(tuple(levels))


def _premultiplied(rgba: UInt8) -> UInt8:
    alpha = rgba[:, :, 3:].astype(np.uint16)
    return np.concatenate([((rgba[:, :, :3] * alpha + 127) // 255).astype(np.uint8), rgba[:, :, 3:]], axis=2)


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """Glyphs by their character."""

    glyphs: Mapping[str, Glyph]

    @classmethod
    def from_bitmaps(cls, bitmaps: Mapping[str, UInt8]) -> Atlas:
        """From (h, w, 4) RGBA bitmaps with plain alpha."""
        return cls({character: Glyph.from_bitmap(bitmap) for character, bitmap in bitmaps.items()})

    def __getitem__(self, character: str) -> Glyph:
        return self.glyphs[character]


def every_glyph() -> str:
    """Each character that a scene may need: those of the classes, and the clutter."""
    return "".join(thing.glyphs + thing.held_out for thing in CLASSES) + CLUTTER + CLUTTER_MORE + CLUTTER_HELD_OUT


def find_font() -> Path:
    """The file of Noto Color Emoji, in its usual places or as fontconfig knows it.

    Raises:
        SourceError: this system does not have it.
    """
    for place in _PLACES:
        if place.is_file():
            return place
    if shutil.which("fc-list"):
        command = ["fc-list", f":family={_FAMILY}", "--format=%{file}\\n"]
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for line in sorted(listed.splitlines()):
            if Path(line).is_file():
                return Path(line)
    raise SourceError(
        f"scenes are drawn from the font {_FAMILY!r}, which this system does not have; install it "
        "(Debian, Ubuntu: apt-get install fonts-noto-color-emoji; Fedora: google-noto-color-emoji-fonts; "
        "Arch: noto-fonts-emoji) or name its file with --font"
    )


def load_atlas(font: Path | None = None, characters: Iterable[str] | None = None) -> Atlas:
    """Draws every glyph once, which takes about a second.

    Args:
        font: file of a colour emoji font with bitmaps of 109 pixels per em, or a `sheet` of its glyphs (.npz);
            `find_font()` by default.
        characters: only these; by default all that scenes need.

    Raises:
        SourceError: Pillow or the font is missing, the font has no such bitmaps, or it lacks one of the characters.
    """
    place = find_font() if font is None else font
    wanted = every_glyph() if characters is None else characters
    if place.suffix == _SHEET:
        return Atlas.from_bitmaps(_read_sheet(place, wanted))
    return Atlas.from_bitmaps({character: draw_glyph(place, character) for character in wanted})


def sheet(font: Path | None = None, characters: Iterable[str] | None = None) -> bytes:
    """Every glyph that scenes need, as the bytes of an .npz file: with it they are made where the font is missing.

    Args and errors are those of `load_atlas`. The font's licence is that of its glyphs too.
    """
    place = find_font() if font is None else font
    wanted = every_glyph() if characters is None else characters
    buffer = io.BytesIO()
    bitmaps: dict[str, Any] = {_sheet_name(character): draw_glyph(place, character) for character in wanted}
    np.savez_compressed(buffer, **bitmaps)
    return buffer.getvalue()


def _sheet_name(character: str) -> str:
    return f"U+{ord(character):04X}"


def _read_sheet(place: Path, wanted: Iterable[str]) -> dict[str, UInt8]:
    """Raises SourceError."""
    try:
        with np.load(place, allow_pickle=False) as file:
            found = {character: file[_sheet_name(character)] for character in wanted}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"cannot use {str(place)!r} as a sheet of glyphs: {error}; this version's boxmill demo glyphs writes one"
        ) from error
    for character, bitmap in found.items():
        if bitmap.dtype != np.uint8 or bitmap.ndim != 3 or bitmap.shape[2] != 4:
            raise SourceError(
                f"{str(place)!r}: {_sheet_name(character)} is {bitmap.dtype} {bitmap.shape}, expected uint8 (h, w, 4)"
            )
    return found


def draw_glyph(font: Path, character: str) -> UInt8:
    """One character of a colour emoji font as (128, 136, 4) RGBA with plain alpha.

    Raises:
        SourceError: as for `load_atlas`.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise SourceError("scenes are drawn with Pillow: pip install 'boxmill[demo]'") from error
    try:
        # every glyph is one code point: the basic layout gives the same on systems with and without text shaping
        face = ImageFont.truetype(str(font), _STRIKE, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise SourceError(
            f"cannot use the font {str(font)!r}: {error}; expected Noto Color Emoji with bitmaps of {_STRIKE} pixels"
        ) from error
    canvas = Image.new("RGBA", _CANVAS)
    ImageDraw.Draw(canvas).text((0, 0), character, font=face, embedded_color=True)
    pixels = np.asarray(canvas)
    if not (pixels[:, :, 3] >= 128).any():
        raise SourceError(
            f"the font {str(font)!r} has no picture of U+{ord(character):04X}; expected Noto Color Emoji 2.038 or later"
        )
    return pixels
