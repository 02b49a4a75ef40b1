"""Scenes: the same bytes for the same seed, what they show, and what counts as ground truth."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import cv2
import numpy as np
import pytest

from boxmill.demo.classes import CLASSES, LETTERED
from boxmill.demo.glyphs import Atlas
from boxmill.demo.layout import compose_layout
from boxmill.demo.scenes import KINDS, Scene, SceneSpec, generate
from boxmill.errors import UsageError

SPECS = [
    SceneSpec(kind, 200, 160, split, "all" if split == "held-out" else "known")
    for kind in KINDS.values()
    for split in ("train", "held-out")
]


def identity(scene: Scene) -> str:
    arrays = (scene.boxes, scene.classes, scene.areas, scene.visible, scene.ignored, scene.unseen)
    return sha256(b"".join([scene.jpeg, *(array.tobytes() for array in arrays)])).hexdigest()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind.name} {spec.split}")
def test_the_same_seed_gives_the_same_bytes_in_any_order_and_with_any_threads(spec: SceneSpec, atlas: Atlas) -> None:
    first = [identity(generate(spec, 3, index, atlas)) for index in range(3)]
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1 if threads > 1 else 4)
        again = [identity(generate(spec, 3, index, atlas)) for index in (2, 1, 0)]
    finally:
        cv2.setNumThreads(threads)
    assert again == first[::-1]
    assert len({*first, identity(generate(spec, 4, 0, atlas))}) == 4


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind.name} {spec.split}")
def test_ground_truth_is_whole_and_within_the_picture(spec: SceneSpec, atlas: Atlas) -> None:
    for index in range(3):
        scene = generate(spec, 0, index, atlas)
        count = len(scene.classes)
        assert scene.pixels.shape == (160, 200, 3)
        assert scene.boxes.shape == (count, 4)
        assert (scene.boxes == np.rint(scene.boxes)).all()
        assert (scene.boxes[:, :2] >= 0).all()
        assert (scene.boxes[:, 2:] <= (200, 160)).all()
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        assert (sides > 0).all()
        assert (scene.areas <= sides.prod(1)).all()
        assert ((scene.visible > 0) & (scene.visible <= 1)).all()
        assert (scene.ignored == ((scene.visible < 0.3) | (sides.min(1) < 4))).all()
        for number, glyph, unseen in zip(scene.classes, scene.glyphs, scene.unseen, strict=True):
            assert glyph in (CLASSES[number].held_out if unseen else CLASSES[number].glyphs)


def test_kinds_show_what_they_say(atlas: Atlas) -> None:
    shown = {kind: generate(SceneSpec(KINDS[kind]), 0, 0, atlas) for kind in KINDS}
    assert len(shown["single"].classes) == 1
    assert 5 <= len(shown["shop"].classes) <= 15
    assert len(shown["crowd"].classes) > 100
    assert len(shown["aerial"].classes) > 50
    assert len(shown["jumble"].classes) > 20
    assert 1 <= len(shown["medley"].classes) <= 15
    assert len(shown["scatter"].classes) > 50
    sides = shown["aerial"].boxes[:, 2:] - shown["aerial"].boxes[:, :2]
    assert np.median(sides.max(1)) < 32
    for kind, scene in shown.items():
        assert {CLASSES[number].group for number in scene.classes} <= set(KINDS[kind].groups)


@pytest.mark.parametrize("kind", KINDS)
def test_training_never_sees_what_is_held_out(kind: str) -> None:
    held_out = {glyph for thing in CLASSES for glyph in thing.held_out}
    for split, glyphs in (("train", "known"), ("held-out", "known"), ("held-out", "unseen"), ("held-out", "all")):
        spec = SceneSpec(KINDS[kind], 200, 160, split, glyphs)
        rng = np.random.default_rng(0)
        placed = [item for _ in range(20) for item in compose_layout(spec, rng, lambda glyph: 1.0)[1]]
        things = [item for item in placed if item.thing is not None]
        assert all(item.unseen == (item.glyph in held_out) for item in things)
        assert {item.unseen for item in things} == {"known": {False}, "unseen": {True}, "all": {False, True}}[glyphs]
        assert {item.glyph for item in placed if item.thing is None} <= set(spec.clutter)


def test_what_has_writing_is_never_mirrored() -> None:
    spec = SceneSpec(KINDS["shop"], 200, 160)
    rng = np.random.default_rng(0)
    placed = [item for _ in range(60) for item in compose_layout(spec, rng, lambda glyph: 1.0)[1]]
    assert not any(item.mirrored for item in placed if item.glyph in LETTERED)
    assert any(item.mirrored for item in placed)
    assert any(item.glyph in LETTERED for item in placed)


def test_kinds_and_splits_of_one_seed_are_independent(atlas: Atlas) -> None:
    first = generate(SceneSpec(KINDS["single"], 200, 160), 0, 0, atlas)
    others = [SceneSpec(KINDS["single"], 200, 160, "held-out"), SceneSpec(KINDS["shop"], 200, 160)]
    assert all(generate(spec, 0, 0, atlas).glyphs[0] != first.glyphs[0] for spec in others)


def test_a_wider_crowd_has_more_people(atlas: Atlas) -> None:
    square = generate(SceneSpec(KINDS["crowd"], 320, 320), 0, 0, atlas)
    wide = generate(SceneSpec(KINDS["crowd"], 640, 320), 0, 0, atlas)
    assert len(wide.classes) > 1.5 * len(square.classes)


@pytest.mark.parametrize("tall", [True, False])
def test_odd_shapes(tall: bool, atlas: Atlas) -> None:
    size = (64, 301) if tall else (301, 64)
    for kind in KINDS.values():
        assert generate(SceneSpec(kind, *size), 0, 0, atlas).pixels.shape == (size[1], size[0], 3)


def test_what_cannot_be_made_is_refused(atlas: Atlas) -> None:
    spec = SceneSpec(KINDS["shop"])
    with pytest.raises(UsageError, match="seed"):
        generate(spec, -1, 0, atlas)
    with pytest.raises(UsageError, match="20x640"):
        generate(replace(spec, width=20), 0, 0, atlas)
    with pytest.raises(UsageError, match="held-out"):
        generate(replace(spec, glyphs="all"), 0, 0, atlas)
