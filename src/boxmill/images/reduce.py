"""How small a JPEG may be decoded: the DCT can give 1/2, 1/4 or 1/8 of its size for a part of the time."""

from __future__ import annotations

from collections.abc import Callable

from boxmill.images.letterbox import geometry
from boxmill.types import InputSpec

__all__ = ["Wanted", "reduction", "wanted_by"]

Wanted = Callable[[tuple[int, int]], tuple[int, int]]  # height, width of an upright image -> the least that will do


def wanted_by(spec: InputSpec, *, rect: bool = False) -> Wanted:
    """The size that a network's input resizes an image to: pixels beyond it only make that resize finer."""

    def wanted(source: tuple[int, int]) -> tuple[int, int]:
        placed = geometry(source, spec, rect=rect)
        sides = zip(source, reversed(placed.scale), placed.resized, strict=True)
        height, width = (max(round(side * scale), resized) for side, scale, resized in sides)
        return height, width

    return wanted


def reduction(source: tuple[int, int], wanted: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 that leaves both sides of `source` (each rounded up) at least as `wanted`."""
    return next((n for n in (8, 4, 2) if all(-(-s // n) >= w for s, w in zip(source, wanted, strict=True))), 1)
