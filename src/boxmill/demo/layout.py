"""Where things stand in a scene, before any camera looks at it: the seven kinds of scenes.

Positions and sizes are pixels in the scene's plane, which has the shape of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from boxmill.demo.camera import Wear
from boxmill.demo.classes import CLASSES, LETTERED, Group
from boxmill.demo.conditions import CONDITIONS, Conditions, Range, Split, Surface
from boxmill.demo.textures import Backdrop, boards, roads, surface

__all__ = ["KINDS", "Glyphs", "Kind", "Placement", "SceneSpec", "compose_layout"]

Rng = np.random.Generator
Glyphs = Literal["known", "unseen", "all"]
Plan = tuple[Backdrop, list["Placement"]]

_SHOP: tuple[Group, ...] = ("clothing", "electronics", "home", "food")
_STREET: tuple[Group, ...] = ("person", "vehicle", "animal")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of scene shows. Counts are for a square picture; a wider one has more room and gets more."""

    name: str
    groups: tuple[Group, ...]
    count: tuple[int, int]
    sizes: Range  # longer side of a thing, share of the picture's short side, log-uniform
    wear: Wear = field(default_factory=Wear)
    varied: bool = False  # more backgrounds and more clutter, where the split has them


KINDS: dict[str, Kind] = {
    "single": Kind("single", (*_SHOP, *_STREET), (1, 1), (0.25, 0.6)),
    "shop": Kind("shop", _SHOP, (5, 15), (0.14, 0.28)),
    "crowd": Kind("crowd", _STREET, (120, 240), (0.035, 0.1), Wear(0.8, 4.0, 6.0, (50, 95))),
    "aerial": Kind("aerial", ("person", "vehicle"), (60, 200), (0.022, 0.05), Wear(0.6, 2.5, 5.0, (60, 95))),
    "medley": Kind("medley", (*_SHOP, *_STREET), (1, 15), (0.07, 0.7), varied=True),
    "scatter": Kind("scatter", _STREET, (60, 200), (0.022, 0.08), Wear(0.6, 2.5, 5.0, (50, 95)), varied=True),
    "jumble": Kind("jumble", (*_SHOP, *_STREET), (25, 50), (0.05, 0.3)),
}


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """What scenes are wanted. `glyphs`: only those of training, only those kept from it, or all of them."""

    kind: Kind
    width: int = 640  # pixels
    height: int = 640
    split: Split = "train"
    glyphs: Glyphs = "known"

    @property
    def conditions(self) -> Conditions:
        """What the split allows."""
        return CONDITIONS[self.split]

    @property
    def walls(self) -> tuple[Surface, ...]:
        """Upright backgrounds that the scene may have."""
        return self.conditions.walls + self._more_surfaces

    @property
    def floors(self) -> tuple[Surface, ...]:
        """Backgrounds from above that the scene may have."""
        return self.conditions.floors + self._more_surfaces

    @property
    def _more_surfaces(self) -> tuple[Surface, ...]:
        return self.conditions.more_surfaces if self.kind.varied else ()

    @property
    def clutter(self) -> str:
        """Glyphs of no class that the scene may have."""
        return self.conditions.clutter + (self.conditions.more_clutter if self.kind.varied else "")

    @property
    def short(self) -> int:
        """Short side, pixels."""
        return min(self.width, self.height)


@dataclass(frozen=True, slots=True)
class Placement:
    """One glyph in the plane."""

    glyph: str
    thing: int | None  # class id; None for clutter
    unseen: bool  # whether training never shows this glyph
    centre: tuple[float, float]  # pixels
    size: float  # longer side, pixels
    turn: float  # radians
    mirrored: bool


def compose_layout(spec: SceneSpec, rng: Rng, aspects: Callable[[str], float]) -> Plan:
    """The background and what stands on it, the farthest first.

    Args:
        spec: what is wanted.
        rng: the scene's own generator.
        aspects: height of a glyph as a share of its longer side, for things that stand on a shelf.
    """
    if spec.kind.name == "shop" and rng.random() < 0.75:
        return _shelves(spec, rng, aspects)
    return _LAYOUTS[spec.kind.name](spec, rng)


def _choose(spec: SceneSpec, rng: Rng, groups: Sequence[Group], count: int) -> list[tuple[str, int, bool]]:
    """Draws `count` things: glyph, class id, whether training never shows it. All classes alike, persons more."""
    ids = [
        number
        for number, thing in enumerate(CLASSES)
        if thing.group in groups and (spec.glyphs != "unseen" or thing.held_out)
    ]
    weights = np.array([4.0 if CLASSES[number].group == "person" and spec.kind.count[1] > 1 else 1.0 for number in ids])
    chosen = []
    for number in rng.choice(ids, count, p=weights / weights.sum()):
        thing = CLASSES[number]
        shown = {"known": thing.glyphs, "unseen": thing.held_out, "all": thing.glyphs + thing.held_out}[spec.glyphs]
        glyph = shown[int(rng.integers(len(shown)))]
        chosen.append((glyph, int(number), glyph in thing.held_out))
    return chosen


def _count(spec: SceneSpec, rng: Rng) -> int:
    low, high = spec.kind.count
    drawn = int(rng.integers(low, high + 1))
    return round(drawn * spec.width * spec.height / spec.short**2) if low > 15 else drawn


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _turn(rng: Rng, limits: Range) -> float:
    """Radians, either way."""
    return float(np.radians(rng.uniform(*limits)) * rng.choice([-1, 1]))


def _mirrored(rng: Rng, glyph: str) -> bool:
    return bool(rng.random() < 0.5) and glyph not in LETTERED


def _clutter(spec: SceneSpec, rng: Rng, count: int, sizes: Range) -> list[Placement]:
    """Glyphs of no class, anywhere; `sizes` as shares of the short side."""
    allowed = spec.clutter
    return [
        Placement(
            allowed[int(rng.integers(len(allowed)))],
            None,
            False,
            (rng.uniform(0, spec.width), rng.uniform(0, spec.height)),
            spec.short * _log_uniform(rng, *sizes),
            rng.uniform(0, 2 * np.pi),
            bool(rng.random() < 0.5),
        )
        for _ in range(count)
    ]


def _wall(spec: SceneSpec, rng: Rng) -> Backdrop:
    walls = spec.walls
    return surface(walls[int(rng.integers(len(walls)))], rng, spec.height, spec.width)


def _floor(spec: SceneSpec, rng: Rng) -> Backdrop:
    floors = spec.floors
    return surface(floors[int(rng.integers(len(floors)))], rng, spec.height, spec.width)


def _single(spec: SceneSpec, rng: Rng) -> Plan:
    """One thing among clutter, some of which may hide a corner of it."""
    canvas = _wall(spec, rng) if rng.random() < 0.7 else _floor(spec, rng)
    size = spec.short * _log_uniform(rng, *spec.kind.sizes)
    ((glyph, number, unseen),) = _choose(spec, rng, spec.kind.groups, 1)
    x, y = (float(rng.uniform(size * 0.55, side - size * 0.55)) for side in (spec.width, spec.height))
    turn = _turn(rng, spec.conditions.turn)
    behind = _clutter(spec, rng, int(rng.integers(2, 14)), (0.06, 0.2))
    before = _clutter(spec, rng, int(rng.integers(0, 3)), (0.05, 0.14))
    return canvas, [*behind, Placement(glyph, number, unseen, (x, y), size, turn, _mirrored(rng, glyph)), *before]


def _shelves(spec: SceneSpec, rng: Rng, aspects: Callable[[str], float]) -> Plan:
    """Goods that stand on boards, most of them from one department."""
    canvas = _wall(spec, rng)
    rows = int(rng.integers(2, 4))
    pitch = spec.height / rows
    tops = [pitch * (row + 0.9) for row in range(rows)]
    boards(canvas, rng, tops)
    groups = spec.kind.groups if rng.random() < 0.4 else (spec.kind.groups[int(rng.integers(len(spec.kind.groups)))],)
    goods = _choose(spec, rng, groups, _count(spec, rng))
    slots = -(-len(goods) // rows)
    stride = spec.width / slots
    limit = min(pitch * 0.8, stride * 1.25)  # neighbours may cover a part of each other
    places = rng.permutation(rows * slots)[: len(goods)]
    standing = []
    for (glyph, number, unseen), place in zip(goods, places, strict=True):
        size = min(spec.short * _log_uniform(rng, *spec.kind.sizes), limit)
        x = (place % slots + 0.5 + rng.uniform(-0.22, 0.22)) * stride
        y = tops[place // slots] - size * aspects(glyph) / 2
        turn = _turn(rng, spec.conditions.turn) * 0.5
        standing.append(Placement(glyph, number, unseen, (x, y), size, turn, _mirrored(rng, glyph)))
    extra = _clutter(spec, rng, int(rng.integers(0, 4)), (0.06, 0.12))
    return canvas, [*extra, *standing]


def _counter(spec: SceneSpec, rng: Rng) -> Plan:
    """Goods that lie about, as on a table."""
    canvas = _wall(spec, rng)
    goods = _choose(spec, rng, spec.kind.groups, _count(spec, rng))
    lying = []
    for (glyph, number, unseen), (x, y) in zip(goods, _scattered(spec, rng, len(goods)), strict=True):
        size = spec.short * _log_uniform(rng, *spec.kind.sizes)
        turn = _turn(rng, spec.conditions.turn) * 2
        lying.append(Placement(glyph, number, unseen, (x, y), size, turn, _mirrored(rng, glyph)))
    return canvas, [*_clutter(spec, rng, int(rng.integers(0, 8)), (0.05, 0.12)), *lying]


def _scattered(spec: SceneSpec, rng: Rng, count: int) -> np.ndarray:
    """Positions spread over the picture without clumps: jittered cells of a grid, in random order, (count, 2)."""
    columns = max(1, round((count * 1.25 * spec.width / spec.height) ** 0.5))
    rows = -(-count * 5 // (4 * columns))
    cells = rng.permutation(rows * columns)[:count]
    offsets = rng.uniform(0.2, 0.8, (count, 2))
    x, y = cells % columns + offsets[:, 0], cells // columns + offsets[:, 1]
    return np.stack([x * spec.width / columns, y * spec.height / rows], 1)


def _crowd(spec: SceneSpec, rng: Rng) -> Plan:
    """People, animals and vehicles in a square; the farther up, the smaller; the nearer hide the farther."""
    canvas = _floor(spec, rng)
    crowd = _choose(spec, rng, spec.kind.groups, _count(spec, rng))
    spots = _scattered(spec, rng, len(crowd))
    spots = spots[np.argsort(spots[:, 1], kind="stable")]
    low, high = (spec.short * share for share in spec.kind.sizes)
    standing = []
    for (glyph, number, unseen), (x, y) in zip(crowd, spots, strict=True):
        size = (low + (high - low) * (y / spec.height) ** 1.3) * rng.uniform(0.85, 1.15)
        turn = _turn(rng, spec.conditions.turn) * 0.6
        standing.append(Placement(glyph, number, unseen, (x, y), size, turn, _mirrored(rng, glyph)))
    return canvas, [*_clutter(spec, rng, int(rng.integers(4, 20)), (0.03, 0.09)), *standing]


def _aerial(spec: SceneSpec, rng: Rng) -> Plan:
    """Small things from above, heading anywhere, on open ground with roads."""
    canvas = _floor(spec, rng)
    if rng.random() < 0.7:
        roads(canvas, rng)
    seen = _choose(spec, rng, spec.kind.groups, _count(spec, rng))
    flying = []
    for (glyph, number, unseen), (x, y) in zip(seen, _scattered(spec, rng, len(seen)), strict=True):
        size = spec.short * _log_uniform(rng, *spec.kind.sizes)
        turn = np.pi / 2 * rng.integers(4) + _turn(rng, spec.conditions.heading)
        flying.append(Placement(glyph, number, unseen, (x, y), size, float(turn), _mirrored(rng, glyph)))
    return canvas, [*_clutter(spec, rng, int(rng.integers(5, 30)), (0.02, 0.07)), *flying]


def _jumble(spec: SceneSpec, rng: Rng) -> Plan:
    """Things of every kind and size in one heap, the smaller on the larger: the most to learn from one picture."""
    canvas, heap = _heap(spec, rng, upright=0.5)
    return canvas, [*_clutter(spec, rng, int(rng.integers(0, 10)), (0.05, 0.15)), *heap]


def _medley(spec: SceneSpec, rng: Rng) -> Plan:
    """A few things, up to very large ones, among much that is none of them."""
    canvas, heap = _heap(spec, rng, upright=0.75)
    behind = _clutter(spec, rng, int(rng.integers(8, 30)), (0.05, 0.3))
    return canvas, [*behind, *heap, *_clutter(spec, rng, int(rng.integers(0, 6)), (0.05, 0.15))]


def _heap(spec: SceneSpec, rng: Rng, upright: float) -> Plan:
    """Things anywhere, the smaller on the larger; `upright`: how often the background is a wall."""
    canvas = _wall(spec, rng) if rng.random() < upright else _floor(spec, rng)
    things = _choose(spec, rng, spec.kind.groups, _count(spec, rng))
    sizes = sorted((spec.short * _log_uniform(rng, *spec.kind.sizes) for _ in things), reverse=True)
    heap = []
    for (glyph, number, unseen), (x, y), size in zip(things, _scattered(spec, rng, len(things)), sizes, strict=True):
        turn = _turn(rng, spec.conditions.turn) * 2
        heap.append(Placement(glyph, number, unseen, (x, y), size, turn, _mirrored(rng, glyph)))
    return canvas, heap


_LAYOUTS: dict[str, Callable[[SceneSpec, Rng], Plan]] = {
    "single": _single,
    "shop": _counter,
    "crowd": _crowd,
    "aerial": _aerial,
    "jumble": _jumble,
    "scatter": _aerial,
    "medley": _medley,
}
