"""Checkpoints that are run directly: converted once, kept by their bytes, by one process at a time."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

from boxmill.convert import ConvertOptions, cache, cached_network, graph, is_checkpoint
from boxmill.errors import ModelError, OutputError, UsageError
from boxmill.store import file_sha256


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "boxmill" / "converted"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt")


def test_a_kept_file_is_used_without_pytorch_and_without_a_word(
    home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir(parents=True)
    kept = home / f"{file_sha256(weights)}-1.onnx"
    kept.write_bytes(b"network")
    monkeypatch.setattr(graph, "find_spec", lambda name: None)
    said: list[str] = []
    assert cached_network(weights, said.append) == kept
    assert not said


def test_without_pytorch_it_says_what_to_install(home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"torch and onnx, not installed here; .*pip install 'boxmill\[torch\]'"):
        cached_network(weights, lambda line: None)
    assert not home.exists()


def test_of_several_at_once_one_converts_and_the_others_wait(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def slowly(weights: Path, target: Path, options: ConvertOptions) -> None:
        made.append(target)
        time.sleep(0.2)
        target.write_bytes(b"network")

    monkeypatch.setattr(cache, "convert", slowly)
    target = home / "x-1.onnx"
    threads = [threading.Thread(target=cache.keep, args=(Path("x.pt"), target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [target]
    assert target.read_bytes() == b"network"


def test_a_float16_form_has_a_name_of_its_own(home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ConvertOptions] = []
    monkeypatch.setattr(cache, "convert", lambda weights, target, options: asked.append(options))
    for end in ("", "-fp16"):
        cache.keep(weights, home / f"x-1{end}.onnx")
    assert [one.precision for one in asked] == ["fp32", "fp16"]
    kept = home / f"{file_sha256(weights)}-1-fp16.onnx"
    kept.write_bytes(b"network")
    assert cached_network(weights, lambda line: None, "fp16") == kept


def test_what_the_converting_process_says_is_raised_here(home: Path, weights: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "cut.pt"
    damaged.write_bytes(weights.read_bytes()[:-2000])
    with pytest.raises(ModelError, match=r"cut\.pt"):
        cached_network(damaged, lambda line: None)
    assert not list(home.glob("*.onnx"))
    shutil.rmtree(home)
    home.write_bytes(b"no folder")
    with pytest.raises(OutputError, match="cannot write"):
        cached_network(weights, lambda line: None)


def test_the_cache_lies_where_the_specification_puts_it(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache" / "boxmill" / "converted"
    folder.mkdir(parents=True)
    kept = folder / f"{file_sha256(weights)}-1.onnx"
    kept.write_bytes(b"network")
    assert cached_network(weights, lambda line: None) == kept


def test_only_yolov9_checkpoints_are_taken(weights: Path, tmp_path: Path) -> None:
    assert is_checkpoint(weights)
    (tmp_path / "x.onnx").write_bytes(b"\x08\x08")
    assert not is_checkpoint(tmp_path / "x.onnx")
    assert not is_checkpoint(tmp_path / "nothing.pt")
    assert not is_checkpoint(tmp_path)
