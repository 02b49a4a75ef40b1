"""Glyphs drawn into a picture, and which pixels each of them owns: ground truth is made of those."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from boxmill.demo.camera import Homography, planar
from boxmill.demo.glyphs import Glyph
from boxmill.types import UInt8

__all__ = ["Look", "Stage", "Trace", "look"]

Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How one glyph is drawn."""

    pose: Homography  # from the glyph's pixels, its middle at the origin, to the picture's
    tint: np.ndarray  # (4, 4) float32, new RGBA from old, both with colours multiplied by alpha
    shadow: tuple[float, float, float, float]  # how dark (0 none), shift x and y, blur: the last three in pixels


def look(rng: Rng, glyph: Glyph, size: float, turn: float, mirrored: bool, lean: tuple[float, float]) -> Look:
    """A glyph of `size` pixels that is turned (radians) and leans out of the plane by one of a range of degrees."""
    width, height = glyph.size
    scale = size / max(width, height)
    tilt = np.radians(rng.uniform(*lean))
    pose = planar(tilt, rng.uniform(0, 2 * np.pi), turn, 3.0 * max(width, height))
    stretch = np.diag([scale, scale, 1.0]) @ pose @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
    return Look(stretch, _tint(rng), _shadow(rng, size))


def _tint(rng: Rng) -> np.ndarray:
    """Exposure, colour of the light, saturation and haze of one thing."""
    saturation = rng.uniform(0.7, 1.15)
    grey = np.full((3, 3), 1 / 3)
    colours = saturation * np.eye(3) + (1 - saturation) * grey
    gain = rng.uniform(0.82, 1.1) * rng.uniform(0.94, 1.06, 3)
    tint = np.zeros((4, 4), np.float32)
    tint[:3, :3] = gain[:, None] * colours
    tint[:3, 3] = rng.uniform(0, 0.08)
    tint[3, 3] = 1
    return tint


def _shadow(rng: Rng, size: float) -> tuple[float, float, float, float]:
    shift = rng.uniform(-0.08, 0.08), rng.uniform(0.0, 0.1)
    dark = rng.uniform(0.2, 0.55) if rng.random() < 0.7 else 0.0
    return dark, size * shift[0], size * shift[1], size * rng.uniform(0.015, 0.06)


@dataclass(frozen=True, slots=True)
class Trace:
    """What one drawn glyph left in the picture, before others came in front of it."""

    number: int  # its mark in the owner map
    frame: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels: it owns nothing outside
    whole: int  # pixels of it, also those outside the picture


@dataclass(slots=True, eq=False)
class Stage:
    """A picture under construction; things are placed from the back to the front."""

    canvas: UInt8  # (h, w, 3) RGB
    owner: np.ndarray = field(init=False)  # (h, w) int16: whose pixel it is, 0 the background's

    def __post_init__(self) -> None:
        self.owner = np.zeros(self.canvas.shape[:2], np.int16)

    def place(self, glyph: Glyph, drawn: Look, number: int) -> Trace:
        """Draws a glyph; pixels that it covers by half or more become those of `number`."""
        patch, left, top = _warp(glyph, drawn.pose)
        mask = patch[:, :, 3] >= 128
        whole = int(np.count_nonzero(mask))
        if drawn.shadow[0]:
            self._darken(patch[:, :, 3], left, top, drawn.shadow)
        inside, frame = self._clip(patch, left, top)
        x1, y1, x2, y2 = frame
        if x1 >= x2 or y1 >= y2:
            return Trace(number, frame, whole)
        tinted = cv2.transform(inside, drawn.tint)
        behind = self.canvas[y1:y2, x1:x2]
        alpha = np.ascontiguousarray(inside[:, :, 3])
        through = cv2.multiply(behind, cv2.cvtColor(255 - alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
        behind[:] = cv2.add(through, cv2.cvtColor(tinted, cv2.COLOR_RGBA2RGB))
        self.owner[y1:y2, x1:x2][alpha >= 128] = number
        return Trace(number, frame, whole)

    def _clip(self, patch: UInt8, left: int, top: int) -> tuple[UInt8, tuple[int, int, int, int]]:
        """The part of a patch inside the picture, and where that is."""
        height, width = self.canvas.shape[:2]
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + patch.shape[1], width), min(top + patch.shape[0], height)
        if x1 >= x2 or y1 >= y2:
            return patch[:0, :0], (0, 0, 0, 0)
        return patch[y1 - top : y2 - top, x1 - left : x2 - left], (x1, y1, x2, y2)

    def _darken(self, alpha: UInt8, left: int, top: int, shadow: tuple[float, float, float, float]) -> None:
        dark, dx, dy, blur = shadow
        margin = int(3 * blur) + 1
        soft = cv2.copyMakeBorder(alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
        soft = cv2.GaussianBlur(soft, (0, 0), blur + 0.1)
        inside, (x1, y1, x2, y2) = self._clip(np.asarray(soft), left - margin + round(dx), top - margin + round(dy))
        if x1 < x2 and y1 < y2:
            rest = cv2.convertScaleAbs(inside, alpha=-dark, beta=255)
            ground = self.canvas[y1:y2, x1:x2]
            ground[:] = cv2.multiply(ground, cv2.cvtColor(rest, cv2.COLOR_GRAY2RGB), scale=1 / 255)

    def visible(self, trace: Trace) -> tuple[tuple[int, int, int, int], int]:
        """The tight box of the pixels that a thing still owns (x1, y1, x2, y2, the last two beyond), and how many."""
        x1, y1, x2, y2 = trace.frame
        mine = self.owner[y1:y2, x1:x2] == trace.number
        columns, rows = np.flatnonzero(mine.any(0)), np.flatnonzero(mine.any(1))
        if not len(rows):
            return (0, 0, 0, 0), 0
        box = (x1 + int(columns[0]), y1 + int(rows[0]), x1 + int(columns[-1]) + 1, y1 + int(rows[-1]) + 1)
        return box, int(np.count_nonzero(mine))


def _warp(glyph: Glyph, pose: Homography) -> tuple[UInt8, int, int]:
    """A glyph as the camera sees it, (h, w, 4) RGBA multiplied by alpha, and the place of its corner in the picture."""
    width, height = glyph.size
    corners = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1], [2, 2, 2, 2]]) * np.array([[width], [height], [1]]) / 2
    seen = pose @ corners  # (3, 4)
    quad = seen[:2] / seen[2]
    left, top = (int(v) for v in np.floor(quad.min(1)) - 1)
    right, bottom = (int(v) for v in np.ceil(quad.max(1)) + 1)
    longest = np.hypot(*(quad - np.roll(quad, 1, 1))).max()
    level = min(len(glyph.levels) - 1, max(0, int(np.floor(np.log2(max(width, height) / longest)))))
    source = glyph.levels[level]
    rows, columns = source.shape[:2]
    # OpenCV's pixel (0, 0) is the middle of the corner pixel, a glyph's origin is the middle of the whole
    x, y = width / columns, height / rows
    to_origin = np.array([[x, 0, (x - width) / 2], [0, y, (y - height) / 2], [0, 0, 1]])
    from_corner = np.array([[1, 0, -left - 0.5], [0, 1, -top - 0.5], [0, 0, 1]])
    matrix = from_corner @ pose @ to_origin
    return np.asarray(cv2.warpPerspective(source, matrix, (right - left, bottom - top))), left, top
