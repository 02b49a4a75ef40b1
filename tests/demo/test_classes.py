"""What the things are, and that what training sees and what it never sees are kept apart."""

from __future__ import annotations

from collections import Counter

import pytest

from boxmill.demo.classes import CLASSES, CLUTTER, CLUTTER_HELD_OUT, LETTERED, names, names_zh
from boxmill.demo.conditions import CONDITIONS
from boxmill.demo.glyphs import every_glyph


def test_about_a_hundred_classes_each_with_two_names_of_its_own() -> None:
    assert 95 <= len(CLASSES) <= 115
    assert len(set(names())) == len(set(names_zh())) == len(CLASSES)
    assert all(any("一" <= letter <= "鿿" for letter in name) for name in names_zh())
    assert Counter(thing.group for thing in CLASSES).keys() == {
        "clothing",
        "electronics",
        "home",
        "food",
        "animal",
        "vehicle",
        "person",
    }


def test_at_least_half_of_the_classes_keep_a_glyph_of_three_or_more_from_training() -> None:
    tested = [thing for thing in CLASSES if thing.held_out]
    assert all(len(thing.glyphs + thing.held_out) >= 3 for thing in tested)
    assert 2 * len(tested) >= len(CLASSES)


def test_a_glyph_belongs_to_one_class_or_to_the_clutter_of_one_split() -> None:
    assert all(thing.glyphs for thing in CLASSES)
    assert max(Counter(every_glyph()).values()) == 1
    assert set(CLUTTER) | set(CLUTTER_HELD_OUT) | set(LETTERED) < set(every_glyph())


@pytest.mark.parametrize(
    "name", ["tilt", "roll", "turn", "heading", "lean", "light_from", "gradient", "cast_hue", "cast", "gamma"]
)
def test_ranges_of_training_and_held_out_scenes_do_not_overlap(name: str) -> None:
    train, held_out = (getattr(CONDITIONS[split], name) for split in ("train", "held-out"))
    assert train[0] < train[1]
    assert held_out[0] < held_out[1]
    assert train[1] < held_out[0] or held_out[1] < train[0]


def test_angles_do_not_meet_the_other_way_round() -> None:
    for name in ("light_from", "cast_hue"):
        ranges = [getattr(CONDITIONS[split], name) for split in ("train", "held-out")]
        covered = [{degree % 360 for degree in range(int(low), int(high) + 1)} for low, high in ranges]
        assert not covered[0] & covered[1]


def test_backgrounds_of_training_and_held_out_scenes_are_different_ones() -> None:
    train, held_out = CONDITIONS["train"], CONDITIONS["held-out"]
    assert not {*train.walls, *train.floors, *train.more_surfaces} & {*held_out.walls, *held_out.floors}
    assert not set(train.clutter + train.more_clutter) & set(held_out.clutter)
    assert not held_out.more_surfaces
    assert not held_out.more_clutter
