"""The Python door: the numbers of the command line, nothing lost, and nothing left behind when a reader stops."""

from __future__ import annotations

import json
import os
import threading
import typing
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import write_detector
from small_runs import leave_unfinished, png, write_card, write_photos

import boxmill
from boxmill.cli import run_command
from boxmill.errors import BoxmillError, ImageError, ModelError, SourceError, UsageError
from boxmill.model import ModelOptions
from boxmill.settings import EngineSettings, ModelSettings, OutputSettings, PostSettings
from boxmill.store import RunLock
from boxmill.stream import RunOptions

NAMES = ("a", "b", "c")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_detector(tmp_path / "tiny.onnx", NAMES)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_photos(tmp_path / "photos", 8, side=80)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return write_card(tmp_path)


def pixels_of(path: Path) -> np.ndarray:
    """BGR."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def bits(found: boxmill.Detections) -> tuple[bytes, ...]:
    return tuple(part.tobytes() for part in (found.boxes, found.scores, found.classes, found.indices))


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "boxmill"]


def is_free(run: Path) -> bool:
    RunLock(run).close()  # raises where another process or thread holds it
    return True


def test_predict_gives_what_a_run_gives_bit_for_bit(photos: Path, weights: Path) -> None:
    options = {"precision": "fp32", "conf": 0.3, "classes": ["a", 2]}
    outcomes = {outcome.key: outcome for outcome in boxmill.run(photos, weights, **options)}
    paths = sorted(photos.iterdir())
    with boxmill.load(weights, **options) as model:
        assert model.names == NAMES
        together = model.predict(paths)
        assert [bits(one) for one in together] == [bits(model.predict(path)) for path in paths]
    assert sum(map(len, together)) > 20
    assert [bits(one) for one in together] == [bits(outcomes[path.name].result) for path in paths]
    assert {label for one in together for label in one.classes.tolist()} == {0, 2}


def test_a_run_from_python_is_a_run_of_the_command_line(photos: Path, weights: Path, tmp_path: Path) -> None:
    base = ["run", str(photos), "-w", str(weights), "--precision", "fp32", "--quiet", "--name", "cli"]
    assert run_command(base) == 0
    outcomes = boxmill.run(str(photos), str(weights), precision="fp32", name="python")
    assert len(outcomes) == 8
    assert outcomes.names == outcomes.spec.names == NAMES
    assert sorted(outcome.key for outcome in outcomes) == sorted(path.name for path in photos.iterdir())
    assert outcomes.directory == Path("runs/python")
    assert json.loads(json.dumps(outcomes.summary)) == json.loads(Path("runs/python/summary.json").read_bytes())
    for path in Path("runs/cli/json").iterdir():
        assert path.read_bytes() == (tmp_path / "runs/python/json" / path.name).read_bytes()


def test_arrays_are_rgb_unless_said_otherwise(photos: Path, weights: Path) -> None:
    path = min(photos.iterdir())
    bgr = pixels_of(path)
    with boxmill.load(weights, precision="fp32") as model:
        expected = bits(model.predict(path))
        assert bits(model.predict(bgr, bgr=True)) == expected
        assert bits(model.predict(bgr[..., ::-1])) == expected
        assert bits(model.predict(bgr)) != expected
        assert [bits(one) for one in model.predict((bgr, str(path)), bgr=True)] == [expected, expected]
        assert model.predict([]) == []


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_threads_may_share_a_model(photos: Path, weights: Path, runtime: str) -> None:
    paths = sorted(photos.iterdir())
    with boxmill.load(weights, runtime=runtime, precision="fp32") as model:
        expected = [bits(model.predict(path)) for path in paths]
        found: dict[int, list[tuple[bytes, ...]]] = {}

        def work(number: int) -> None:
            found[number] = [bits(model.predict(path)) for path in paths]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == dict.fromkeys(range(4), expected)


def test_what_predict_refuses(photos: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    with boxmill.load(weights) as model:
        with pytest.raises(ImageError) as caught:
            model.predict(tmp_path / "notes.jpg")
        assert caught.value.code == "unsupported"
        with pytest.raises(FileNotFoundError):
            model.predict(tmp_path / "gone.jpg")
        for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8)):
            with pytest.raises(UsageError, match=r"expected an \(H, W, 3\) uint8 array, got"):
                model.predict(wrong)
        with pytest.raises(UsageError, match=r"expected a path, .* got int"):
            model.predict(7)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="the model is closed"):
        model.predict(np.zeros((4, 4, 3), np.uint8))
    model.close()


@pytest.mark.parametrize("call", [lambda w, **o: boxmill.load(w, **o), lambda w, **o: boxmill.run("photos", w, **o)])
def test_wrong_options(photos: Path, weights: Path, tmp_path: Path, call: typing.Any) -> None:
    with pytest.raises(UsageError, match="unknown option 'confidence'; did you mean 'conf'"):
        call(weights, confidence=0.5)
    with pytest.raises(UsageError, match="runtime: expected openvino, onnxruntime, tensorrt, torch, fake"):
        call(weights, runtime="tflite")
    with pytest.raises(UsageError, match="only for taggers"):
        call(weights, top_k=3)
    with pytest.raises(ModelError, match="weights not found"):
        call(tmp_path / "gone.onnx")
    assert not Path("runs").exists()


def test_a_wrong_card_is_told_by_both(photos: Path, tmp_path: Path) -> None:
    logits = write_detector(tmp_path / "logits.onnx", NAMES, last="Identity")
    with boxmill.load(logits) as model, pytest.raises(ModelError, match="activation: sigmoid"):
        model.predict(np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(ModelError, match="activation: sigmoid"):
        list(boxmill.run(photos, logits))
    assert is_free(Path("runs/photos"))
    assert not workers()


def test_the_options_are_the_flags() -> None:
    """A new flag of `boxmill run` is one of Python's options too."""
    rooms = {"load": (ModelSettings, PostSettings), "run": (EngineSettings, OutputSettings)}
    names = {key: {field.name for kind in kinds for field in fields(kind)} for key, kinds in rooms.items()}
    model, run = set(ModelOptions.__annotations__), set(RunOptions.__annotations__)
    assert run == (names["load"] | names["run"]) - {"weights", "converted"}
    assert names["load"] - {"weights", "converted", "keep_conf"} <= model <= run  # what is kept for later is a run's


def test_a_bad_image_is_an_outcome_and_not_an_exception(photos: Path, card: Path) -> None:
    (photos / "notes.jpg").write_text("not a picture")
    outcomes = list(boxmill.run(photos, card, runtime="fake"))
    (bad,) = (outcome for outcome in outcomes if isinstance(outcome.result, boxmill.Failure))
    assert (bad.key, bad.result.code, len(outcomes)) == ("notes.jpg", "unsupported", 9)


def test_leaving_the_loop_early_stops_the_run_and_the_same_call_goes_on(tmp_path: Path, card: Path) -> None:
    photos = write_photos(tmp_path / "many", 20, side=300)
    for number in range(20, 1000):  # enough work that it cannot be over before the loop is left
        os.link(photos / f"{number % 20:03}.png", photos / f"{number:03}.png")
    options = {"runtime": "fake", "project": tmp_path / "runs", "workers": 1}
    seen = []
    for outcome in boxmill.run(photos, card, **options):
        seen.append(outcome)
        if len(seen) == 3:
            break
    assert not workers()
    run = tmp_path / "runs/many"
    assert is_free(run)
    summary = json.loads((run / "summary.json").read_bytes())
    assert summary["status"] == "interrupted"
    assert 3 <= summary["processed"] < 1000
    again = boxmill.run(photos, card, **options)
    assert again.directory == run
    keys = [outcome.key for outcome in again]
    assert len(keys) == len(set(keys)) == 1000
    assert {outcome.key for outcome in seen} <= set(keys[: summary["processed"]])  # the earlier ones come first
    assert again.summary is not None
    assert again.summary["computed"] == 1000 - summary["processed"]


def test_a_run_that_was_killed_yields_every_outcome_once(photos: Path, card: Path, tmp_path: Path) -> None:
    options = {"runtime": "fake", "project": tmp_path / "runs", "name": "killed"}
    whole = {outcome.key: bits(outcome.result) for outcome in boxmill.run(photos, card, **options)}
    kept = leave_unfinished(tmp_path / "runs/killed", 3)
    resumed = boxmill.run(photos, card, **options)
    found = [(outcome.key, bits(outcome.result)) for outcome in resumed]
    assert dict(found) == whole
    assert len(found) == len(whole)
    assert {key for key, _ in found[:3]} == {record["key"] for record in kept}


def test_a_run_without_a_directory_leaves_none(photos: Path, card: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with boxmill.run(photos, card, runtime="fake", project=None) as outcomes:
        directory = outcomes.directory
        assert next(outcomes).key
        assert directory.is_dir()
        assert len(list(outcomes)) == 7
    assert not directory.exists()
    assert set(tmp_path.iterdir()) == before
    assert outcomes.summary is not None
    assert outcomes.summary["processed"] == 8


def test_a_run_that_nobody_reads_is_given_free(photos: Path, card: Path) -> None:
    outcomes = boxmill.run(photos, card, runtime="fake")
    with pytest.raises(BoxmillError):
        RunLock(outcomes.directory)
    directory = outcomes.directory
    del outcomes
    assert is_free(directory)


def test_sources_and_warnings(tmp_path: Path, weights: Path, photos: Path) -> None:
    with pytest.raises(SourceError):
        boxmill.run(tmp_path / "nowhere", weights)
    with pytest.warns(UserWarning, match="--lang zh has no effect"):
        boxmill.load(weights, lang="zh").close()
    with pytest.warns(UserWarning, match="--lang zh has no effect"):
        boxmill.run(photos, weights, lang="zh").close()


def test_only_what_is_promised_is_there() -> None:
    assert boxmill.__all__ == ["Detections", "Failure", "Outcome", "Tags", "__version__", "load", "run"]
    assert callable(boxmill.load)
    assert callable(boxmill.run)
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        boxmill.train  # type: ignore[attr-defined]  # noqa: B018


def test_one_picture_of_a_few_pixels(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(1))
    with boxmill.load(weights) as model:
        (found,) = model.predict([tmp_path / "one.png"])
        assert found.boxes.shape == (len(found), 4)
