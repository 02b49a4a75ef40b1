"""results.jsonl of a run without JSON files: made once, made again when it is gone or the journal has gone on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from boxmill.cli import run_command

CARD = """
version: 1
input: {size: [32, 32], color: RGB, scale: 0.00392156862745098, resize: letterbox}
head: {type: yolo, boxes: pixels, strides: [32]}
labels: [cat, dog]
"""


def add_photo(folder: Path, name: str) -> None:
    pixels = np.full((20, 30, 3), len(name), np.uint8)
    (folder / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def images(run: Path) -> list[str]:
    return [json.loads(line)["image"] for line in (run / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path]:
    """The command that resumes a finished run, and the run's directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.yaml").write_text(CARD)
    photos = tmp_path / "photos"
    photos.mkdir()
    add_photo(photos, "a.png")
    add_photo(photos, "broken.png")
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    flags = ["--runtime", "fake", "-w", "card.yaml", "--no-image-json", "--allow-failed", "1", "--quiet"]
    assert run_command(["run", "photos", *flags]) == 0
    return ["run", "photos", *flags, "--resume", "photos"], tmp_path / "runs/photos"


def test_a_resume_that_finds_all_done_leaves_it_alone(finished: tuple[list[str], Path]) -> None:
    command, run = finished
    assert images(run) == ["a.png", "broken.png"]
    before = os.stat(run / "results.jsonl")
    assert run_command(command) == 0
    after = os.stat(run / "results.jsonl")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("lost", ["results.jsonl", "summary.json"])
def test_it_is_made_again_where_it_or_the_word_on_it_is_lost(finished: tuple[list[str], Path], lost: str) -> None:
    command, run = finished
    whole = (run / "results.jsonl").read_bytes()
    (run / "results.jsonl").write_bytes(b"")
    (run / lost).unlink()
    assert run_command(command) == 0
    assert (run / "results.jsonl").read_bytes() == whole


def test_it_tells_of_what_later_epochs_add_and_retry(finished: tuple[list[str], Path]) -> None:
    command, run = finished
    add_photo(run.parent.parent / "photos", "c.png")
    assert run_command([*command, "--add"]) == 0
    assert images(run) == ["a.png", "broken.png", "c.png"]
    before = os.stat(run / "results.jsonl")
    assert run_command([*command, "--retry-failed"]) == 0
    assert os.stat(run / "results.jsonl").st_ino != before.st_ino


def test_a_journal_that_went_on_after_the_summary_makes_it_again(finished: tuple[list[str], Path]) -> None:
    command, run = finished
    add_photo(run.parent.parent / "photos", "c.png")
    old = {name: (run / name).read_bytes() for name in ("results.jsonl", "summary.json")}
    assert run_command([*command, "--add"]) == 0
    for name, data in old.items():  # as if the power had failed between the last outcome and results.jsonl
        (run / name).write_bytes(data)
    assert run_command(command) == 0
    assert images(run) == ["a.png", "broken.png", "c.png"]
