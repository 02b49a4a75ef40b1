"""OpenVINO and ONNX Runtime behind the same seam: the same numbers, outputs in the card's order, clear refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from networks import write_detector, write_triple

from boxmill.cli import run_command
from boxmill.errors import ModelError, UsageError
from boxmill.runtimes import Runtime, onnxruntime
from boxmill.runtimes import openvino as openvino_module
from boxmill.runtimes.onnxruntime import OnnxRuntime
from boxmill.runtimes.openvino import OpenVinoOptions, OpenVinoRuntime
from boxmill.types import HeadSpec, InputSpec, ModelSpec

CARDS = Path(__file__).parent.parent / "cards"
Maker = Callable[[Path, ModelSpec], Runtime]


def openvino(weights: Path, spec: ModelSpec) -> Runtime:
    return OpenVinoRuntime(weights, spec, OpenVinoOptions("fp32", streams=2, rect=spec.input.dynamic))


MAKERS = pytest.mark.parametrize("make", [openvino, OnnxRuntime])


def yolo(size: tuple[int, int] = (96, 96), **head: object) -> ModelSpec:
    return ModelSpec(InputSpec(size, dynamic=True), HeadSpec("yolo", **head), ("a", "b", "c"))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, height, width), np.float32)


def test_both_give_the_same_numbers_at_any_shape(tmp_path: Path) -> None:
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b", "c"))
    ours, theirs = OnnxRuntime(weights, yolo()), openvino(weights, yolo())
    for shape in ((96, 96), (64, 96), (160, 32)):
        (one,), (other,) = ours.infer(noise(*shape)), theirs.infer(noise(*shape))
        assert one.shape == other.shape
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def first_output(runtime: Runtime, image: np.ndarray) -> bytes:
    return runtime.infer(image)[0].tobytes()


def test_weights_too_large_to_copy_are_shared_with_the_same_results(tmp_path: Path, monkeypatch) -> None:
    weights, images = (
        write_detector(tmp_path / "tiny.onnx", ("a", "b", "c")),
        [noise(96, 96, seed) for seed in range(2)],
    )
    found = []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(openvino_module, "_MOST_COPIES", limit)
        runtime = openvino(weights, yolo())
        runtime.infer(images[0])
        with ThreadPoolExecutor(2) as pool:
            found.append(list(pool.map(partial(first_output, runtime), images)))
        runtime.close()
    assert found[0] == found[1]


@MAKERS
def test_threads_that_share_a_network_get_their_own_images_results(tmp_path: Path, make: Maker) -> None:
    runtime = make(write_detector(tmp_path / "tiny.onnx", ("a", "b", "c")), yolo())
    images = [noise(96, 96, seed) for seed in range(4)]
    alone = [runtime.infer(image)[0].tobytes() for image in images]
    found: list[list[bytes]] = [[] for _ in images]

    def work(place: int) -> None:
        found[place] = [runtime.infer(images[place])[0].tobytes() for _ in range(20)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[one] * 20 for one in alone]
    runtime.close()


@MAKERS
def test_outputs_come_in_the_cards_order_with_their_own_rank_and_labels_stay_whole(tmp_path: Path, make: Maker) -> None:
    head = HeadSpec("triple", outputs=("boxes", "scores", "labels"))
    spec = ModelSpec(InputSpec((64, 64)), head, ("a", "b", "c"))
    boxes, scores, labels = make(write_triple(tmp_path / "triple.onnx"), spec).infer(noise(64, 64))
    assert (boxes.shape, scores.shape, labels.shape) == ((16, 4), (16,), (16,))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int64)
    assert len(np.unique(labels)) > 1


@MAKERS
def test_a_network_that_cannot_be_used_is_refused_with_a_sentence(tmp_path: Path, make: Maker) -> None:
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b", "c"), dynamic=False)
    with pytest.raises(ModelError, match=r"names the output 'boxen'; the network has: output0"):
        make(weights, yolo(outputs=("boxen",)))
    with pytest.raises(ModelError, match=r"3 outputs \(.*boxes.*name one in the card"):
        make(write_triple(tmp_path / "triple.onnx"), yolo())
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"cannot load '.*broken\.onnx'"):
        make(tmp_path / "broken.onnx", yolo())


def test_a_tensor_that_the_network_does_not_take_is_a_model_error(tmp_path: Path) -> None:
    runtime = OnnxRuntime(write_detector(tmp_path / "fixed.onnx", ("a", "b", "c"), dynamic=False), yolo())
    with pytest.raises(ModelError, match=r"cannot run the network on \(1, 3, 64, 96\)"):
        runtime.infer(noise(64, 96))


def test_the_package_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd) -> None:
    monkeypatch.setattr(onnxruntime, "find_spec", lambda name: None)
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b", "c"))
    with pytest.raises(UsageError, match=r"pip install 'boxmill\[onnxruntime\]'"):
        OnnxRuntime(weights, yolo())
    monkeypatch.chdir(tmp_path)
    assert run_command(["run", str(tmp_path), "-w", str(weights), "--runtime", "onnxruntime"]) == 2
    assert "pip install 'boxmill[onnxruntime]'" in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_bf16_is_refused(tmp_path: Path, capfd) -> None:
    weights = write_detector(tmp_path / "tiny.onnx", ("a", "b", "c"))
    command = ["run", str(tmp_path), "-w", str(weights), "--runtime", "onnxruntime", "--precision", "bf16"]
    assert run_command(command) == 2
    assert "ONNX Runtime computes in fp32" in capfd.readouterr().err


def objects(run: Path) -> dict[str, list[dict[str, object]]]:
    return {path.name: json.loads(path.read_bytes())["objects"] for path in sorted((run / "json").rglob("*.json"))}


def test_a_real_detector_finds_the_same_with_both(assets: Path, tmp_path: Path) -> None:
    photos = sorted((assets / "photos/train128").iterdir())[:12]
    (tmp_path / "list.txt").write_text("\n".join(map(str, photos)))
    base = ["run", str(tmp_path / "list.txt"), "-w", str(assets / "models/yolox_nano_416.onnx"), "--quiet"]
    base += ["--card", str(CARDS / "yolox_nano_416.yaml"), "--precision", "fp32", "--project", str(tmp_path)]
    assert run_command([*base, "--name", "ours", "--runtime", "onnxruntime"]) == 0
    assert run_command([*base, "--name", "theirs"]) == 0
    ours, theirs = objects(tmp_path / "ours"), objects(tmp_path / "theirs")
    assert sum(map(len, ours.values())) > 20
    assert ours.keys() == theirs.keys()
    for key, found in ours.items():
        assert [one["class_id"] for one in found] == [one["class_id"] for one in theirs[key]]
        for one, other in zip(found, theirs[key], strict=True):
            assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)
            np.testing.assert_allclose(one["bbox"], other["bbox"], atol=0.1)
    versions = json.loads((tmp_path / "ours/run.json").read_bytes())["versions"]
    assert "onnxruntime" in versions
    assert "openvino" not in versions


@MAKERS
def test_nanodets_six_maps_without_a_batch(assets: Path, make: Maker) -> None:
    # its names say something else than what they hold
    outputs = ("cls_score0", "bbox_pred0", "cls_score1", "bbox_pred1", "cls_score2", "bbox_pred2")
    spec = ModelSpec(InputSpec((320, 320)), HeadSpec("nanodet", outputs=outputs), tuple(map(str, range(80))))
    raw = make(assets / "models/nanodet_320.onnx", spec).infer(noise(320, 320))
    assert [one.shape for one in raw] == [(1600, 80), (400, 80), (100, 80), (1600, 32), (400, 32), (100, 32)]
