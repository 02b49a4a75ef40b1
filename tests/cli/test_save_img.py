"""`boxmill run --save-img`, as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_runs import documents, failures, leave_unfinished, summary
from taggers import CARD as CARD_OF_TAGGER
from taggers import make_tagger, write_labels, write_tagger

from boxmill.cli import run_command
from boxmill.render.colors import class_color
from boxmill.store import verify

LABELS_ZH = '{"0": "猫", "1": "狗", "2": "牛"}'
LABELS_EN = '["cat", "dog", "cow"]'


def pictures(run: Path) -> list[str]:
    return sorted(path.relative_to(run / "images").as_posix() for path in (run / "images").rglob("*") if path.is_file())


def test_every_image_with_a_result_has_a_picture(photos: Path, fake: list[str], runs: Path) -> None:
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photos / "sub").mkdir()
    for number, name in enumerate(("b.jpg", "b.png", "b.jpg.jpg", "sub/b.jpg")):
        pixels = np.full((300 + number, 400, 3), 255, np.uint8)
        cv2.imwrite(str(photos / name), pixels)
    command = ["run", str(photos), *fake, "--save-img", "--save-crop", "--allow-failed", "1", "--workers", "2"]
    assert run_command([*command, "--json-names", "full", "--quiet"]) == 0
    run = runs / "photos"
    keys = [*(f"{number:03}.png" for number in range(6)), "b.jpg", "b.jpg.jpg", "b.png", "sub/b.jpg"]
    assert failures(run) == {"bad.png": "truncated"}
    assert pictures(run) == sorted(f"{key}.jpg" for key in keys)
    for key in keys:
        assert cv2.imread(str(run / f"images/{key}.jpg")).shape == cv2.imread(str(photos / key)).shape
    objects = json.loads(documents(run)["b.png.json"])["objects"]
    image = cv2.imread(str(run / "images/b.png.jpg"))[..., ::-1].astype(int)
    assert objects
    best = objects[0]
    left, top, right, bottom = (max(0, int(side)) for side in best["bbox"])
    near = np.abs(image[top : bottom + 1, left : right + 1] - class_color(best["class_id"])).max(axis=2) < 60
    assert near.sum() > (bottom - top) + (right - left)  # its outline; a JPEG is not exact
    assert (run / "crops").is_dir()
    assert verify(run) == []


def test_pictures_show_what_is_shown_and_not_what_is_kept(photos: Path, fake: list[str], runs: Path) -> None:
    assert run_command(["run", str(photos), *fake, "--quiet", "--save-img", "--name", "plain"]) == 0
    kept = ["--keep-conf", "0.05", "--name", "kept"]
    assert run_command(["run", str(photos), *fake, "--quiet", "--save-img", *kept]) == 0
    for name in pictures(runs / "plain"):
        assert (runs / "kept/images" / name).read_bytes() == (runs / "plain/images" / name).read_bytes()
    assert documents(runs / "kept") == documents(runs / "plain")


def test_a_resume_draws_what_it_computes(photos: Path, fake: list[str], runs: Path) -> None:
    command = ["run", str(photos), *fake, "--quiet", "--workers", "1"]
    assert run_command(command) == 0
    run = runs / "photos"
    leave_unfinished(run, 4)
    assert run_command([*command, "--save-img"]) == 0  # whether pictures are wanted does not make it another run
    assert len(pictures(run)) == 2
    assert summary(run)["processed"] == 6
    assert len(documents(run)) == 6


def test_nothing_is_drawn_unasked_and_nothing_for_taggers(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", str(photos), *fake, "--quiet"]) == 0
    assert not (runs / "photos/images").exists()
    weights, card = write_tagger(tmp_path / "tagger.onnx", make_tagger(64)), tmp_path / "tagger.yaml"
    write_labels(tmp_path / "labels_zh.json", 64)
    card.write_text(CARD_OF_TAGGER, encoding="utf-8")
    capfd.readouterr()
    assert run_command(["run", str(photos), "-w", str(weights), "--card", str(card), "--save-img"]) == 2
    assert "--save-img: a tagger finds no boxes" in capfd.readouterr().err


def test_pictures_that_cannot_be_written_end_the_run(
    photos: Path, fake: list[str], runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(photos), *fake, "--save-img"]
    assert run_command([*command, "--quiet"]) == 0
    run = runs / "photos"
    leave_unfinished(run, 2)
    for path in (run / "images").iterdir():
        path.unlink()
    (run / "images").rmdir()
    (run / "images").write_text("in the way")
    capfd.readouterr()
    assert run_command(command) == 6
    assert "cannot write 'runs/photos/images'" in capfd.readouterr().err
    (run / "images").unlink()
    assert run_command([*command, "--quiet"]) == 0
    assert len(pictures(run)) == 4


def test_own_names_in_both_languages(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels_zh.json").write_text(LABELS_ZH, encoding="utf-8")
    (tmp_path / "labels_en.json").write_text(LABELS_EN, encoding="utf-8")
    said = {}
    for name, flags in (
        ("zh", ["--lang", "zh"]),
        ("en", ["--labels", str(tmp_path / "labels_zh.json"), "--lang", "en"]),
        ("same", ["--labels", str(tmp_path / "labels_zh.json"), "--lang", "zh"]),
    ):
        assert run_command(["run", str(photos), *fake, "--save-img", "--name", name, *flags]) == 0
        said[name] = capfd.readouterr().err
        (found,) = [path for path in runs.iterdir() if path.name == name]
        labels = {row["label"] for data in documents(found).values() for row in json.loads(data)["objects"]}
        assert labels <= ({"cat", "dog", "cow"} if name == "en" else {"猫", "狗", "牛"})
        assert labels
        assert "warning" not in said[name]
    assert "labels_en.json" in said["en"]
    (tmp_path / "labels_zh.json").write_text('["一"]', encoding="utf-8")
    assert run_command(["run", str(photos), *fake, "--lang", "zh", "--name", "short"]) == 0
    assert "has 1 names, the model has 3 classes" in capfd.readouterr().err


def test_names_that_cannot_be_drawn_are_said_once_at_the_start(
    photos: Path, fake: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.json").write_text('["قط", "dog", "牛"]', encoding="utf-8")
    labels = ["--labels", str(tmp_path / "names.json")]
    assert run_command(["run", str(photos), *fake, *labels, "--save-img"]) == 0
    err = capfd.readouterr().err
    assert err.count("pictures show class numbers instead of 'قط'") == 1
    assert run_command(["run", str(photos), *fake, *labels, "--name", "without"]) == 0
    assert "pictures show" not in capfd.readouterr().err


def test_english_names_do_not_bring_opencv_into_the_supervisor() -> None:
    code = "import sys, boxmill.render as r; print(r.font_advice(('cat',)), 'cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None False\n"
