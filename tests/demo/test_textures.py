"""Backgrounds: every surface, at odd sizes too; which kinds of scenes have which."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from boxmill.demo.conditions import CONDITIONS, Surface
from boxmill.demo.layout import KINDS, SceneSpec
from boxmill.demo.textures import surface

SURFACES: tuple[Surface, ...] = get_args(Surface)


@pytest.mark.parametrize("kind", SURFACES)
def test_a_surface_is_as_large_as_asked_and_no_two_are_alike(kind: Surface) -> None:
    for height, width in ((64, 64), (64, 400), (301, 64), (240, 320)):
        first, again, other = (surface(kind, np.random.default_rng(seed), height, width) for seed in (5, 5, 6))
        margin = 0.15 * max(height, width)
        assert first.margin == pytest.approx(margin)
        wanted = [int((side + 2 * margin) * 0.75) + 1 for side in (height, width)]
        assert first.pixels.shape == (*wanted, 3)
        assert first.pixels.dtype == np.uint8
        assert first.pixels.tobytes() == again.pixels.tobytes()
        assert first.pixels.tobytes() != other.pixels.tobytes()


@pytest.mark.parametrize("kind", SURFACES)
def test_a_surface_shows_something(kind: Surface) -> None:
    spread = [float(surface(kind, np.random.default_rng(seed), 160, 200).pixels.std((0, 1)).max()) for seed in range(6)]
    assert np.median(spread) > 3  # levels; a wall may be plain, but most are not


def test_only_varied_kinds_of_training_have_more_surfaces_upright_and_from_above() -> None:
    more = set(CONDITIONS["train"].more_surfaces)
    assert len(more) > 15
    for name, kind in KINDS.items():
        train, held_out = SceneSpec(kind), SceneSpec(kind, split="held-out")
        assert kind.varied == (name in ("medley", "scatter"))
        for shown in (train.walls, train.floors):
            assert more & set(shown) == (more if kind.varied else set())
        assert not more & {*held_out.walls, *held_out.floors}
