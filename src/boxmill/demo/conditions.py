"""What differs between the scenes a detector is trained on and those it is judged by.

Nothing of the second row is ever seen in training: other backgrounds, light from other sides and of other colours, the
camera turned and tilted further. Ranges of the two do not overlap (a test holds them apart). Glyphs are kept apart in
`classes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from boxmill.demo.classes import CLUTTER, CLUTTER_HELD_OUT, CLUTTER_MORE

__all__ = ["CONDITIONS", "Conditions", "Pattern", "Range", "Split", "Surface"]

Split = Literal["train", "held-out"]
Range = tuple[float, float]
# for training alone, in scenes where much must be told from things
Pattern = Literal[
    "blocks",
    "camouflage",
    "cells",
    "collage",
    "confetti",
    "crosses",
    "hexagons",
    "letters",
    "marble",
    "mazes",
    "network",
    "outlines",
    "plaid",
    "print",
    "ripples",
    "scales",
    "scribbles",
    "terrain",
    "triangles",
]
Surface = Literal[
    Pattern,
    "asphalt",
    "blotches",
    "bricks",
    "checks",
    "dots",
    "gradient",
    "grass",
    "sand",
    "shapes",
    "stripes",
    "wood",
]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where and how the camera stands, what light there is, what lies behind the things. Angles in degrees."""

    tilt: Range  # of the camera off the perpendicular of the scene's plane, to any side
    roll: Range  # of the camera, either way
    turn: Range  # of each thing in the plane, either way
    heading: Range  # of a thing seen from above, either way from the nearest of the four main directions
    lean: Range  # of each thing out of the plane, to any side
    light_from: Range  # direction that the light comes from, 0 right, 90 top
    gradient: Range  # how much brighter the lit side is, share of the mean
    cast_hue: Range  # colour cast, hue
    cast: Range  # its strength, share
    gamma: Range  # of the sensor
    walls: tuple[Surface, ...]  # backgrounds upright: behind shelves, behind a single thing
    floors: tuple[Surface, ...]  # backgrounds from above
    clutter: str  # glyphs that belong to no class
    more_surfaces: tuple[Surface, ...] = ()  # that varied kinds of scenes have as well, upright and from above
    more_clutter: str = ""  # likewise


CONDITIONS: dict[Split, Conditions] = {
    "train": Conditions(
        tilt=(0, 14),
        roll=(0, 6),
        turn=(0, 10),
        heading=(0, 30),
        lean=(0, 18),
        light_from=(20, 160),
        gradient=(0, 0.3),
        cast_hue=(-60, 140),
        cast=(0, 0.12),
        gamma=(0.85, 1.2),
        walls=("blotches", "gradient", "stripes", "shapes", "asphalt"),
        floors=("asphalt", "grass", "blotches", "stripes"),
        clutter=CLUTTER,
        more_surfaces=get_args(Pattern),
        more_clutter=CLUTTER_MORE,
    ),
    "held-out": Conditions(
        tilt=(15, 22),
        roll=(7, 12),
        turn=(11, 16),
        heading=(32, 45),
        lean=(19, 26),
        light_from=(180, 340),
        gradient=(0.31, 0.4),
        cast_hue=(160, 280),
        cast=(0.13, 0.18),
        gamma=(1.22, 1.4),
        walls=("checks", "wood", "bricks", "dots"),
        floors=("sand", "bricks", "wood", "checks"),
        clutter=CLUTTER_HELD_OUT,
    ),
}
