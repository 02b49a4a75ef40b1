"""`boxmill demo scenes` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from boxmill.cli import run_command
from boxmill.demo.glyphs import find_font, load_atlas
from boxmill.errors import SourceError


def test_scenes_and_their_ground_truth_are_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("PIL", reason="scenes of emoji are drawn with Pillow")
    try:
        find_font()
    except SourceError:
        pytest.skip("needs the font Noto Color Emoji (fonts-noto-color-emoji)")
    folder = tmp_path / "shop"
    command = ["demo", "scenes", str(folder), "--images", "3", "--size", "320x200", "--workers", "2"]
    assert run_command(command) == 0
    assert "3 scenes" in capfd.readouterr().err
    truth = json.loads((folder / "ground_truth.coco.json").read_text(encoding="utf-8"))
    assert truth["info"]["split"] == "held-out"
    assert [cv2.imread(str(folder / row["file_name"])).shape for row in truth["images"]] == [(200, 320, 3)] * 3
    assert {row["image_id"] for row in truth["annotations"]} == {1, 2, 3}
    assert run_command(command) == 6
    assert "has files in it" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "640"], "1920x1080"),
        (["--size", "20x20"], "64 to 8192"),
        (["--seed", "-1"], "seed"),
        (["--split", "train", "--glyphs", "unseen"], "held-out"),
        (["--kind", "street"], "shop"),
        (["--images", "0"], "one image"),
    ],
)
def test_wrong_usage_is_said(
    arguments: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if arguments[0] == "--images":
        pytest.importorskip("PIL", reason="scenes of emoji are drawn with Pillow")
    assert run_command(["demo", "scenes", str(tmp_path / "new"), *arguments]) == 2
    assert said in capfd.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_missing_font_file_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("PIL", reason="scenes of emoji are drawn with Pillow")
    assert run_command(["demo", "scenes", str(tmp_path / "new"), "--font", str(tmp_path / "none.ttf")]) == 3
    assert "none.ttf" in capfd.readouterr().err


def test_an_interruption_promises_no_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("boxmill.demo.glyphs.load_atlas", interrupted)
    assert run_command(["demo", "scenes", str(tmp_path / "shop"), "--images", "3"]) == 5
    assert capfd.readouterr().err == "boxmill: interrupted, not finished\n"


def test_glyphs_are_written_for_machines_without_the_font(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr("boxmill.demo.glyphs.draw_glyph", lambda font, character: np.full((9, 9, 4), 255, np.uint8))
    assert run_command(["demo", "glyphs", str(tmp_path / "glyphs.npz"), "--font", "any.ttf"]) == 0
    assert load_atlas(tmp_path / "glyphs.npz")["\N{DOG}"].size == (9, 9)
    assert run_command(["demo", "glyphs", str(tmp_path / "glyphs.zip")]) == 2
    assert ".npz" in capfd.readouterr().err
