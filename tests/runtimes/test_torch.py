"""PyTorch behind the seam of the runtimes: the network's own numbers, one thread a call, clear refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import NAMES, write_checkpoint

from boxmill.errors import ModelError, UsageError
from boxmill.models.checkpoint import read_checkpoint
from boxmill.models.yolov9 import fuse, load
from boxmill.runtimes import torch as torch_module
from boxmill.runtimes.torch import TorchOptions, TorchRuntime, effective_device, mixed_precision, torch_precision
from boxmill.types import HeadSpec, InputSpec, ModelSpec

SPEC = ModelSpec(InputSpec((96, 96), dynamic=True), HeadSpec("yolo"), NAMES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt", gain=1.5)


@pytest.fixture
def native_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_module, "has_native_bf16", lambda: True)


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).random((count, 3, height, width), np.float32)


def test_any_shape_and_any_batch_give_the_networks_own_numbers_image_by_image(weights: Path) -> None:
    runtime = TorchRuntime(weights, SPEC, TorchOptions("fp32", "cpu"))
    reference = load(read_checkpoint(weights)).double()
    for shape in ((3, 96, 96), (1, 64, 160)):
        images = noise(*shape)
        (head,) = runtime.infer(images)
        expected = reference(torch.from_numpy(images).double()).numpy()
        assert head.dtype == np.float32
        np.testing.assert_allclose(head, expected, rtol=1e-3, atol=2e-3)
        alone = [runtime.infer(image[None])[0] for image in images]
        assert np.concatenate(alone).tobytes() == head.tobytes()
    assert (runtime.name, runtime.precision, runtime.device) == ("torch", "fp32", "cpu")
    runtime.close()


def test_every_calling_thread_computes_with_one_thread_and_closing_gives_the_others_back(weights: Path) -> None:
    before = torch.get_num_threads()
    runtime = TorchRuntime(weights, SPEC, TorchOptions("fp32", "cpu"))
    images = [noise(1, 96, 32 * side) for side in range(1, 5)]
    alone = [runtime.infer(image)[0].tobytes() for image in images]

    def work(image: np.ndarray) -> tuple[bytes, int]:
        return runtime.infer(image)[0].tobytes(), torch.get_num_threads()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, images * 5))
    assert found == [(one, 1) for one in alone] * 5
    runtime.close()
    assert torch.get_num_threads() == before


def test_bf16_rounds_in_the_network_and_not_in_the_boxes(weights: Path, native_bf16: None) -> None:
    exact, rounded = (TorchRuntime(weights, SPEC, TorchOptions(kind, "cpu")) for kind in ("fp32", "bf16"))
    images = noise(1, 64, 1088)
    (one,), (other,) = exact.infer(images), rounded.infer(images)
    assert other.dtype == np.float32
    assert rounded.precision == "bf16"
    assert 0 < np.abs(one[:, 4:] - other[:, 4:]).mean() < 0.02
    assert np.median(np.abs(one[:, :4] - other[:, :4])) < 0.2  # of 1088 pixels: bfloat16 itself steps by 4 there


def test_float16_convolutions_take_and_give_float32(weights: Path) -> None:
    network = mixed_precision(fuse(load(read_checkpoint(weights))), torch.float16)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float16}
    assert network(torch.rand(1, 3, 64, 64)).dtype == torch.float32


def test_a_compiled_network_is_what_runs(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by its C++ compiler, which takes minutes: as its tracer gives the graph back."""
    compile_network = torch.compile
    calls = []

    def traced(network: torch.nn.Module, **options: object) -> object:
        calls.append(options)
        return compile_network(network, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    plain, compiled = (TorchRuntime(weights, SPEC, TorchOptions("fp32", "cpu", compile=one)) for one in (False, True))
    for shape in ((1, 64, 96), (1, 96, 160)):
        np.testing.assert_allclose(
            compiled.infer(noise(*shape))[0], plain.infer(noise(*shape))[0], rtol=1e-3, atol=2e-3
        )
    assert calls == [{"dynamic": True}]
    assert compiled._network is not plain._network
    assert type(compiled._network).__name__ == "OptimizedModule"
    plain.close()
    compiled.close()


def test_the_device_and_the_precision_that_are_not_here_are_refused() -> None:
    with pytest.raises(UsageError, match="expected auto, cpu, cuda, cuda:N or N, got 'gpu'"):
        effective_device("gpu")
    if not torch.cuda.is_available():
        assert effective_device("auto") == "cpu"
        with pytest.raises(UsageError, match="sees no GPU here; leave --device out"):
            effective_device("cuda:1")
    with pytest.raises(UsageError, match="fp16 is for GPUs"):
        torch_precision("fp16", "cpu")


@pytest.mark.parametrize(
    ("wanted", "native", "device", "expected"),
    [
        ("auto", True, "cpu", "bf16"),
        ("auto", False, "cpu", "fp32"),
        ("fp32", True, "cpu", "fp32"),
        ("auto", False, "cuda:0", "fp16"),
        ("bf16", False, "cuda:0", "bf16"),
    ],
)
def test_auto_is_what_the_device_computes_fastest(
    monkeypatch: pytest.MonkeyPatch, wanted: str, native: bool, device: str, expected: str
) -> None:
    monkeypatch.setattr(torch_module, "has_native_bf16", lambda: native)
    assert torch_precision(wanted, device) == expected


def test_emulated_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_module, "has_native_bf16", lambda: False)
    with pytest.raises(UsageError, match="would be slower than fp32"):
        torch_precision("bf16", "cpu")


def test_without_pytorch_it_says_what_to_install(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'boxmill\[torch\]'"):
        TorchRuntime(weights, SPEC, TorchOptions())


def test_a_shape_that_the_network_does_not_take_is_a_model_error(weights: Path) -> None:
    runtime = TorchRuntime(weights, SPEC, TorchOptions("fp32", "cpu"))
    with pytest.raises(ModelError, match=r"cannot run the network on \(1, 4, 96, 96\)"):
        runtime.infer(np.zeros((1, 4, 96, 96), np.float32))
    runtime.close()
