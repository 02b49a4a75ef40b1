"""`boxmill convert`, and checkpoints given to `boxmill run` and to Python."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import small_runs
from checkpoints import NAMES, write_checkpoint

import boxmill
from boxmill.cli import run_command


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkpoint_runs_directly_converted_once_and_resumes(
    here: Path, weights: Path, kept: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = small_runs.write_photos(here / "photos", 6)
    command = ["run", str(photos), "--weights", str(weights), "--imgsz", "96", "--precision", "fp32"]
    assert run_command([*command, "--workers", "2"]) == 0
    said = capfd.readouterr().err
    assert said.count(f"converting {weights} to ONNX, once; it is kept as {kept}") == 1
    assert f"weights {weights}" in said
    run = here / "runs" / "photos"
    first = small_runs.documents(run)
    assert sum(document.count(b'"label"') for document in first.values()) >= 20
    small_runs.leave_unfinished(run, 2)
    assert run_command([*command, "--workers", "1"]) == 0
    said = capfd.readouterr().err
    assert "converting" not in said
    assert "resuming" in said
    assert small_runs.documents(run) == first
    assert len(small_runs.computed(run)) == 6
    with warnings.catch_warnings(), boxmill.load(weights, imgsz=96, precision="fp32") as model:
        warnings.simplefilter("error")
        found = model.predict(str(photos / "000.png"))
    assert model.names == NAMES
    assert first["000.png.json"].count(b'"label"') == len(found)


def test_pytorch_runs_it_as_it_is_with_any_number_of_workers(
    here: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = small_runs.write_photos(here / "photos", 6)
    command = ["run", str(photos), "-w", str(weights), "--imgsz", "96", "--runtime", "torch", "--precision", "fp32"]
    command += ["--device", "cpu", "--quiet"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "empty"))
    assert run_command([*command, "--workers", "2"]) == 0
    run = here / "runs" / "photos"
    first = small_runs.documents(run)
    small_runs.leave_unfinished(run, 3)
    assert run_command([*command, "--workers", "1"]) == 0
    assert small_runs.documents(run) == first
    assert len(small_runs.computed(run)) == 6
    assert not (here / "empty").exists()


def test_convert_prints_the_differences_and_the_file(
    here: Path, weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["convert", str(weights), "tiny.onnx", "--imgsz", "96", "128"]) == 0
    said = capfd.readouterr()
    assert said.out == "tiny.onnx\n"
    for part in ("torch", "OpenVINO", "ONNX Runtime", "mean |Δscore|", "bounds: mean |Δscore| ≤ 0.0001"):
        assert part in said.err
    assert run_command(["doctor", "tiny.onnx"]) == 0
    assert "input.size [96, 128]" in capfd.readouterr().out


def test_flags_that_do_not_fit_are_refused(here: Path, weights: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = str(small_runs.write_photos(here / "photos", 1))
    (here / "x.onnx").write_bytes(b"\x08\x08")
    run = ["run", photos, "-w", str(weights)]
    for command, code, message in (
        ([*run, "--device", "cuda:0"], 2, "add --runtime torch"),
        ([*run, "--compile"], 2, "only for --runtime torch"),
        ([*run, "--runtime", "torch", "--device", "tpu"], 2, "expected auto, cpu, cuda, cuda:N or N"),
        ([*run, "--precision", "fp16"], 4, "fp16 is for GPUs"),
        ([*run, "--half"], 4, "fp16 is for GPUs"),
        ([*run, "--half", "--precision", "bf16"], 2, "leave one out"),
        (["run", photos, "-w", "x.onnx", "--runtime", "torch"], 4, "expected a YOLOv9 checkpoint"),
        (["convert", str(weights), "x.onnx", "--imgsz", "1", "2", "3"], 2, "one size, or height and width"),
        (["convert", "x.onnx", "y.onnx"], 4, "expected a YOLOv9 checkpoint"),
    ):
        assert run_command(command) == code, command
        assert message in capfd.readouterr().err
    assert not (here / "runs").exists()


def test_without_pytorch_a_run_says_what_to_install(
    here: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = str(small_runs.write_photos(here / "photos", 1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "empty"))
    monkeypatch.setattr("boxmill.convert.graph.find_spec", lambda name: None)
    assert run_command(["run", photos, "-w", str(weights)]) == 2
    assert "pip install 'boxmill[torch]'" in capfd.readouterr().err
    assert not (here / "runs").exists()
