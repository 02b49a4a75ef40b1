"""`--fast-decode` in a run: other scores, the same pixels for boxes, and no resume across the change."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from boxmill.cli import run_command


@pytest.fixture
def large(tmp_path: Path) -> Path:
    folder = tmp_path / "large"
    folder.mkdir()
    coarse = np.random.default_rng(3).integers(0, 256, (9, 16, 3), np.uint8)
    pixels = cv2.resize(coarse, (1601, 901), interpolation=cv2.INTER_CUBIC)
    (folder / "a.jpg").write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    return folder


def test_boxes_and_sizes_are_those_of_the_whole_image(large: Path, fake: list[str], runs: Path) -> None:
    flags = ["--conf", "0.01", "--project", str(runs)]
    for name, more in (("full", []), ("fast", ["--fast-decode"])):
        assert run_command(["run", str(large), *fake, *flags, "--name", name, *more]) == 0
    full, fast = (json.loads((runs / name / "json/a.jpg.json").read_bytes()) for name in ("full", "fast"))
    assert (fast["width"], fast["height"]) == (full["width"], full["height"]) == (1601, 901)
    assert max(row["bbox"][2] for row in fast["objects"]) > 1601 / 2
    assert fast["objects"] != full["objects"]


def test_a_run_is_not_resumed_with_another_way_of_decoding(
    large: Path, fake: list[str], runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(large), *fake, "--project", str(runs), "--name", "one", "--exist-ok"]
    assert run_command(command) == 0
    assert run_command([*command, "--fast-decode"]) == 2
    assert 'decode: "full" -> "reduced"' in capfd.readouterr().err
