"""A device of PyTorch's behind the engine: on a CPU the same code as on a GPU, and the numbers of the ordinary loop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import NAMES, write_checkpoint
from memory_store import Memory
from networks import write_detector

from boxmill import api
from boxmill.engine import BatchSizes, Job, Run, StagedRun
from boxmill.errors import ModelError
from boxmill.images import DecodeLimits, geometry, preprocess
from boxmill.post import Postprocessor
from boxmill.runtimes.cuda import CpuLanes, GraphedForward, lanes_of, translated
from boxmill.runtimes.device import DeviceFault, DeviceRuntime, OutOfDeviceMemory
from boxmill.runtimes.onnxruntime import OnnxRuntime, onnx_on_device
from boxmill.runtimes.torch import TorchOptions, TorchRuntime, on_device
from boxmill.runtimes.torch_device import DeviceNetwork, DeviceSelect, TorchDevice
from boxmill.settings import settings
from boxmill.types import Detections, EncodedItem, Frame, HeadSpec, InputSpec, ModelSpec

SPEC = ModelSpec(InputSpec((96, 96), dynamic=True), HeadSpec("yolo"), NAMES)
FP32 = TorchOptions("fp32", "cpu")
SELECT = Postprocessor(SPEC.head, conf=0.1)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt", gain=1.5)


def frames(count: int) -> list[Frame]:
    rng = np.random.default_rng(count)
    sizes = ((108, 192), (60, 80), (192, 108))
    return [Frame(f"{n}", rng.integers(0, 256, (*sizes[n % 3], 3), np.uint8)) for n in range(count)]


def a_job(runtime: Any, images: Sequence[Frame], **changes: Any) -> Job:
    def decode(data: bytes, key: str, limits: DecodeLimits) -> Frame:
        return images[int(data)]

    items = [EncodedItem(n, frame.key, partial(str.encode, str(n))) for n, frame in enumerate(images)]
    base = Job(items, len(items), runtime, SELECT, Memory(), rect=True, decode=decode, workers=2, warm_up=(96, 96))
    return replace(base, **changes)


def check_close(found: Memory, expected: Memory) -> None:
    assert found.outcomes.keys() == expected.outcomes.keys()
    for key, one in expected.outcomes.items():
        other = found.outcomes[key].result
        assert isinstance(one.result, Detections)
        assert isinstance(other, Detections)
        assert np.array_equal(one.result.indices, other.indices), key
        np.testing.assert_allclose(other.boxes, one.result.boxes, rtol=1e-3, atol=5e-2)
        np.testing.assert_allclose(other.scores, one.result.scores, rtol=1e-3, atol=1e-3)


def test_the_loop_for_devices_gives_the_ordinary_loops_results(weights: Path) -> None:
    images, expected, found = frames(11), Memory(), Memory()
    Run(a_job(TorchRuntime(weights, SPEC, FP32), images, store=expected)).execute()
    device = on_device(weights, SPEC, FP32)
    table = StagedRun(a_job(device, images, store=found), device, BatchSizes(3)).execute()
    check_close(found, expected)
    assert sum(len(outcome.result) for outcome in expected.outcomes.values()) > 20
    assert table.device_busy is not None
    assert 0 < table.device_busy <= table.wall
    assert isinstance(device, DeviceRuntime)
    assert (device.name, device.precision, device.device) == ("torch", "fp32", "cpu")


def test_selection_on_the_device_is_used_where_it_is_given(weights: Path) -> None:
    """By a stand-in that brings the raw head home in one array and selects when it is unpacked."""
    expected, found = Memory(), Memory()
    images = [Frame(f"{n}", frame.pixels) for n, frame in enumerate(frames(24)[::3])]  # all of one geometry
    place = geometry(images[0].source, SPEC.input, rect=True)
    packed = []

    def pack(outputs: Sequence[torch.Tensor], network: tuple[int, int], geometries: Sequence[Any]) -> torch.Tensor:
        assert network == place.network
        assert set(geometries) == {place}
        packed.append(len(geometries))
        return outputs[0]

    def unpack(array: np.ndarray) -> list[Detections]:
        return SELECT(array, place.network, [place] * len(array))

    def never(*_: object) -> list[Any]:
        raise AssertionError("the device selects")

    device = on_device(weights, SPEC, FP32, DeviceSelect(pack, unpack))
    work = a_job(device, images, store=found, postprocessor=never, warm_up=None)
    StagedRun(work, device, BatchSizes(4)).execute()
    Run(a_job(TorchRuntime(weights, SPEC, FP32), images, store=expected)).execute()
    check_close(found, expected)
    assert sum(packed) == len(images)


def network_of(forward: Any, **changes: Any) -> DeviceNetwork:
    return replace(DeviceNetwork(forward, "test", "1", "fp32", torch.float32), **changes)


def test_a_launch_is_the_letterbox_and_the_network() -> None:
    device = TorchDevice(SPEC, network_of(lambda images: [2 * images]), CpuLanes(), None)
    images = frames(3)[:1] * 2
    places = [geometry(image.source, SPEC.input) for image in images]
    landed = device.launch([device.hold(image) for image in images], places).land()
    expected = np.stack([preprocess(image, place, SPEC.input) for image, place in zip(images, places, strict=True)])
    assert landed.raw is not None
    assert landed.raw[0].tobytes() == (2 * expected).tobytes()
    assert device.infer(expected)[0].tobytes() == (2 * expected).tobytes()
    assert landed.seconds > 0
    device.close()


def test_a_network_of_a_fixed_batch_gets_it_filled_up_with_zeros() -> None:
    seen = []

    def forward(images: torch.Tensor) -> list[torch.Tensor]:
        seen.append((tuple(images.shape), float(images[2:].abs().sum())))
        return [images.flatten(1).sum(1, keepdim=True)]

    device = TorchDevice(SPEC, network_of(forward, batch=4), CpuLanes(), None)
    images = frames(2)[:1] * 2
    places = [geometry(image.source, SPEC.input) for image in images]
    landed = device.launch([device.hold(image) for image in images], places).land()
    assert seen == [((4, 3, 96, 96), 0.0)]
    assert landed.raw is not None
    assert landed.raw[0].shape == (2, 1)
    assert device.most_images == 4
    assert len(device.infer(np.zeros((1, 3, 96, 96), np.float32))[0]) == 1


def test_what_only_the_processor_can_resize_it_does() -> None:
    spec = replace(SPEC, input=replace(SPEC.input, resize="center_crop", crop_from=110, antialias=True))
    device = TorchDevice(spec, network_of(lambda images: [images + 0]), CpuLanes(), None)
    image = frames(1)[0]
    place = geometry(image.source, spec.input)
    landed = device.launch([device.hold(image)], [place]).land()
    assert landed.raw is not None
    assert landed.raw[0][0].tobytes() == preprocess(image, place, spec.input).tobytes()


@pytest.mark.parametrize(
    ("raised", "meant"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), OutOfDeviceMemory),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), OutOfDeviceMemory),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), OutOfDeviceMemory),
        (RuntimeError("[ONNXRuntimeError] : BFCArena: Failed to allocate memory"), OutOfDeviceMemory),
        (RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA"), DeviceFault),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceFault),
        (torch.AcceleratorError("unspecified launch failure"), DeviceFault),
        (RuntimeError("Sizes of tensors must match except in dimension 1"), ModelError),
    ],
)
def test_errors_are_told_apart_and_hold_nothing(raised: RuntimeError, meant: type[Exception]) -> None:
    def forward(images: torch.Tensor) -> list[torch.Tensor]:
        raise raised

    device = TorchDevice(SPEC, network_of(forward), CpuLanes(), None)
    image = frames(1)[0]
    with pytest.raises(meant) as caught:
        device.launch([device.hold(image)], [geometry(image.source, SPEC.input)])
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    with pytest.raises(meant):
        device.infer(np.zeros((1, 3, 96, 96), np.float32))
    assert type(translated(raised)) is meant


def test_without_a_gpu_no_graph_is_captured() -> None:
    graphed = GraphedForward(lambda images: [images + 1], CpuLanes())
    for _ in range(20):
        images = graphed.input((1, 3, 4, 4), torch.ones)
        assert torch.equal(graphed(images)[0], images + 1)
    graphed.release()


def test_the_processors_memory_stands_for_a_devices() -> None:
    lanes = lanes_of("cpu")
    assert lanes.free_memory() > 0
    assert lanes.host((2, 3), torch.uint8).shape == (2, 3)
    lanes.release_memory()


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_gpu_the_loop_gives_the_cpus_results(weights: Path, compiled: bool) -> None:
    images, expected, found = frames(99), Memory(), Memory()
    Run(a_job(TorchRuntime(weights, SPEC, FP32), images, store=expected)).execute()
    device = on_device(weights, SPEC, TorchOptions("fp32", "cuda", compile=compiled))
    StagedRun(a_job(device, images, store=found), device, BatchSizes(3)).execute()
    check_close(found, expected)
    device.close()


@pytest.mark.gpu
@GPU
def test_on_a_gpu_a_replayed_graph_gives_what_was_captured(weights: Path) -> None:
    device = on_device(weights, SPEC, TorchOptions("fp16", "cuda"))
    images = [image for image in frames(60) if image.source == (60, 80)][:4]
    places = [geometry(image.source, SPEC.input) for image in images]
    heads = []
    for _ in range(16):  # captured on the way
        landed = device.launch([device.hold(image) for image in images], places).land()
        assert landed.raw is not None
        heads.append(landed.raw[0].copy())
    assert device._graphed is not None
    assert device._graphed._graphs
    np.testing.assert_allclose(heads[-1], heads[0], rtol=2e-2, atol=2e-1)
    assert all(head.tobytes() == heads[-1].tobytes() for head in heads[-4:])
    device.close()


@pytest.mark.gpu
@GPU
def test_on_a_gpu_memory_that_runs_out_is_told_and_comes_back() -> None:
    def forward(images: torch.Tensor) -> list[torch.Tensor]:
        if len(images) > 1:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return [images.flatten(1).sum(1, keepdim=True)]

    device = TorchDevice(SPEC, network_of(forward), lanes_of("cuda:0"), None)
    image = frames(1)[0]
    place = geometry(image.source, SPEC.input)
    with pytest.raises(OutOfDeviceMemory):
        device.launch([device.hold(image)] * 2, [place] * 2)
    device.release_memory()
    assert device.launch([device.hold(image)], [place]).land().raw is not None


def test_an_onnx_network_gives_its_heads_by_io_binding_without_another_copy(tmp_path: Path) -> None:
    weights = write_detector(tmp_path / "tiny.onnx", NAMES)
    images, expected, found = frames(11), Memory(), Memory()
    Run(a_job(OnnxRuntime(weights, SPEC), images, store=expected)).execute()
    device = onnx_on_device(weights, SPEC, "cpu")
    StagedRun(a_job(device, images, store=found), device, BatchSizes(3)).execute()
    check_close(found, expected)
    assert (device.name, device.precision, device.most_images) == ("onnxruntime", "fp32", 256)
    with pytest.raises(ModelError, match="cannot run on the device"):
        device.infer(np.zeros((1, 4, 96, 96), np.float32))


def test_an_onnx_network_of_a_fixed_batch_says_so(tmp_path: Path) -> None:
    weights = write_detector(tmp_path / "one.onnx", NAMES, dynamic=False)
    spec = replace(SPEC, input=replace(SPEC.input, dynamic=False))
    device = onnx_on_device(weights, spec, "cpu")
    assert device.most_images == 1
    assert device.infer(np.zeros((1, 3, 96, 96), np.float32))[0].shape[0] == 1


def test_options_reach_the_selection_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, seen = ModuleType("boxmill.post.gpu"), []

    def postprocess(head: HeadSpec, raw: Any, network: tuple[int, int], geometries: Any, **options: Any) -> Any:
        seen.append((head, network, options))
        return SimpleNamespace(packed=raw[0])

    gpu.postprocess, gpu.unpack = postprocess, lambda packed, max_det: [packed, max_det]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "boxmill.post.gpu", gpu)
    monkeypatch.setattr(api, "find_spec", lambda name: object())
    chosen = settings("x", {"weights": tmp_path, "conf": 0.3, "iou": 0.6, "max_det": 7, "classes": ["dog"]})
    select = api._device_select(chosen, SPEC)
    assert select is not None
    assert select.pack(["raw"], (96, 96), []) == "raw"
    assert select.unpack("packed") == ["packed", 7]
    ((head, network, options),) = seen
    assert (head, network) == (SPEC.head, (96, 96))
    plain = Postprocessor(SPEC.head, conf=0.3, iou=0.6, max_det=7, classes=(1,))
    assert options == {name: getattr(plain, name) for name in options}
    assert options.keys() == {one.name for one in fields(Postprocessor)} - {"head"}


def test_heads_that_the_device_cannot_read_are_selected_from_here(tmp_path: Path) -> None:
    yolox = replace(SPEC, head=HeadSpec("yolox"))
    assert api._device_select(settings("x", {"weights": tmp_path}), yolox) is None
    assert api._device_select(settings("x", {"weights": tmp_path, "dump_heads": True}), SPEC) is None


INTERPRETED = """
import numpy as np, torch
from boxmill import api
from boxmill.images import geometry
from boxmill.post import Postprocessor
from boxmill.runtimes.cuda import CpuLanes
from boxmill.runtimes.torch_device import DeviceNetwork, TorchDevice
from boxmill.settings import settings
from boxmill.types import Frame, HeadSpec, InputSpec, ModelSpec

torch.set_num_threads(1)
spec = ModelSpec(InputSpec((64, 64), dynamic=True), HeadSpec("yolo"), ("a", "b", "c"))
raw = np.random.default_rng(0).random((2, 7, 84), np.float32)
raw[:, :4] *= 40
network = DeviceNetwork(lambda images: [torch.from_numpy(raw)], "test", "1", "fp32", torch.float32)
device = TorchDevice(spec, network, CpuLanes(), api._device_select(settings("x", {"weights": "w", "conf": 0.3}), spec))
frames = [Frame(name, np.zeros((50, 70, 3), np.uint8)) for name in "ab"]
places = [geometry(frame.source, spec.input) for frame in frames]
landed = device.launch([device.hold(frame) for frame in frames], places).land()
assert landed.raw is None
for one, other in zip(landed.found(), Postprocessor(spec.head, conf=0.3)(raw, (64, 64), places), strict=True):
    assert len(other) > 50
    for name in ("boxes", "scores", "classes", "indices"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
"""


@pytest.mark.skipif(
    find_spec("triton") is None or find_spec("boxmill.post.gpu") is None, reason="needs Triton and boxmill.post.gpu"
)
def test_selection_by_triton_gives_the_processors_bits() -> None:
    """In Triton's interpreter, which has to be chosen before Triton is loaded."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", INTERPRETED], check=True, env=environment)
