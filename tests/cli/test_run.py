"""`boxmill run` as people type it: results, exit codes, and one clear sentence for each mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import write_detector, write_triple
from taggers import CARD as CARD_OF_TAGGER
from taggers import labels, make_tagger, write_labels, write_tagger

from boxmill.cli import run_command

CARD = """
version: 1
input: {size: [96, 96], color: RGB, scale: 0.00392156862745098, resize: letterbox}
head: {type: yolo, boxes: pixels}
labels: [猫, dog, cow]
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "照片"
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 255, (60 + index, 80, 3), np.uint8)
        path = folder / ("深" if index % 2 else ".") / f"图{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags that run without a network, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "fake.yaml"
    card.write_text(CARD, encoding="utf-8")
    return ["--runtime", "fake", "--weights", str(card)]


def documents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted((run / "json").rglob("*.json"))}


def test_a_run_writes_one_json_an_image_and_a_summary(photos: Path, fake: list[str], tmp_path: Path, capfd) -> None:
    assert run_command(["run", str(photos), *fake]) == 0
    run = tmp_path / "runs/照片"
    assert [*documents(run)] == [
        "json/图0.png.json", "json/图2.png.json", "json/图4.png.json",
        "json/深/图1.png.json", "json/深/图3.png.json", "json/深/图5.png.json",
    ]  # fmt: skip
    one = json.loads(documents(run)["json/深/图3.png.json"])
    assert (one["image"], one["width"], one["height"]) == ("深/图3.png", 80, 63)
    assert {row["label"] for row in one["objects"]} <= {"猫", "dog", "cow"}
    assert all(0 <= row["bbox"][0] <= row["bbox"][2] <= 80 for row in one["objects"])
    summary = json.loads((run / "summary.json").read_bytes())
    assert (summary["status"], summary["total_images"], summary["processed"]) == ("finished", 6, 6)
    assert summary["objects"] == sum(len(json.loads(text)["objects"]) for text in documents(run).values()) > 0
    described = json.loads((run / "run.json").read_bytes())
    assert described["settings"]["conf"] == 0.25
    assert described["model"]["names"] == ["猫", "dog", "cow"]
    out, err = capfd.readouterr()
    assert out == "runs/照片\n"
    assert "6 ok" in err
    assert "unexplained" in err


def test_two_runs_give_identical_files_under_two_names(photos: Path, fake: list[str], tmp_path: Path) -> None:
    assert run_command(["run", str(photos), *fake, "--workers", "1"]) == 0
    assert run_command(["run", str(photos), *fake, "--workers", "3"]) == 0
    assert documents(tmp_path / "runs/照片") == documents(tmp_path / "runs/照片2")


def test_json_prints_the_summary_and_quiet_nothing_else(photos: Path, fake: list[str], tmp_path: Path, capfd) -> None:
    assert run_command(["run", str(photos), *fake, "--json", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert json.loads(out) == json.loads((tmp_path / "runs/照片/summary.json").read_bytes())


def test_complaints_of_decoders_go_to_the_log_and_not_to_the_terminal(
    photos: Path, fake: list[str], tmp_path: Path, capfd
) -> None:
    data = bytearray((photos / "图0.png").read_bytes())
    data[60] ^= 255  # inside IDAT: libpng prints what it thinks of the checksum
    (photos / "damaged.png").write_bytes(data)
    assert run_command(["run", str(photos), *fake, "--quiet"]) == 7
    assert capfd.readouterr() == ("", "")
    assert "libpng" in (tmp_path / "runs/照片/worker.log").read_text()


def test_bad_files_are_listed_and_give_exit_code_7(photos: Path, fake: list[str], tmp_path: Path, capfd) -> None:
    (photos / "notes.jpg").write_text("not a picture")
    (photos / "cut.png").write_bytes((photos / "图0.png").read_bytes()[:-30])
    assert run_command(["run", str(photos), *fake]) == 7
    summary = json.loads((tmp_path / "runs/照片/summary.json").read_bytes())
    assert summary["processed"] == 6
    assert summary["failed"]["by_code"] == {"truncated": 1, "unsupported": 1}
    err = capfd.readouterr().err
    assert "failed: notes.jpg: unsupported (decode)" in err
    assert "failed: cut.png: truncated (decode)" in err
    assert "failure" in json.loads((tmp_path / "runs/照片/json/notes.jpg.json").read_bytes())


def test_classes_by_name_or_id_and_thresholds(photos: Path, fake: list[str], tmp_path: Path) -> None:
    base = ["run", str(photos), *fake, "--conf", "0.05"]
    assert run_command([*base, "--classes", "猫", "2", "--max-det", "3"]) == 0
    rows = [json.loads(text) for text in documents(tmp_path / "runs/照片").values()]
    assert {one["class_id"] for row in rows for one in row["objects"]} == {0, 2}
    assert {len(row["objects"]) for row in rows} == {3}
    assert all(row["truncated"] for row in rows)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--confidence", "0.5"], 2, "Did you mean --conf"),
        (["--conf", "1.5"], 2, "--conf: expected a number from 0 to 1, got 1.5"),
        (["--conf", "high"], 2, "--conf"),
        (["--workers", "0"], 2, "--workers: expected 1 or more, got 0"),
        (["--imgsz", "1", "2", "3"], 2, "--imgsz"),
        (["--name", "a/b"], 2, "--name"),
        (["--classes", "dgo"], 2, "dog"),
        (["--top-k", "3"], 2, "--top-k: only for taggers, this model is a detector"),
        (["--top-k", "some"], 2, "--top-k"),
        (["--card", "no-such-card.yaml"], 4, "no-such-card.yaml"),
        (["--labels", "no-such-labels.txt"], 4, "no-such-labels.txt"),
        (["--project", "/proc/nowhere"], 6, "/proc/nowhere"),
    ],
)
def test_mistakes_get_one_sentence_and_their_exit_code(
    photos: Path, fake: list[str], flags: list[str], code: int, words: str, capfd
) -> None:
    assert run_command(["run", str(photos), *fake, *flags]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_sources_that_hold_nothing(tmp_path: Path, fake: list[str], capfd) -> None:
    assert run_command(["run", str(tmp_path / "nowhere"), *fake]) == 3
    assert "source not found" in capfd.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run_command(["run", str(tmp_path / "empty"), *fake]) == 3
    assert "no images found" in capfd.readouterr().err


def test_unreadable_weights(photos: Path, tmp_path: Path, capfd) -> None:
    assert run_command(["run", str(photos), "--weights", str(tmp_path / "gone.onnx")]) == 4
    assert "weights not found" in capfd.readouterr().err
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    assert run_command(["run", str(photos), "--weights", str(tmp_path / "broken.onnx")]) == 4
    assert "broken.onnx" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_card_that_cannot_be_meant_ends_the_run_before_its_first_result(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    (photos / "00-broken.png").write_text("the first input does not decode")
    weights = write_detector(tmp_path / "logits.onnx", ("猫", "dog"), last="Identity")
    assert run_command(["run", str(photos), "-w", str(weights)]) == 4
    assert "expected 0 to 1: say `activation: sigmoid` under head" in capfd.readouterr().err
    assert not documents(tmp_path / "runs/照片")
    card = "version: 1\nhead: {activation: sigmoid}\n"
    (tmp_path / "logits.onnx.yaml").write_text(card)
    command = ["run", str(photos), "-w", str(weights), "--card", str(tmp_path / "logits.onnx.yaml"), "--fresh"]
    assert run_command([*command, "--allow-failed", "1"]) == 0


SELECTED = """version: 1
task: detect
input: {size: [64, 64], layout: NCHW, color: RGB, scale: 0.00392156862745098,
        mean: [0, 0, 0], std: [1, 1, 1], resize: stretch}
head: {type: triple, boxes: pixels, activation: none, outputs: [boxes, scores, labels]}
"""


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_network_that_selects_its_boxes_itself(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    write_triple(tmp_path / "selected.onnx")
    (tmp_path / "selected.yaml").write_text(SELECTED + "labels: [a, b, c]\n")
    command = ["run", str(photos), "-w", "selected.onnx", "--runtime", runtime, "--precision", "fp32"]
    assert run_command(command) == 0
    assert "iou none" in capfd.readouterr().err
    rows = [json.loads(text)["objects"] for text in documents(tmp_path / "runs/照片").values()]
    assert len({one["label"] for row in rows for one in row}) > 1
    assert max(map(len, rows)) > 2
    (tmp_path / "selected.yaml").write_text(SELECTED + "labels: [a, b]\n")  # only one photo has a c
    assert run_command([*command, "--fresh"]) == 7
    failed = json.loads((tmp_path / "runs/照片2/summary.json").read_bytes())["failed"]
    assert failed["by_code"] == {"class_out_of_range": 1}
    assert "the network gives class 2, but the 2 names are for 0 to 1" in failed["first"][0]["message"]


TAGGER = CARD_OF_TAGGER.replace("[224, 224]", "[64, 64]").replace("crop_from: 256", "crop_from: 72")


@pytest.mark.parametrize(
    ("activation", "flags", "expected"),
    [
        ("softmax", [], {5}),
        ("softmax", ["--top-k", "3"], {3}),
        ("none", ["--top-k", "all"], {40}),
        ("none", ["--top-k", "all", "--conf", "-16"], set(range(1, 40))),
        ("sigmoid", [], set(range(40))),
    ],
)
def test_a_tagger_writes_tags(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd,
    activation: str,
    flags: list[str],
    expected: set[int],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tagger(tmp_path / "tagger.onnx", make_tagger(40), 64)
    write_labels(tmp_path / "labels_zh.json", 40)
    (tmp_path / "tagger.yaml").write_text(TAGGER.replace("softmax", activation), encoding="utf-8")
    assert run_command(["run", str(photos), "-w", "tagger.onnx", *flags]) == 0
    rows = [json.loads(text) for text in documents(tmp_path / "runs/照片").values()]
    assert {len(row["tags"]) for row in rows} <= expected
    names = labels(40)
    for row in rows:
        assert [tag["label"] for tag in row["tags"]] == [names[tag["class_id"]] for tag in row["tags"]]
        scores = [tag["confidence"] for tag in row["tags"]]
        assert scores == sorted(scores, reverse=True)
    count = sum(len(row["tags"]) for row in rows)
    assert f"6 ok ({count} tags" in capfd.readouterr().err
    assert json.loads((tmp_path / "runs/照片/summary.json").read_bytes())["task"] == "tag"


def test_flags_of_detectors_are_refused_for_a_tagger(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tagger(tmp_path / "tagger.onnx", make_tagger(40), 64)
    write_labels(tmp_path / "labels_zh.json", 40)
    (tmp_path / "tagger.yaml").write_text(TAGGER, encoding="utf-8")
    assert run_command(["run", str(photos), "-w", "tagger.onnx", "--iou", "0.5", "--multi-label"]) == 2
    assert "--iou, --multi-label: only for detectors, this model is a tagger" in capfd.readouterr().err


def test_help_and_version(capfd) -> None:
    assert run_command(["run", "--help"]) == 0
    text = capfd.readouterr().out
    assert all(flag in text for flag in ("--weights", "--conf", "--classes", "Examples"))
    assert run_command(["--version"]) == 0
    assert capfd.readouterr().out.strip() == "0.1.0"
    assert run_command(["rum"]) == 2
    assert 'Did you mean "run"' in capfd.readouterr().err


def test_ctrl_c_finishes_what_is_under_way_and_says_so(tmp_path: Path, fake: list[str]) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8))[1].tobytes()
    for index in range(600):
        (folder / f"{index}.png").write_bytes(data)
    command = [sys.executable, "-m", "boxmill", "run", str(folder), *fake, "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy())
    run = tmp_path / "runs/many"
    while not (run / "json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 5, err
    assert "stopping" in err
    summary = json.loads((run / "summary.json").read_bytes())
    assert summary["status"] == "interrupted"
    assert 0 < summary["processed"] == len(documents(run)) < 600
