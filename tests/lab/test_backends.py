"""The table of back-ends: what is installed agrees with the reference, what is not is listed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from boxmill.errors import UsageError
from boxmill.lab import synthetic_scenes
from boxmill.post import backends, reference
from boxmill.post.backends import BACKENDS, Backend, Loader, Missing, Rule, load_backend

RULE = Rule()
SETS = [scene.sets[0] for scene in synthetic_scenes(1)]


def ready(name: str) -> Backend:
    found = load_backend(name, RULE)
    if isinstance(found, Missing):
        pytest.skip(f"{name}: {found.reason}")
    return found


@pytest.mark.parametrize("name", [name for name, loader in BACKENDS.items() if loader.method == "hard"])
def test_hard_back_ends_keep_what_the_reference_keeps(name: str) -> None:
    backend = ready(name)
    for found in SETS:
        expected = reference.nms(*found.arrays(), iou=RULE.iou, max_nms=backend.max_nms).kept
        kept, scores = backend.suppress(*found.arrays())
        assert set(kept.tolist()) == set(expected.tolist())
        assert scores is None


@pytest.mark.parametrize("name", [name for name, loader in BACKENDS.items() if loader.method != "hard"])
def test_soft_back_ends_decay_as_the_reference_does(name: str) -> None:
    """On whole pixels and one class, where OpenCV has neither to round nor to move boxes."""
    backend = ready(name)
    for found in SETS:
        inputs = np.rint(found.boxes), found.scores, np.zeros_like(found.classes)
        expected, decayed = reference.soft_nms(*inputs, method=backend.method)
        kept, scores = backend.suppress(*inputs)
        told = dict(zip(kept.tolist(), scores.tolist(), strict=True))
        assert told == pytest.approx(dict(zip(expected.tolist(), decayed.tolist(), strict=True)), abs=1e-6)


def test_a_package_that_is_not_here_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lsnms", None)
    assert load_backend("lsnms", RULE) == Missing("lsnms", "not installed: pip install lsnms")


def test_a_package_that_does_not_load_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rule: Rule) -> backends.Suppress:
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    table = {**BACKENDS, "torchvision batched_nms": Loader("torchvision", broken)}
    monkeypatch.setattr(backends, "BACKENDS", table)
    found = load_backend("torchvision batched_nms", RULE)
    assert found.reason == "does not load: operator torchvision::nms does not exist"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="powerboxes"):
        load_backend("powerbox", RULE)


def test_the_table_loads_nothing() -> None:
    code = "import sys, boxmill.post.backends; print([m for m in ('cv2', 'torch', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
