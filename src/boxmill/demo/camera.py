"""Light, lens and sensor: what happens to a scene between the things and the file."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import ArrayLike

from boxmill.demo.conditions import Conditions
from boxmill.types import UInt8

__all__ = ["Homography", "Wear", "develop", "light", "planar", "viewpoint"]

Rng = np.random.Generator
Homography = np.ndarray  # (3, 3) float64, maps (x, y, 1) pixels

_COARSE = 16  # pixels of the picture for one of the light's


@dataclass(frozen=True, slots=True)
class Wear:
    """How much a lens and a sensor may take from a picture whose short side has 640 pixels."""

    blur: float = 1.1  # sigma, pixels
    motion: float = 6.0  # pixels
    noise: float = 7.0  # sigma, levels
    quality: tuple[int, int] = (40, 95)  # of the JPEG


def planar(tilt: ArrayLike, axis: ArrayLike, turn: ArrayLike, focal: ArrayLike) -> Homography:
    """How a plane through the origin looks when it is turned and then tilted; angles in radians, focal in pixels.

    The pinhole camera of Hartley and Zisserman, "Multiple View Geometry", section 8.1: with the plane at Z = 0, the
    homography is K [r1 r2 t], here scaled so that the origin keeps its place and its neighbourhood its size. The
    rotation is about z by `turn` and then about `axis`, a direction in the plane, by `tilt`.

    Arguments are numbers or (N,) arrays; the result is (3, 3) or (N, 3, 3).
    """
    tilt, axis, turn, focal = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (tilt, axis, turn, focal)))
    c, s, ct, st = np.cos(axis), np.sin(axis), np.cos(tilt), np.sin(tilt)
    cb, sb = np.cos(turn - axis), np.sin(turn - axis)
    zero, one = np.zeros_like(tilt), np.ones_like(tilt)
    rows = (
        (c * cb - s * ct * sb, -c * sb - s * ct * cb, zero),
        (s * cb + c * ct * sb, -s * sb + c * ct * cb, zero),
        (st * sb / focal, st * cb / focal, one),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def viewpoint(rng: Rng, conditions: Conditions, height: int, width: int) -> Homography:
    """Maps the scene's plane, in pixels, into the picture of a camera that stands somewhere within `conditions`."""
    tilt, roll = np.radians(rng.uniform(*conditions.tilt)), np.radians(rng.uniform(*conditions.roll))
    roll *= rng.choice([-1, 1])
    view = planar(tilt, rng.uniform(0, 2 * np.pi), roll, 1.2 * max(height, width))
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    return np.asarray(centre @ view @ np.linalg.inv(centre))


def light(canvas: UInt8, rng: Rng, conditions: Conditions) -> UInt8:
    """Brightness that falls off to one side and the corners, a colour cast, shadows of things out of sight."""
    height, width = canvas.shape[:2]
    rows, columns = height // _COARSE + 2, width // _COARSE + 2
    x, y = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))  # (rows, columns)
    source = np.radians(rng.uniform(*conditions.light_from))
    gain = 1 + rng.uniform(*conditions.gradient) * (x * np.cos(source) - y * np.sin(source))
    gain *= rng.uniform(0.9, 1.2) * (1 - rng.uniform(0, 0.2) * (x**2 + y**2) / 2)
    if rng.random() < 0.4:
        gain *= _far_shadow(rng, rows, columns)
    hue = np.radians(rng.uniform(*conditions.cast_hue) - np.array([0, 120, 240]))
    cast = 1 + rng.uniform(*conditions.cast) * np.cos(hue)  # (3,) red, green, blue
    coarse = (gain[:, :, None] * cast).astype(np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(canvas, fine, dtype=cv2.CV_8U))


def _far_shadow(rng: Rng, rows: int, columns: int) -> np.ndarray:
    """Soft bars or a soft edge, as of a window or a passer-by; (rows, columns) float64 factors."""
    mask = np.ones((rows, columns), np.float32)
    size = np.array([columns, rows])
    direction = rng.uniform(-1, 1, 2)
    for _ in range(int(rng.integers(1, 4))):
        start = rng.uniform(0, 1, 2) * size
        side = np.array([-direction[1], direction[0]]) * size * rng.uniform(0.1, 0.3)
        far = direction * size * 2
        quad = np.array([start - far, start + far, start + far + side, start - far + side])
        cv2.fillPoly(mask, [quad.astype(np.int32)], float(rng.uniform(0.6, 0.85)))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 2.5)))).astype(np.float64)


def develop(canvas: UInt8, rng: Rng, conditions: Conditions, wear: Wear) -> bytes:
    """Blur, gamma, noise and compression: the bytes of a JPEG file. The same bytes for any number of OpenCV threads."""
    scale = min(canvas.shape[:2]) / 640
    if rng.random() < 0.4:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.3, wear.blur)) * scale + 1e-3))
    elif rng.random() < 0.25:
        canvas = _motion(canvas, rng.uniform(2, wear.motion) * scale, rng.uniform(0, np.pi))
    levels = np.arange(256) / 255
    table = np.rint(255 * levels ** rng.uniform(*conditions.gamma)).astype(np.uint8)
    canvas = _noisy(np.asarray(cv2.LUT(canvas, table)), rng, float(rng.uniform(0, wear.noise)))
    quality = int(rng.integers(wear.quality[0], wear.quality[1] + 1))
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return bytes(data)


def _motion(canvas: UInt8, length: float, angle: float) -> UInt8:
    side = 2 * int(length / 2 + 1) + 1
    kernel = np.zeros((side, side), np.float32)
    middle, reach = side // 2, length / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (np.rint(middle + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1)
    return np.asarray(cv2.filter2D(canvas, -1, kernel / kernel.sum()))


def _noisy(canvas: UInt8, rng: Rng, sigma: float) -> UInt8:
    """Adds rounded normal noise, from one random byte a level: a byte's rank among 256 gives the quantile."""
    if sigma < 0.5:
        return canvas
    normal = NormalDist(0, sigma)
    quantiles = np.rint([normal.inv_cdf((rank + 0.5) / 256) for rank in range(256)]) + 128
    offsets = cv2.LUT(np.frombuffer(rng.bytes(canvas.size), np.uint8).reshape(canvas.shape), quantiles.astype(np.uint8))
    return np.asarray(cv2.addWeighted(canvas, 1, offsets, 1, -128))
