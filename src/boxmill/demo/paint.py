"""What surfaces are painted with: colours, noise and slopes. Fields are (h, w) uint8, pictures (h, w, 3) uint8 RGB.

Fields are made small and resized wherever they are smooth, which is most of the speed.
"""

from __future__ import annotations

import cv2
import numpy as np

from boxmill.types import UInt8

__all__ = ["Colour", "Rng", "clouds", "grain", "mix", "near", "paint", "pick_colour", "slope"]

Rng = np.random.Generator
Colour = tuple[int, int, int]


def pick_colour(rng: Rng, value: tuple[float, float] = (60, 235), saturation: float = 0.35) -> UInt8:
    """A random colour, (3,), not too vivid: things are."""
    grey = rng.uniform(*value)
    return np.clip(grey * (1 + saturation * rng.uniform(-1, 1, 3)), 0, 255).astype(np.uint8)


def near(rng: Rng, colour: UInt8, spread: float) -> UInt8:
    """A colour that differs from another by up to `spread` levels, mostly in brightness, (3,)."""
    return np.clip(colour + rng.uniform(-1, 1) * spread + rng.uniform(-0.25, 0.25, 3) * spread, 0, 255).astype(np.uint8)


def paint(field: UInt8, *stops: UInt8) -> UInt8:
    """Colours for a field of levels: 0 is the first stop, 255 the last, between them linear."""
    positions = np.linspace(0, 255, len(stops))
    palette = np.stack([np.interp(np.arange(256), positions, [stop[c] for stop in stops]) for c in range(3)], -1)
    return np.asarray(cv2.LUT(cv2.merge([field] * 3), np.rint(palette).astype(np.uint8)[:, None, :]))


def clouds(rng: Rng, height: int, width: int, cell: float) -> UInt8:
    """Smooth blotches of about `cell` pixels."""
    small = rng.integers(0, 256, (int(height / cell) + 2, int(width / cell) + 2), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def grain(rng: Rng, height: int, width: int) -> UInt8:
    """Fine noise, a level for each pixel."""
    return np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width)


def mix(first: UInt8, second: UInt8, share: float) -> UInt8:
    """`share` of the second."""
    return np.asarray(cv2.addWeighted(first, 1 - share, second, share, 0))


def slope(rng: Rng, height: int, width: int) -> np.ndarray:
    """Pixels along a random direction, (h, w) float32."""
    angle = rng.uniform(0, 2 * np.pi)
    x = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle))
    y = np.arange(height, dtype=np.float32) * np.float32(np.sin(angle))
    return x[None, :] + y[:, None]
