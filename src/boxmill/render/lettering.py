"""What is written at a box, and with which font: never a square or a question mark instead of a character.

OpenCV 5's wheel brings a font for Latin and Cyrillic and one for Chinese, Japanese and Korean: opencv-python-headless
5.0.0.93 writes all of COCO's Chinese names on a machine without fonts. What they lack (rarer characters; all of Chinese
where OpenCV was built without the second) is looked up among this machine's fonts. OpenCV sets characters from left to
right, each by itself; scripts that join or reorder them would come out wrong and count as missing.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxmill.coco80 import COCO80_EN, COCO80_ZH
from boxmill.render.fonts import installed_fonts
from boxmill.types import UInt8

__all__ = ["Finder", "Lettering", "Written", "font_advice"]

Finder = Callable[[str], Sequence[Path]]

_LATIN, _CHINESE = "sans", "uni"  # OpenCV's names for its fonts
_WEIGHT = 500  # of OpenCV's Latin font, which has all from 300 to 900
_LONGEST = 32  # columns of a name; a Chinese character takes two
_ENGLISH = dict(zip(COCO80_ZH, COCO80_EN, strict=True))
# categories: emoji and marks, which a name is clear without
_LEFT_OUT = frozenset({"So", "Sk", "Cs", "Co", "Cn", "Cf", "Mn", "Me"})
_OTHER_ORDER = ("R", "AL", "AN")  # bidirectional classes: written from right to left
# Devanagari to Burmese (Indic, Thai, Lao, Tibetan), Khmer and Mongolian: scripts that join or stack characters
_JOINED = ((0x0900, 0x10A0), (0x1780, 0x18B0))
_SEARCHES = 4  # in vain, after which no more fonts are looked for: each may take seconds
_FIRST_WIDE = "\u2e80"  # Chinese, Japanese and Korean characters begin here
_PROBE = 24  # font size that characters are tried at
_NOWHERE = "?\U0010ffff"  # what a character that is nowhere looks like: OpenCV's question mark, or a font's own sign


def font_advice(names: Sequence[str], finder: Finder = installed_fonts) -> str | None:
    """One sentence for people where pictures cannot show some of the names; None: they can show all.

    `finder` gives font files for characters that OpenCV's own fonts lack.
    """
    if all(name.isascii() for name in names):  # spares OpenCV's import
        return None
    missing = Lettering(names, finder).missing()
    if not missing:
        return None
    replaced = "English" if missing[0] in _ENGLISH else "class numbers"
    what = f"pictures show {replaced} instead of {missing[0]!r}"
    if len(missing) > 1:
        what += f" and {len(missing) - 1} other names"
    if any(_is_set_otherwise(mark) for mark in missing[0]):
        return (
            f"{what}: scripts written from right to left or with joined letters are not drawn; give others (--labels)"
        )
    return f"{what}: no font here has the characters; install one (apt install fonts-noto-cjk)"


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A text and the cv2.FontFace to set it with."""

    text: str
    face: Any

    def extent(self, size: int) -> int:
        """Width in pixels of the text at a font size."""
        import cv2

        _, _, width, _ = cv2.getTextSize((0, 0), self.text, (0, 0), self.face, size, _WEIGHT)
        return int(width)

    def put(self, pixels: UInt8, place: tuple[int, int], size: int, color: tuple[int, int, int]) -> None:
        """Writes into `pixels` (H, W, 3), beginning at `place`: left, baseline."""
        # Chinese has one weight, too thin on a coloured ground where lines are wider than a pixel
        chinese = any(mark >= _FIRST_WIDE for mark in self.text)
        for shift in range(1 + size // 20 if chinese else 1):
            self._put(pixels, (place[0] + shift, place[1]), size, color)

    def _put(self, pixels: UInt8, place: tuple[int, int], size: int, color: tuple[int, int, int]) -> None:
        import cv2

        # without a range of its own OpenCV goes on in the next line at the picture's edge
        cv2.putText(pixels, self.text, place, color, self.face, size, _WEIGHT, wrap=(0, 1 << 24))


class Lettering:
    """The names of classes as they can be written; usable from several threads at once."""

    def __init__(self, names: Sequence[str], finder: Finder = installed_fonts) -> None:
        """`finder` gives font files for characters that OpenCV's own fonts lack; each class is looked at once."""
        self._names, self._finder = names, finder
        self._lock, self._searches = threading.Lock(), _SEARCHES
        self._chosen: dict[int, tuple[str, Any]] = {}
        self._fonts = [_own_font(_LATIN), _own_font(_CHINESE)]
        self._sought: set[str] = set()  # in vain

    def label(self, class_id: int, score: float | None) -> Written:
        """The class's name, with two decimals of the score unless that is None or NaN."""
        with self._lock:
            if class_id not in self._chosen:
                self._chosen[class_id] = self._choose(class_id)
        name, face = self._chosen[class_id]
        return Written(name if score is None or score != score else f"{name} {score:.2f}", face)

    def missing(self) -> list[str]:
        """The names that are replaced, because their characters cannot be written."""
        with self._lock:
            return [name for name in dict.fromkeys(map(_tidy, self._names)) if name and self._written(name) is None]

    def _choose(self, class_id: int) -> tuple[str, Any]:
        name = _tidy(self._names[class_id]) if 0 <= class_id < len(self._names) else ""
        for text in (name, _ENGLISH.get(name, "")):
            found = self._written(text)
            if found is not None and found[0]:
                return _shortened(found[0]), found[1]
        return f"class {class_id}", self._fonts[0].face

    def _written(self, name: str) -> tuple[str, Any] | None:
        """The name and a font that has its characters; without the symbols that no font has; None: it lacks letters."""
        if any(_is_set_otherwise(mark) for mark in name):
            return None
        wide = any(unicodedata.east_asian_width(mark) in "WF" for mark in name)
        for font in self._fonts[wide:]:  # Latin in the Chinese font's own letters where it stands beside Chinese
            if font.has(name):
                return name, font.face
        bare = _tidy("".join(mark for mark in name if unicodedata.category(mark) not in _LEFT_OUT))
        return self._written(bare) if bare != name else self._found_elsewhere(name)

    def _found_elsewhere(self, name: str) -> tuple[str, Any] | None:
        lacking = {mark for mark in name if not self._fonts[0].has(mark)}
        if lacking <= self._sought or self._searches == 0:
            return None
        for path in self._finder("".join(sorted(lacking))):
            font = _font_of(path)
            if font is not None and font.has(name):
                self._fonts.append(font)
                return name, font.face
        self._sought |= lacking
        self._searches -= 1
        return None


class _Font:
    """A cv2.FontFace and which characters it is known to have."""

    def __init__(self, face: Any) -> None:
        self.face = face
        self._known: dict[str, bool] = {}
        self._absent = [_drawn(face, mark) for mark in _NOWHERE]

    def has(self, marks: Iterable[str]) -> bool:
        """Whether it has all of them. For one that neither it nor its own fonts have, OpenCV writes a question mark."""
        return all(mark in " ?" or self._has(mark) for mark in marks)

    def _has(self, mark: str) -> bool:
        if mark not in self._known:
            drawn = _drawn(self.face, mark)
            self._known[mark] = bool(drawn.any()) and not any(np.array_equal(drawn, other) for other in self._absent)
        return self._known[mark]


def _own_font(name: str) -> _Font:
    import cv2

    return _Font(cv2.FontFace(name))


def _font_of(path: Path) -> _Font | None:
    import cv2

    face = cv2.FontFace()
    return _Font(face) if face.set(str(path)) else None


def _tidy(name: str) -> str:
    """Control characters and runs of white space become one space."""
    return " ".join("".join(" " if unicodedata.category(mark) == "Cc" else mark for mark in name).split())


def _shortened(name: str) -> str:
    columns = np.cumsum([2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in name])
    return name if columns[-1] <= _LONGEST else name[: int((columns < _LONGEST).sum())].rstrip() + "…"


def _is_set_otherwise(mark: str) -> bool:
    joined = any(first <= ord(mark) < end for first, end in _JOINED)
    return joined or unicodedata.bidirectional(mark) in _OTHER_ORDER


def _drawn(face: Any, mark: str) -> UInt8:
    import cv2

    pixels = np.zeros((2 * _PROBE, 3 * _PROBE), np.uint8)
    cv2.putText(pixels, mark, (_PROBE // 2, _PROBE + _PROBE // 2), (255,), face, _PROBE, _WEIGHT)
    return pixels
