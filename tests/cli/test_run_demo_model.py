"""`boxmill run` without --weights: the demo's detector, on the pictures that ship."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_runs import computed, documents, leave_unfinished, summary

import boxmill
from boxmill.cli import run_command
from boxmill.demo.classes import CLASSES, names, names_zh
from boxmill.demo.detector import ADVICE, shipped_detector

PICTURES = Path(__file__).resolve().parents[2] / "demo" / "pictures"
SOURCE = str(PICTURES / "shop")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def labels(run: Path) -> set[str]:
    return {row["label"] for text in documents(run).values() for row in json.loads(text)["objects"]}


def test_it_runs_and_says_once_what_it_is_not(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", SOURCE]) == 0
    assert capfd.readouterr().err.count(ADVICE) == 1
    assert summary(runs / "shop")["processed"] == 8
    assert labels(runs / "shop") <= set(names())
    assert len(labels(runs / "shop")) > 5


def test_names_and_choices_in_both_languages(runs: Path) -> None:
    assert run_command(["run", SOURCE, "--quiet", "--lang", "zh", "--name", "zh"]) == 0
    assert labels(runs / "zh") <= set(names_zh())
    food = [thing.name_zh for thing in CLASSES if thing.group == "food"]
    assert run_command(["run", SOURCE, "--quiet", "--name", "food", "--classes", *food]) == 0
    assert labels(runs / "food") <= {thing.name for thing in CLASSES if thing.group == "food"}
    assert labels(runs / "food")


def test_the_same_command_resumes_and_a_changed_model_does_not(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["run", SOURCE, "--lang", "zh"]
    assert run_command(command) == 0
    before = documents(runs / "shop")
    kept = leave_unfinished(runs / "shop", 5)
    assert len(kept) == 5
    other = onnx.load(shipped_detector())
    other.doc_string = "trained further"
    onnx.save(other, tmp_path / "detector.onnx")
    with monkeypatch.context() as later:
        later.setattr("boxmill.settings.shipped_detector", lambda: tmp_path / "detector.onnx")
        capfd.readouterr()
        assert run_command(command) == 2
        assert "weights" in capfd.readouterr().err
    assert run_command(command) == 0
    assert "resuming runs/shop: 5 of 8" in capfd.readouterr().err
    assert sorted(computed(runs / "shop")) == list(range(8))
    assert documents(runs / "shop") == before


def test_the_python_door_has_it_too() -> None:
    picture = PICTURES / "shop" / "000001.jpg"
    with pytest.warns(UserWarning, match="demo detector"):
        model = boxmill.load(conf=0.1)
    with model:
        found = model.predict(picture)
    assert model.names == tuple(names())
    assert isinstance(found, boxmill.Detections)
    assert len(found)
    with pytest.warns(UserWarning, match="demo detector"):
        outcomes = boxmill.run(picture, project=None, conf=0.1)
    (outcome,) = outcomes
    assert isinstance(outcome.result, boxmill.Detections)
    assert np.array_equal(outcome.result.boxes, found.boxes)
