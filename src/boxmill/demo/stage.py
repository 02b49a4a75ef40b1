"""Glyphs drawn into a picture, and which pixels each of them owns: ground truth is made of those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, dist, floor, log2

import cv2
import numpy as np

from boxmill.demo.camera import Homography, planar
from boxmill.demo.conditions import Range
from boxmill.demo.glyphs import Glyph
from boxmill.demo.layout import Placement
from boxmill.types import Float32, UInt8

__all__ = ["Look", "Stage", "Trace", "looks"]

Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How one glyph is drawn."""

    pose: Homography  # from the glyph's pixels, its middle at the origin, to the picture's
    tint: np.ndarray  # (4, 4) float32, new RGBA from old, both with colours multiplied by alpha
    shadow: tuple[float, float, float, float]  # how dark (0 none), shift x and y, blur: the last three in pixels


def looks(
    rng: Rng, glyphs: Sequence[Glyph], placements: Sequence[Placement], lean: Range, view: Homography
) -> list[Look]:
    """How each of N glyphs is drawn at its place.

    All at once: a crowd has hundreds, and small arrays cost more than small pictures.

    Args:
        rng: the scene's generator.
        glyphs: N pictures.
        placements: N places in the scene's plane.
        lean: degrees by which a glyph leans out of that plane.
        view: from the scene's plane to the picture.
    """
    count = len(glyphs)
    extent = np.array([max(glyph.size) for glyph in glyphs], np.float64)  # (N,)
    size = np.array([placement.size for placement in placements])
    turn = np.array([placement.turn for placement in placements])
    poses = planar(np.radians(rng.uniform(*lean, count)), rng.uniform(0, 2 * np.pi, count), turn, 3.0 * extent)
    poses[:, :, 0] *= np.where([placement.mirrored for placement in placements], -1.0, 1.0)[:, None]
    poses[:, :2] *= (size / extent)[:, None, None]
    poses[:, :2] += np.array([placement.centre for placement in placements])[:, :, None] * poses[:, 2:]
    poses, tints, shadows = view @ poses, _tints(rng, count), _shadows(rng, size).tolist()
    return [Look(pose, tint, tuple(shadow)) for pose, tint, shadow in zip(poses, tints, shadows, strict=True)]


def _tints(rng: Rng, count: int) -> Float32:
    """Exposure, colour of the light, saturation and haze of each thing, (N, 4, 4)."""
    saturation = rng.uniform(0.7, 1.15, (count, 1, 1))
    gain = rng.uniform(0.82, 1.1, (count, 1, 1)) * rng.uniform(0.94, 1.06, (count, 3, 1))
    tints = np.zeros((count, 4, 4), np.float32)
    tints[:, :3, :3] = gain * (saturation * np.eye(3) + (1 - saturation) / 3)
    tints[:, :3, 3] = rng.uniform(0, 0.08, (count, 1))
    tints[:, 3, 3] = 1
    return tints


def _shadows(rng: Rng, size: np.ndarray) -> np.ndarray:
    """(N, 4): how dark, shift x and y, blur."""
    count = len(size)
    dark = rng.uniform(0.2, 0.55, count) * (rng.random(count) < 0.7)
    reach = rng.uniform((-0.08, 0.0, 0.015), (0.08, 0.1, 0.06), (count, 3))
    return np.concatenate([dark[:, None], reach * size[:, None]], 1)


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
        whole = cv2.countNonZero(mask.view(np.uint8))
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
        mine = (self.owner[y1:y2, x1:x2] == trace.number).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mine) if mine.size else (0, 0, 0, 0)
        if not width:
            return (0, 0, 0, 0), 0
        return (x1 + left, y1 + top, x1 + left + width, y1 + top + height), cv2.countNonZero(mine)


def _quad(pose: Homography, x: float, y: float) -> list[tuple[float, float]]:
    """Where the four corners of a glyph go that reaches from -x, -y to x, y; in order around it."""
    (a, b, c), (d, e, f), (g, h, i) = pose.tolist()
    seen = []
    for u, v in ((-x, -y), (x, -y), (x, y), (-x, y)):
        depth = g * u + h * v + i
        seen.append(((a * u + b * v + c) / depth, (d * u + e * v + f) / depth))
    return seen


def _warp(glyph: Glyph, pose: Homography) -> tuple[UInt8, int, int]:
    """A glyph as the camera sees it, (h, w, 4) RGBA multiplied by alpha, and the place of its corner in the picture."""
    width, height = glyph.size
    quad = _quad(pose, width / 2, height / 2)
    left, top = (floor(min(axis)) - 1 for axis in zip(*quad, strict=True))
    right, bottom = (ceil(max(axis)) + 1 for axis in zip(*quad, strict=True))
    longest = max(dist(quad[corner], quad[corner - 1]) for corner in range(4))
    level = min(len(glyph.levels) - 1, max(0, floor(log2(max(width, height) / longest))))
    source = glyph.levels[level]
    rows, columns = source.shape[:2]
    # OpenCV's pixel (0, 0) is the middle of the corner pixel, a glyph's origin is the middle of the whole
    x, y = width / columns, height / rows
    to_origin = np.array([[x, 0, (x - width) / 2], [0, y, (y - height) / 2], [0, 0, 1]])
    matrix = pose @ to_origin
    matrix[0] -= (left + 0.5) * matrix[2]
    matrix[1] -= (top + 0.5) * matrix[2]
    return np.asarray(cv2.warpPerspective(source, matrix, (right - left, bottom - top))), left, top
