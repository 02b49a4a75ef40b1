"""A converted checkpoint: what it says of itself, its numbers at any shape and batch, and when it is not written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
import torch
from checkpoints import NAMES, write_checkpoint

from boxmill.api import resolve_model
from boxmill.convert import ConvertOptions, Verdict, conversion, convert, graph, verify
from boxmill.convert.images import pictures
from boxmill.errors import ModelError, UsageError
from boxmill.models.checkpoint import read_checkpoint
from boxmill.models.yolov9 import fuse, load
from boxmill.settings import ModelSettings
from boxmill.store import file_sha256
from boxmill.types import HeadSpec, InputSpec, ModelSpec

SMALL = ConvertOptions(size=(128, 192))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def converted(weights: Path) -> tuple[Path, Verdict]:
    done = convert(weights, weights.with_name("tiny.onnx"), SMALL)
    assert done.size == done.path.stat().st_size
    return done.path, done.verdict


def test_the_file_needs_no_card(weights: Path, converted: tuple[Path, Verdict]) -> None:
    resolution = resolve_model(ModelSettings(converted[0]))
    spec = resolution.spec
    assert (spec.names, spec.task, spec.head.type, spec.head.strides) == (NAMES, "detect", "yolo", (8, 16, 32))
    assert (spec.input.size, spec.input.stride, spec.input.dynamic, spec.input.color) == ((128, 192), 32, True, "RGB")
    assert (spec.input.scale, spec.input.resize, spec.head.boxes, spec.head.activation) == (
        1 / 255,
        "letterbox",
        "pixels",
        "none",
    )
    assert resolution.rect
    assert not resolution.warnings
    metadata = {entry.key: entry.value for entry in onnx.load(converted[0]).metadata_props}
    assert metadata["source_sha256"] == file_sha256(weights)
    assert (metadata["precision"], metadata["branch"]) == ("fp32", "model")


def test_what_runs_it_says_agrees(converted: tuple[Path, Verdict]) -> None:
    verdict = converted[1]
    assert [row.name.split()[0] for row in verdict.rows] == ["torch", "OpenVINO", "ONNX"]
    assert all(row.mean <= 1e-6 and row.matched == row.detections >= 20 * verdict.images for row in verdict.rows)
    assert not verdict.problems
    assert "not installed" not in verdict.table()


@pytest.mark.parametrize("shape", [(1, 320, 448), (1, 192, 256), (3, 64, 96)])
def test_other_shapes_and_batches_give_the_networks_numbers(
    weights: Path, converted: tuple[Path, Verdict], shape: tuple[int, int, int]
) -> None:
    images = pictures(shape[0], shape[1:])
    expected = load(read_checkpoint(weights)).double()(torch.from_numpy(images).double()).numpy()
    session = onnxruntime.InferenceSession(os.fspath(converted[0]), providers=["CPUExecutionProvider"])
    compiled = ov.Core().compile_model(converted[0], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for found in (session.run(None, {"images": images})[0], compiled([images])[0]):
        assert found.shape == expected.shape == (shape[0], 7, 21 * shape[1] * shape[2] // 1024)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3)


def test_the_same_checkpoint_gives_the_same_bytes(weights: Path, converted: tuple[Path, Verdict]) -> None:
    first = onnx.load(converted[0])
    metadata = {entry.key: entry.value for entry in first.metadata_props}
    again = graph.export(fuse(load(read_checkpoint(weights))), 4 + len(NAMES), metadata)
    assert again == converted[0].read_bytes()


def test_half_is_half_the_size_and_decodes_in_float32(weights: Path, converted: tuple[Path, Verdict]) -> None:
    done = convert(weights, weights.with_name("half.onnx"), ConvertOptions("fp16", (128, 192)))
    model = onnx.load(done.path)
    floats = {one.data_type for one in model.graph.initializer if one.dims and len(one.dims) == 4}
    assert floats == {onnx.TensorProto.FLOAT16}
    assert done.size < 0.65 * converted[0].stat().st_size
    ends = (*model.graph.input, *model.graph.output)
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.FLOAT}
    assert not done.verdict.problems
    assert resolve_model(ModelSettings(done.path)).spec == resolve_model(ModelSettings(converted[0])).spec


def test_a_file_that_gives_other_results_is_not_written(weights: Path, tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "wrong.onnx"
    target.write_bytes(b"what was there")
    right = graph.export

    def wrong(network, rows: int, metadata) -> bytes:
        with torch.no_grad():
            next(parameter for name, parameter in network.named_parameters() if name.endswith("weight")).mul_(1.3)
        return right(network, rows, metadata)

    monkeypatch.setattr(conversion, "export", wrong)
    with pytest.raises(ModelError, match=r"(?s)is not written, .*OpenVINO.*mean |Δscore|.*expected at most 0.0001"):
        convert(weights, target, SMALL)
    assert target.read_bytes() == b"what was there"
    assert os.listdir(tmp_path) == ["wrong.onnx"]


def test_a_shape_that_the_recording_would_fix_is_an_error() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(2) * (2 if images.sum() > 1 else 1)

    with pytest.raises(ModelError, match="would fix what depends on the image"):
        graph.export(Fixed(), 3, {})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda head: head[:, 4:].__iadd__(2e-4), "mean"),
        (lambda head: head[:, 4, 5:6].__iadd__(np.nan), "mean"),
        (lambda head: head[:, 2:4].__imul__(1.02), "detections without"),
    ],
)
def test_what_is_out_of_bounds_is_named(change, problem: str) -> None:
    spec, rng = small_spec(), np.random.default_rng(0)
    anchors = 21 * 64 * 64 // 1024
    boxes = [rng.uniform(10, 60, (2, 2, anchors)), rng.uniform(4, 30, (2, 2, anchors))]
    reference = np.concatenate([*boxes, rng.uniform(0, 1, (2, 3, anchors))], axis=1)
    plain, other = reference + 1e-8, reference.copy()
    change(other)
    same = verify.compare([reference], {"torch": plain[None], "x": reference[None]}, [(64, 64)], spec, "fp32")
    assert not same.problems
    found = verify.compare([reference], {"torch": [plain], "x": [other]}, [(64, 64)], spec, "fp32")
    assert found.problems
    assert any(problem in one for one in found.problems)


def small_spec() -> ModelSpec:
    return ModelSpec(InputSpec((64, 64), dynamic=True), HeadSpec("yolo"), NAMES)


def test_weights_that_amplify_rounding_are_held_to_what_float32_can_do() -> None:
    rng = np.random.default_rng(0)
    reference = np.concatenate([rng.uniform(10, 60, (1, 4, 84)), rng.uniform(0, 1, (1, 3, 84))], axis=1)
    off = {size: reference + size * (np.arange(7) == 5)[None, :, None] for size in (5e-3, 0.02, 0.04)}
    for size, good in ((0.02, True), (0.04, False)):
        found = {"torch": [off[5e-3]], "x": [off[size]]}
        assert bool(verify.compare([reference], found, [(64, 64)], small_spec(), "fp32").problems) is not good


def test_what_cannot_be_converted_says_why(weights: Path, converted: tuple[Path, Verdict], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.onnx, got"):
        convert(weights, tmp_path / "tiny.pt", SMALL)
    with pytest.raises(UsageError, match="--imgsz 100 100: expected multiples of the stride 32"):
        convert(weights, tmp_path / "x.onnx", ConvertOptions(size=(100, 100)))
    with pytest.raises(ModelError, match=r"expected a YOLOv9 checkpoint .*this is none; an ONNX file runs as it is"):
        convert(converted[0], tmp_path / "x.onnx", SMALL)
    (tmp_path / "cut.pt").write_bytes(weights.read_bytes()[:-3000])
    with pytest.raises(ModelError, match=r"cut\.pt"):
        convert(tmp_path / "cut.pt", tmp_path / "x.onnx", SMALL)
    with pytest.raises(ModelError, match=r"nothing\.pt: cannot be read: No such file"):
        convert(tmp_path / "nothing.pt", tmp_path / "x.onnx", SMALL)
    assert not (tmp_path / "x.onnx").exists()


def test_without_its_packages_it_says_what_to_install(weights: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(graph, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(UsageError, match=r"needs onnx, not installed here; .*pip install 'boxmill\[torch\]'"):
        convert(weights, tmp_path / "x.onnx", SMALL)
    assert not os.listdir(tmp_path)


def test_pictures_are_the_same_everywhere_and_hold_something() -> None:
    one = pictures(2, (96, 160))
    assert one.shape == (2, 3, 96, 160)
    assert one.dtype == np.float32
    assert one.tobytes() == pictures(2, (96, 160)).tobytes()
    assert one.min() >= 0
    assert one.max() <= 1
    assert one.std() > 0.15
    assert np.abs(one[0] - one[1]).mean() > 0.1


def test_a_published_structure_with_two_heads_is_within_what_float32_can_do(assets: Path, tmp_path: Path) -> None:
    weights = assets / "yolov9" / "yolov9-t.random.pt"
    done = convert(weights, tmp_path / "t.onnx", ConvertOptions(size=(128, 128)))
    assert done.parameters < sum(value.size for value in read_checkpoint(weights).state.values()) * 0.7
    assert all(row.largest <= 0.03 and row.median_iou >= 0.99 for row in done.verdict.rows)
    assert not done.verdict.problems
