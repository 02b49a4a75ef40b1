"""Synthetic photographs with exact ground truth.

A scene is a function of its specification, a seed and an index, and of nothing else: not of how many are made, in which
order, or by how many processes.

What counts as ground truth. Boxes enclose the pixels of a thing that can be seen, as in COCO: those that its warped
mask covers by half or more and that nothing in front covers, inside the picture. A thing of which less than 30 % can be
seen, or whose box is narrower than 4 pixels, is there but not asked for: `ignored` here, `iscrowd` in COCO files, where
finding it counts neither for nor against a detector. A thing of which nothing can be seen is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import cv2
import numpy as np
import numpy.typing as npt

from boxmill.demo.camera import Homography, develop, light, viewpoint
from boxmill.demo.glyphs import Atlas
from boxmill.demo.layout import KINDS, Glyphs, Kind, Placement, SceneSpec, compose_layout
from boxmill.demo.stage import Stage, Trace, looks
from boxmill.errors import UsageError
from boxmill.types import Float32, Int32, UInt8

__all__ = ["KINDS", "Glyphs", "Kind", "Scene", "SceneSpec", "check", "generate"]

_MIN_VISIBLE = 0.3  # share of a thing's pixels
_MIN_SIDE = 4  # pixels of its box
_SIDES = (64, 8192)  # pixels; the owner map and the light are made for pictures


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One picture and what is on it; N things, the farthest first."""

    jpeg: bytes  # the picture as a file
    width: int  # pixels
    height: int
    boxes: Float32  # (N, 4) x1, y1, x2, y2 in pixels, whole numbers; x2, y2 lie beyond the last pixel
    classes: Int32  # (N,) places in `classes.CLASSES`
    areas: Int32  # (N,) pixels that can be seen
    visible: Float32  # (N,) these as a share of all pixels of the thing, in (0, 1]
    ignored: npt.NDArray[np.bool_]  # (N,) hardly to be seen: not asked for, and not held against a detector
    unseen: npt.NDArray[np.bool_]  # (N,) shown by a glyph that training never shows
    glyphs: tuple[str, ...]  # N characters

    @property
    def pixels(self) -> UInt8:
        """(h, w, 3) RGB, decoded from the JPEG at every call."""
        return np.asarray(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB))


def check(spec: SceneSpec, seed: int) -> None:
    """Whether scenes can be made of this.

    Raises:
        UsageError: they cannot.
    """
    if seed < 0:
        raise UsageError(f"expected a seed of 0 or more, got {seed}")
    low, high = _SIDES
    if not (low <= spec.width <= high and low <= spec.height <= high):
        raise UsageError(f"expected scenes of {low} to {high} pixels a side, got {spec.width}x{spec.height}")
    if spec.split == "train" and spec.glyphs != "known":
        raise UsageError(
            f"training sees known glyphs only, got {spec.glyphs!r}; ask for split 'held-out' to get the others"
        )


def generate(spec: SceneSpec, seed: int, index: int, atlas: Atlas) -> Scene:
    """Scene number `index` of those that `spec` and `seed` mean.

    Args:
        spec: kind, size in pixels, split, glyphs.
        seed: 0 or more; scenes of one seed, kind or split are independent of those of another.
        index: 0 or more.
        atlas: the glyphs, from `boxmill.demo.glyphs.load_atlas()`.

    Raises:
        UsageError: there can be no such scenes.
    """
    check(spec, seed)
    rng = np.random.default_rng([seed, index, crc32(f"{spec.kind.name} {spec.split}".encode())])
    background, placements = compose_layout(spec, rng, _aspects(atlas))
    view = viewpoint(rng, spec.conditions, spec.height, spec.width)
    size = (spec.width, spec.height)
    seen = view @ background.to_plane
    stage = Stage(np.asarray(cv2.warpPerspective(background.pixels, seen, size, borderMode=cv2.BORDER_REFLECT)))
    traces = _draw(stage, rng, spec, placements, view, atlas)
    canvas = light(stage.canvas, rng, spec.conditions)
    jpeg = develop(canvas, rng, spec.conditions, spec.kind.wear)
    return _scene(jpeg, stage, [(trace, placement) for trace, placement in traces if placement.thing is not None])


def _aspects(atlas: Atlas) -> Callable[[str], float]:
    def aspect(character: str) -> float:
        width, height = atlas[character].size
        return height / max(width, height)

    return aspect


def _draw(
    stage: Stage, rng: np.random.Generator, spec: SceneSpec, placements: list[Placement], view: Homography, atlas: Atlas
) -> list[tuple[Trace, Placement]]:
    """Places everything; clutter hides things but owns its pixels as background."""
    glyphs = [atlas[placement.glyph] for placement in placements]
    drawn = looks(rng, glyphs, placements, spec.conditions.lean, view)
    traces = [stage.place(*row) for row in zip(glyphs, drawn, range(1, len(glyphs) + 1), strict=True)]
    return list(zip(traces, placements, strict=True))


def _scene(jpeg: bytes, stage: Stage, traces: list[tuple[Trace, Placement]]) -> Scene:
    height, width = stage.owner.shape
    seen = [(*stage.visible(trace), trace.whole, placement) for trace, placement in traces]
    seen = [row for row in seen if row[1] > 0]
    boxes = np.array([row[0] for row in seen], np.float32).reshape(-1, 4)
    areas = np.array([row[1] for row in seen], np.int32)
    visible = (areas / np.array([max(row[2], 1) for row in seen], np.int32)).astype(np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf)  # (N,)
    return Scene(
        jpeg,
        width,
        height,
        boxes,
        np.array([row[3].thing for row in seen], np.int32),
        areas,
        visible,
        (visible < _MIN_VISIBLE) | (sides < _MIN_SIDE),
        np.array([row[3].unseen for row in seen], bool),
        tuple(row[3].glyph for row in seen),
    )
