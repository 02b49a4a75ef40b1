"""A real network through OpenVINO: shapes, and results that depend on nothing but the image."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import write_detector

from boxmill.cli import run_command
from boxmill.runtimes.openvino import has_native_bf16

SHAPES = ((120, 200), (200, 120), (96, 96), (64, 240), (100, 97))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for index in range(15):
        height, width = SHAPES[index % len(SHAPES)]
        small = rng.integers(0, 255, (6, 6, 3), np.uint8)
        pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        (folder / f"{index:02}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder


def run(photos: Path, weights: Path, name: str, *flags: str) -> dict[str, bytes]:
    project = photos.parent / "runs"
    command = ["run", str(photos), "-w", str(weights), "--project", str(project), "--name", name, "--quiet", *flags]
    assert run_command(command) == 0
    return {path.name: path.read_bytes() for path in sorted((project / name / "json").iterdir())}


def described(photos: Path, name: str) -> dict[str, object]:
    return json.loads((photos.parent / "runs" / name / "run.json").read_bytes())["settings"]


@pytest.mark.parametrize("rect", ["--rect", "--no-rect"])
def test_float32_is_bitwise_the_same_for_any_number_of_workers(photos: Path, tmp_path: Path, rect: str) -> None:
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b", "c"))
    runs = [
        run(photos, weights, f"w{workers}", "--precision", "fp32", rect, "--workers", str(workers))
        for workers in (1, 2, 5)
    ]
    assert sum(len(json.loads(text)["objects"]) for text in runs[0].values()) > 50
    assert runs[0] == runs[1] == runs[2]
    assert described(photos, "w1")["rect"] is (rect == "--rect")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_image_alone_gives_what_it_gives_among_others(photos: Path, tmp_path: Path, precision: str) -> None:
    """Whether its shape has a compiled network of its own or not: both kinds are among these."""
    if precision == "bf16" and not has_native_bf16():
        pytest.skip("this processor has no bfloat16 instructions")
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b", "c"))
    together = run(photos, weights, "all", "--precision", precision)
    for index, path in enumerate(sorted(photos.iterdir())[:5]):
        command = ["run", str(path), "-w", str(weights), "--project", str(tmp_path / "one"), "--name", str(index)]
        assert run_command([*command, "--precision", precision, "--quiet"]) == 0
        alone = (tmp_path / "one" / str(index) / "json" / f"{path.name}.json").read_bytes()
        assert alone == together[f"{path.name}.json"]


@pytest.mark.skipif(not has_native_bf16(), reason="this processor has no bfloat16 instructions")
def test_bf16_does_not_depend_on_the_number_of_workers(photos: Path, tmp_path: Path) -> None:
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b", "c"))
    one, four = (run(photos, weights, f"w{n}", "--precision", "bf16", "--workers", str(n)) for n in (1, 4))
    assert one.keys() == four.keys()
    for key in one:
        ours, theirs = (json.loads(text)["objects"] for text in (one[key], four[key]))
        assert [row["class_id"] for row in ours] == [row["class_id"] for row in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a["confidence"] == pytest.approx(b["confidence"], abs=1e-3)
            np.testing.assert_allclose(a["bbox"], b["bbox"], rtol=1e-3, atol=0.01)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_real_networks_are_invariant_too(assets: Path, tmp_path: Path, precision: str) -> None:
    if precision == "bf16" and not has_native_bf16():
        pytest.skip("this processor has no bfloat16 instructions")
    cards = Path(__file__).parent.parent / "cards"
    sources = tmp_path / "list.txt"
    sources.write_text("\n".join(str(path) for path in sorted((assets / "photos/train128").iterdir())[:24]))
    texts = []
    for workers in ("1", "2", "3"):
        command = ["run", str(sources), "-w", str(assets / "models/yolox_nano_416.onnx"), "--workers", workers]
        command += ["--card", str(cards / "yolox_nano_416.yaml"), "--precision", precision, "--quiet"]
        assert run_command([*command, "--project", str(tmp_path), "--name", f"w{workers}"]) == 0
        texts.append([path.read_bytes() for path in sorted((tmp_path / f"w{workers}" / "json").rglob("*.json"))])
    assert len(texts[0]) == 24
    assert texts[0] == texts[1] == texts[2]


def test_a_network_of_fixed_shape_runs_square_and_says_so(photos: Path, tmp_path: Path, capfd) -> None:
    weights = write_detector(tmp_path / "fixed.onnx", ("a", "b"), dynamic=False)
    run(photos, weights, "fixed")
    assert described(photos, "fixed")["rect"] is False
    assert run_command(["run", str(photos), "-w", str(weights), "--rect"]) == 4
    assert "rect" in capfd.readouterr().err


def test_imgsz_changes_the_shape_of_a_dynamic_network(photos: Path, tmp_path: Path) -> None:
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b"))
    small = run(photos, weights, "small", "--imgsz", "64", "--precision", "fp32")
    large = run(photos, weights, "large", "--imgsz", "128", "160", "--precision", "fp32")
    assert small != large
    model = json.loads((tmp_path / "runs/large/run.json").read_bytes())["model"]
    assert model["input"]["size"] == [128, 160]


def test_bf16_on_request_is_refused_where_the_processor_lacks_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setattr("boxmill.runtimes.openvino.has_native_bf16", lambda: False)
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b"))
    command = ["run", str(photos), "-w", str(weights), "--project", str(tmp_path / "runs")]
    assert run_command([*command, "--precision", "bf16"]) == 4
    assert "bf16 needs a processor" in capfd.readouterr().err
    assert run_command([*command, "--name", "auto", "--quiet"]) == 0
    assert described(photos, "auto")["precision"] == "fp32"
