"""Glyphs of our own, for tests that need no font: a shape and a colour that follow from the character."""

from __future__ import annotations

import cv2
import numpy as np

from boxmill.demo.glyphs import Atlas, every_glyph


def bitmap(character: str) -> np.ndarray:
    number = ord(character)
    width, height = 40 + number % 31, 40 + number // 31 % 31
    rgba = np.zeros((height + 8, width + 6, 4), np.uint8)  # with an empty margin, as in a font
    colour = (60 + number * 7 % 190, 60 + number * 13 % 190, 60 + number * 29 % 190, 255)
    if number % 3 == 0:
        cv2.ellipse(rgba, ((width + 6) // 2, (height + 8) // 2), (width // 2, height // 2), 0, 0, 360, colour, -1)
    elif number % 3 == 1:
        rgba[4:-4, 3:-3] = colour
    else:
        cv2.fillPoly(rgba, [np.array([[3, height + 3], [width + 2, height + 3], [width // 2, 4]])], colour)
    return rgba


def atlas() -> Atlas:
    return Atlas.from_bitmaps({character: bitmap(character) for character in every_glyph()})
