"""Synthetic scenes: deterministic, with the promised counts, and alike what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from boxmill.lab import SCENES, crowd, synthetic_scenes
from boxmill.post import nms


def test_the_three_scenes_have_the_promised_counts() -> None:
    assert {scene.name: [len(one) for one in scene.sets] for scene in synthetic_scenes()} == {
        "single target": [80], "crowd": [1200], "small targets": [950],
    }  # fmt: skip


def test_the_same_seed_gives_the_same_bits_and_another_gives_others() -> None:
    for first, again, other in zip(synthetic_scenes(3), synthetic_scenes(3), synthetic_scenes(4), strict=True):
        for one, same in zip(first.sets[0].arrays(), again.sets[0].arrays(), strict=True):
            assert one.tobytes() == same.tobytes()
        assert first.sets[0].boxes.tobytes() != other.sets[0].boxes.tobytes()


@pytest.mark.parametrize("kind", SCENES, ids=lambda kind: kind.name)
def test_a_scene_looks_like_its_name(kind) -> None:
    (found,) = next(scene.sets for scene in synthetic_scenes() if scene.name == kind.name)
    assert [array.dtype for array in found.arrays()] == [np.float32, np.float32, np.int64]
    width, height = (found.boxes[:, 2:] - found.boxes[:, :2]).T
    assert width.min() > 0
    assert height.min() > 0
    assert kind.sides[0] * 0.5 < np.median(np.sqrt(width * height)) < kind.sides[1] * 1.5
    assert 0 < found.scores.min() <= found.scores.max() < 1
    assert set(found.classes.tolist()) == set(range(kind.classes))
    kept = len(nms(*found.arrays()))  # most candidates repeat an object
    assert kind.objects * 0.5 < kept < kind.candidates * 0.6


@pytest.mark.parametrize("size", [1, 3, 80, 1001, 5000])
def test_a_crowd_has_any_size(size: int) -> None:
    assert [len(array) for array in crowd(size).arrays()] == [size] * 3
