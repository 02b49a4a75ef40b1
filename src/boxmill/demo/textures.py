"""Backgrounds: procedural surfaces, shelves and roads. All (h, w, 3) uint8 RGB; scales follow the short side.

Most surfaces are a field, (h, w) uint8, painted through a palette of a few colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from boxmill.demo.conditions import Surface
from boxmill.demo.paint import Colour, Rng, clouds, grain, mix, near, paint, pick_colour, slope
from boxmill.demo.patterns import PATTERNS
from boxmill.types import UInt8

__all__ = ["Backdrop", "boards", "roads", "surface"]

_MARGIN = 0.15  # of the picture's long side; the corners of the most turned and tilted view lie within
_DENSITY = 0.75  # pixels of a backdrop for one of the plane: with its margin it is then about as large as the picture


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """A painted plane that reaches beyond the picture, so that a camera that is turned and tilted still sees it."""

    pixels: UInt8  # (h, w, 3) RGB
    margin: float  # how far it reaches beyond the picture's plane on each side, pixels of the plane

    @property
    def to_plane(self) -> np.ndarray:
        """(3, 3) homography from its own pixels to those of the plane."""
        return np.array([[1 / _DENSITY, 0, -self.margin], [0, 1 / _DENSITY, -self.margin], [0, 0, 1]])


def surface(kind: Surface, rng: Rng, height: int, width: int) -> Backdrop:
    """A background of this kind for a picture of this size."""
    margin = _MARGIN * max(height, width)
    rows, columns = (int((side + 2 * margin) * _DENSITY) + 1 for side in (height, width))
    return Backdrop(_SURFACES[kind](rng, rows, columns), margin)


def _blotches(rng: Rng, height: int, width: int) -> UInt8:
    base = pick_colour(rng)
    field = mix(clouds(rng, height, width, min(height, width) / rng.uniform(3, 12)), grain(rng, height, width), 0.12)
    return paint(field, near(rng, base, 60), base, near(rng, base, 60))


def _gradient(rng: Rng, height: int, width: int) -> UInt8:
    ramp = slope(rng, height, width)
    low, high = float(ramp.min()), float(ramp.max())
    field = ((ramp - low) * (255 / (high - low))).astype(np.uint8)
    return paint(field, *(pick_colour(rng) for _ in range(int(rng.integers(2, 4)))))


def _stripes(rng: Rng, height: int, width: int) -> UInt8:
    period = min(height, width) * rng.uniform(0.03, 0.16)
    wave = np.sin(slope(rng, height, width) * np.float32(2 * np.pi / period))
    sharp = float(rng.choice([1.0, 8.0]))
    field = np.clip(wave * (127 * sharp) + 127.5, 0, 255).astype(np.uint8)
    base = pick_colour(rng)
    return paint(field, base, near(rng, base, 90))


def _shapes(rng: Rng, height: int, width: int) -> UInt8:
    """Discs, triangles, bars and lines of many colours, as in a poster."""
    canvas = _blotches(rng, height, width)
    short = min(height, width)
    for _ in range(int(rng.integers(10, 40))):
        colour: Colour = tuple(int(level) for level in pick_colour(rng, (30, 240), 0.7))  # type: ignore[assignment]
        centre = rng.uniform((0, 0), (width, height))
        reach = short * float(np.exp(rng.uniform(np.log(0.02), np.log(0.22))))
        corners = centre + rng.uniform(-reach, reach, (int(rng.integers(3, 6)), 2))
        if rng.random() < 0.3:
            middle = (int(centre[0]), int(centre[1]))
            cv2.circle(canvas, middle, int(reach) + 1, colour, int(rng.choice([-1, 2, 5])), cv2.LINE_AA)
        elif rng.random() < 0.4:
            start, end = corners[0].astype(int).tolist(), corners[1].astype(int).tolist()
            cv2.line(canvas, start, end, colour, int(rng.integers(1, 8)), cv2.LINE_AA)
        else:
            cv2.fillPoly(canvas, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    return canvas


def _asphalt(rng: Rng, height: int, width: int) -> UInt8:
    stones = np.asarray(cv2.blur(grain(rng, height, width), (2, 2)), np.uint8)
    field = mix(stones, clouds(rng, height, width, min(height, width) / rng.uniform(3, 9)), 0.4)
    base = pick_colour(rng, (60, 150), 0.08)
    return paint(field, near(rng, base, 10) // 2, base, near(rng, base, 20))


def _grass(rng: Rng, height: int, width: int) -> UInt8:
    blades = np.asarray(cv2.blur(grain(rng, height, width), (2, max(3, min(height, width) // 90))), np.uint8)
    blades = np.asarray(cv2.convertScaleAbs(blades, alpha=2.2, beta=-150), np.uint8)
    field = mix(blades, clouds(rng, height, width, min(height, width) / rng.uniform(3, 10)), 0.45)
    green = np.array([rng.uniform(40, 110), rng.uniform(95, 150), rng.uniform(25, 60)])
    return paint(field, (green * 0.5).astype(np.uint8), green.astype(np.uint8), (green * 1.45).astype(np.uint8))


def _sand(rng: Rng, height: int, width: int) -> UInt8:
    period = min(height, width) * rng.uniform(0.02, 0.06)
    phase = slope(rng, height, width) + clouds(rng, height, width, period * 4) * np.float32(period / 90)
    ripples = (np.sin(phase * np.float32(2 * np.pi / period)) * 60 + 127).astype(np.uint8)
    base = np.array([rng.uniform(190, 225), rng.uniform(165, 195), rng.uniform(115, 150)])
    field = mix(ripples, grain(rng, height, width), 0.35)
    return paint(field, (base * 0.78).astype(np.uint8), (base * 1.12).clip(0, 255).astype(np.uint8))


def _checks(rng: Rng, height: int, width: int) -> UInt8:
    side = max(4, int(min(height, width) * rng.uniform(0.04, 0.16)))
    x, y = np.arange(width) // side, np.arange(height) // side
    field = (((x[None, :] + y[:, None]) & 1) * 200).astype(np.uint8)
    base = pick_colour(rng)
    return paint(mix(field, clouds(rng, height, width, side * 2.5), 0.2), base, near(rng, base, 80))


def _dots(rng: Rng, height: int, width: int) -> UInt8:
    period = max(8, int(min(height, width) * rng.uniform(0.03, 0.09)))
    tile = np.zeros((period, period), np.uint8)
    cv2.circle(tile, (period // 2, period // 2), max(1, int(period * rng.uniform(0.12, 0.3))), 220, -1, cv2.LINE_AA)
    field = np.tile(tile, (height // period + 1, width // period + 1))[:height, :width]
    base = pick_colour(rng)
    return paint(mix(field, clouds(rng, height, width, period * 3), 0.15), base, near(rng, base, 90))


def _wood(rng: Rng, height: int, width: int) -> UInt8:
    """Planks that run along the picture, each with its own tone and streaks."""
    board = max(8, int(min(height, width) * rng.uniform(0.08, 0.22)))
    planks = height // board + 1
    streaks = rng.integers(60, 196, (height // 2 + 1, max(2, width // 64)), dtype=np.uint8)
    field = np.asarray(cv2.resize(streaks, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    tones = np.repeat(rng.integers(60, 200, planks, dtype=np.uint8), board)[:height]
    field = mix(field, np.repeat(tones[:, None], width, 1), 0.5)
    seam = np.arange(0, height, board)
    field[seam] = field[np.minimum(seam + 1, height - 1)] = 10
    brown = np.array([rng.uniform(120, 200), rng.uniform(80, 130), rng.uniform(40, 85)])
    return paint(field, (brown * 0.4).astype(np.uint8), brown.astype(np.uint8), (brown * 1.25).astype(np.uint8))


def _bricks(rng: Rng, height: int, width: int) -> UInt8:
    """Bricks or paving, each with its own tone, in courses that are shifted by half."""
    tall = max(6, int(min(height, width) * rng.uniform(0.03, 0.08)))
    wide, joint = int(tall * rng.uniform(1.6, 2.6)), max(1, tall // 9)
    y = np.arange(height)
    course = y // tall
    x = np.arange(width)[None, :] + ((course & 1) * (wide // 2))[:, None]  # (h, w)
    tones = rng.integers(70, 230, (height // tall + 1, (width + wide) // wide + 1), dtype=np.uint8)
    field = tones[course[:, None], x // wide]
    field = mix(field, grain(rng, height, width), 0.2)
    field[(x % wide < joint) | (y % tall < joint)[:, None]] = 0
    base = pick_colour(rng, (90, 190), 0.3)
    return paint(field, near(rng, base, 50) // 2, base, near(rng, base, 40))


_SURFACES: dict[Surface, Callable[[Rng, int, int], UInt8]] = {
    **PATTERNS,
    "asphalt": _asphalt,
    "blotches": _blotches,
    "bricks": _bricks,
    "checks": _checks,
    "dots": _dots,
    "grass": _grass,
    "gradient": _gradient,
    "sand": _sand,
    "shapes": _shapes,
    "stripes": _stripes,
    "wood": _wood,
}


def boards(backdrop: Backdrop, rng: Rng, tops: list[float]) -> None:
    """Draws shelf boards: their upper edges lie at `tops`, pixels of the plane, and a shadow below each."""
    canvas = backdrop.pixels
    height, width = canvas.shape[:2]
    thick = max(3, int(min(height, width) * rng.uniform(0.015, 0.04)))
    colour = pick_colour(rng, (70, 240), 0.25)
    for top in tops:
        y = int((top + backdrop.margin) * _DENSITY)
        below = canvas[y + thick : y + 3 * thick]
        fade = np.linspace(0.55, 1, max(len(below), 1), dtype=np.float32)[: len(below), None, None]
        below[:] = (below * fade).astype(np.uint8)
        canvas[y : y + thick] = colour
        canvas[y : y + max(1, thick // 4)] = np.minimum(colour + 30.0, 255).astype(np.uint8)


def roads(backdrop: Backdrop, rng: Rng) -> None:
    """Draws one to three roads with markings, as seen from above."""
    canvas = backdrop.pixels
    height, width = canvas.shape[:2]
    short = min(height, width)
    for _ in range(int(rng.integers(1, 4))):
        grey = tuple(int(level) for level in pick_colour(rng, (60, 120), 0.05))
        broad = int(short * rng.uniform(0.1, 0.2))
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4, 2) * (width, height)
        along = np.array([np.cos(angle), np.sin(angle)])
        middle = np.array([width / 2, height / 2]) + offset
        ends = [tuple(int(v) for v in middle + along * reach) for reach in (-2.0 * width, 2.0 * width)]
        cv2.line(canvas, ends[0], ends[1], grey, broad, cv2.LINE_AA)
        dash = short * rng.uniform(0.03, 0.06)
        for step in np.arange(-1.2 * width, 1.2 * width, 2 * dash):
            start, end = middle + along * step, middle + along * (step + dash)
            line = [tuple(int(v) for v in point) for point in (start, end)]
            cv2.line(canvas, line[0], line[1], (225, 225, 215), max(1, broad // 25), cv2.LINE_AA)
