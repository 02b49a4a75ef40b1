"""What `make demo` calls, and what it shows: the pictures in demo/ and their ground truth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2

from boxmill.cli import run_command
from boxmill.demo.classes import names, names_zh

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "demo" / "pictures"
TRUTH = ROOT / "demo" / "ground_truth.coco.json"


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "demo"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_ground_truth_is_of_all_the_pictures_and_all_is_small() -> None:
    truth = json.loads(TRUTH.read_text(encoding="utf-8"))
    pictures = {path.relative_to(PICTURES).as_posix(): path for path in PICTURES.rglob("*") if path.is_file()}
    assert {row["file_name"] for row in truth["images"]} == set(pictures)
    assert len(pictures) == 24
    for row in truth["images"]:
        assert cv2.imread(str(pictures[row["file_name"]])).shape == (row["height"], row["width"], 3)
    for rows in (truth["images"], truth["annotations"], truth["categories"]):
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
    assert [(row["name"], row["name_zh"]) for row in truth["categories"]] == [*zip(names(), names_zh(), strict=True)]
    assert {row["image_id"] for row in truth["annotations"]} == set(range(1, 25))
    assert truth["info"]["split"] == "held-out"
    assert sum(path.stat().st_size for path in (*pictures.values(), TRUTH)) <= 3_000_000


def test_the_demo_does_all_of_it_in_a_run_of_its_own(tmp_path: Path) -> None:
    earlier = ["run", str(PICTURES / "single"), "--project", str(tmp_path), "--name", "demo", "--quiet"]
    assert run_command(earlier) == 0
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "demo2"
    assert len(list((run / "images").rglob("*.jpg"))) == 24
    assert (run / "report.html").stat().st_size < 5_000_000
    assert str(run / "report.html") in done.stdout
    assert "unexplained" in done.stderr  # the table of stage times
    shown = dict(re.findall(r"^(single|shop|crowd|aerial|all) +(\d+ .*)$", done.stdout, re.MULTILINE))
    images = {kind: int(cells.split()[0]) for kind, cells in shown.items()}
    assert images == {"single": 6, "shop": 8, "crowd": 5, "aerial": 5, "all": 24}
    assert float(shown["all"].split()[2]) > 0.4  # AP50


def test_a_step_that_fails_ends_it_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("no folder")
    done = demo(tmp_path / "taken")
    assert done.returncode == 6, done.stderr
    assert "Done" not in done.stdout
