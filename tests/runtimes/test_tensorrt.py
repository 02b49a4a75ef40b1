"""TensorRT through ONNX Runtime, as far as it goes without a GPU: what ONNX Runtime is asked for, and refusals."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from networks import write_detector
from small_runs import write_photos

from boxmill.api import check_batch, engine_devices, fingerprint, make_runtime, resolve_model, versions, with_network
from boxmill.engine import BatchSizes
from boxmill.errors import ModelError, OutputError, UsageError
from boxmill.mill import Mill
from boxmill.models import TensorInfo
from boxmill.runtimes import tensorrt
from boxmill.runtimes.cuda import CudaLanes
from boxmill.runtimes.onnxruntime import OnnxRuntime, onnx_on_device
from boxmill.runtimes.tensorrt import TensorRtOptions, check_tensorrt, profile, tensorrt_on_device
from boxmill.settings import EngineSettings, settings
from boxmill.types import HeadSpec, InputSpec, ModelSpec

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
SPEC = ModelSpec(InputSpec((96, 96), dynamic=True), HeadSpec("yolo"), ("a", "b", "c"))
SYMBOLIC = TensorInfo("images", "float32", ("batch", 3, "height", "width"))


class Sessions:
    """In place of ONNX Runtime's sessions: computes on the CPU, and says that it took `taken`."""

    def __init__(self) -> None:
        self.taken = [TENSORRT, CUDA, CPU]
        self.error: Exception | None = None
        self.asked: list[dict[str, dict[str, str]]] = []  # of each session, options by provider, in its order
        self.keywords: list[dict[str, Any]] = []
        self._real = onnxruntime.InferenceSession

    def __call__(self, path: str, options: Any, providers: Sequence[Any], **keywords: Any) -> Any:
        pairs = ((one, {}) if isinstance(one, str) else one for one in providers)
        self.asked.append(dict(pairs))
        self.keywords.append(keywords)
        if self.error is not None:
            raise self.error
        session = self._real(path, options, providers=[CPU])
        session.get_providers = lambda: self.taken
        return session


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    """An ONNX Runtime that has all providers, in a process whose environment says nothing of TF32."""
    pytest.importorskip("torch")
    found = Sessions()
    monkeypatch.setattr(onnxruntime, "InferenceSession", found)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")  # so that it is put back afterwards
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_detector(tmp_path / "tiny.onnx", SPEC.names)


def options_for(folder: Path, **other: Any) -> TensorRtOptions:
    return TensorRtOptions(folder / "engines", ("ab12",), **other)


def test_a_network_goes_through_the_loop_with_the_cpus_numbers(
    sessions: Sessions, weights: Path, tmp_path: Path
) -> None:
    device = tensorrt_on_device(weights, SPEC, "cpu", options_for(tmp_path, rect=True))
    image = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    np.testing.assert_allclose(device.infer(image)[0], OnnxRuntime(weights, SPEC).infer(image)[0], rtol=1e-4, atol=1e-4)
    assert (device.name, device.version, device.precision) == ("tensorrt", onnxruntime.__version__, "fp32")
    assert BatchSizes(most=device.most_images).of((96, 96), lambda: 1 << 40).most == 32
    asked = sessions.asked[0]
    assert list(asked) == [TENSORRT, CUDA]
    assert asked[TENSORRT]["trt_fp16_enable"] == "False"
    assert asked[TENSORRT]["trt_engine_cache_enable"] == asked[TENSORRT]["trt_timing_cache_enable"] == "True"
    assert asked[TENSORRT]["trt_timing_cache_path"] == str(tmp_path / "engines")
    assert Path(asked[TENSORRT]["trt_engine_cache_path"]).parent == tmp_path / "engines"
    assert asked[TENSORRT]["trt_profile_min_shapes"] == "images:1x3x32x32"
    assert asked[TENSORRT]["trt_profile_opt_shapes"] == "images:32x3x96x96"
    assert asked[TENSORRT]["trt_profile_max_shapes"] == "images:32x3x96x96"
    assert sessions.keywords[0] == {"enable_fallback": 0}
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


def test_on_a_gpu_both_providers_compute_in_the_stream_of_everything_else(
    sessions: Sessions, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = CudaLanes.__new__(CudaLanes)
    lanes.hardware, lanes.compute = "NVIDIA H200", SimpleNamespace(cuda_stream=77)
    lanes.device = SimpleNamespace(index=1)  # type: ignore[assignment]
    monkeypatch.setattr(tensorrt, "lanes_of", lambda device: lanes)
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: object())
    sessions.error = RuntimeError("TensorRT EP could not build engine for fused node\nmore")
    told = r"cannot load .*could not build engine for fused node; .* a smaller --batch than 8; .*exchanged .* delete"
    with pytest.raises(ModelError, match=told):
        tensorrt_on_device(weights, SPEC, "cuda:1", options_for(tmp_path, half=True, batch=8))
    (asked,) = sessions.asked
    assert asked[CUDA] == {"device_id": "1", "user_compute_stream": "77", "use_tf32": "0"}
    first = asked[TENSORRT]
    assert (first["device_id"], first["user_compute_stream"], first["trt_fp16_enable"]) == ("1", "77", "True")
    assert first["trt_profile_min_shapes"] == "images:1x3x96x96"  # without rect there is one shape
    assert first["trt_profile_max_shapes"] == "images:8x3x96x96"


@pytest.mark.parametrize("taken", [[CUDA, CPU], [TENSORRT, CPU], [CPU]])
def test_a_provider_that_does_not_load_is_an_error_and_nothing_runs_without_it(
    sessions: Sessions, weights: Path, tmp_path: Path, taken: list[str]
) -> None:
    sessions.taken = taken
    missing = CUDA if TENSORRT in taken else TENSORRT
    with pytest.raises(
        UsageError, match=rf"cannot use its {missing} \(it took {', '.join(taken)}\).*another --runtime"
    ):
        tensorrt_on_device(weights, SPEC, "cpu", options_for(tmp_path))
    sessions.error = RuntimeError("/src/a.cc:729 f(int) Please install TensorRT libraries as mentioned\n")
    with pytest.raises(
        UsageError, match=rf"cannot use its {TENSORRT} \(Please install TensorRT libraries as mentioned"
    ):
        tensorrt_on_device(weights, SPEC, "cpu", options_for(tmp_path))


def test_cuda_that_does_not_load_is_no_reason_to_compute_on_the_cpu_either(
    sessions: Sessions, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.taken = [CPU]
    assert onnx_on_device(weights, SPEC, "cpu").name == "onnxruntime"
    lanes = CudaLanes.__new__(CudaLanes)
    lanes.device, lanes.compute = SimpleNamespace(index=0), SimpleNamespace(cuda_stream=7)  # type: ignore[assignment]
    monkeypatch.setattr("boxmill.runtimes.onnxruntime.lanes_of", lambda device: lanes)
    with pytest.raises(UsageError, match=rf"cannot use its {CUDA} \(it took {CPU}\)"):
        onnx_on_device(weights, SPEC, "cuda:0")


def test_whatever_decides_of_an_engine_has_an_engine_of_its_own(
    sessions: Sessions, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(options: TensorRtOptions) -> str:
        tensorrt_on_device(weights, SPEC, "cpu", options)
        return sessions.asked[-1][TENSORRT]["trt_engine_cache_path"]

    plain = options_for(tmp_path)
    seen = [folder(plain), folder(replace(plain, half=True)), folder(replace(plain, hashes=("cd34",)))]
    seen += [folder(replace(plain, batch=4)), folder(replace(plain, rect=True))]
    assert folder(plain) == seen[0]
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    seen.append(folder(plain))
    monkeypatch.setattr(onnxruntime, "__version__", "9.9")
    seen.append(folder(plain))
    assert len(set(seen)) == len(seen) == 7
    assert {Path(one).is_dir() for one in seen} == {True}
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "1"  # whoever set it meant it
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError):
        folder(TensorRtOptions(tmp_path / "taken", ("ab12",)))


def test_a_profile_covers_every_shape_that_can_come() -> None:
    wide = InputSpec((384, 640), stride=64, dynamic=True)
    asked = profile(SYMBOLIC, wide, 16, rect=True)
    assert asked["trt_profile_min_shapes"] == "images:1x3x64x64"
    assert asked["trt_profile_max_shapes"] == "images:16x3x384x640"
    odd = replace(wide, size=(100, 640))
    assert profile(SYMBOLIC, odd, 1, rect=True)["trt_profile_max_shapes"] == "images:1x3x128x640"
    stretched = replace(wide, resize="stretch")
    assert profile(SYMBOLIC, stretched, 16, rect=True)["trt_profile_min_shapes"] == "images:1x3x384x640"
    last = replace(wide, layout="NHWC")
    image = TensorInfo("input", "float32", ("n", 384, 640, 3))
    assert profile(image, last, 4, rect=False)["trt_profile_opt_shapes"] == "input:4x384x640x3"
    one = TensorInfo("images", "float32", (1, 3, "height", "width"))
    assert profile(one, wide, 4, rect=True)["trt_profile_max_shapes"] == "images:1x3x384x640"
    silent = TensorInfo("images", "float32", None)
    assert profile(silent, wide, 4, rect=False)["trt_profile_max_shapes"] == "images:4x3x384x640"
    assert profile(TensorInfo("images", "float32", (1, 3, 384, 640)), wide, 4, rect=False) == {}


def test_a_network_of_one_shape_has_no_profile_and_its_own_batch(sessions: Sessions, tmp_path: Path) -> None:
    weights = write_detector(tmp_path / "one.onnx", SPEC.names, dynamic=False)
    spec = replace(SPEC, input=replace(SPEC.input, dynamic=False))
    device = tensorrt_on_device(weights, spec, "cpu", options_for(tmp_path))
    assert device.most_images == 1
    assert not [name for name in sessions.asked[0][TENSORRT] if "profile" in name]


def test_layers_of_float16_in_the_file_are_computed_as_such(
    sessions: Sessions, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = tensorrt.read_onnx
    monkeypatch.setattr(tensorrt, "read_onnx", lambda path: replace(read(path), numbers={"float16": 9}))
    device = tensorrt_on_device(weights, SPEC, "cpu", options_for(tmp_path))
    assert device.precision == "fp16"
    assert sessions.asked[0][TENSORRT]["trt_fp16_enable"] == "True"


def test_precisions(sessions: Sessions) -> None:
    assert [check_tensorrt(one) for one in ("auto", "fp32", "fp16")] == ["fp32", "fp32", "fp16"]
    with pytest.raises(UsageError, match=r"--precision bf16: TensorRT computes in fp32 \(auto\) or fp16 here"):
        check_tensorrt("bf16")


def test_what_is_missing_is_named(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    for has, lacks in (([CUDA, CPU], TENSORRT), ([TENSORRT, CPU], CUDA)):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda has=has: has)
        with pytest.raises(UsageError, match=rf"--runtime tensorrt: .* has no {lacks} \(it has .*put onnxruntime-gpu"):
            check_tensorrt("auto")
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install onnxruntime-gpu"):
        check_tensorrt("auto")


def test_it_always_computes_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("boxmill.api.effective_device", lambda wanted: "cpu")
    with pytest.raises(UsageError, match="--runtime tensorrt: PyTorch sees no GPU here; give another --runtime"):
        engine_devices(EngineSettings(runtime="tensorrt"))

    def effective(wanted: str) -> str:
        return "cuda:0" if wanted == "auto" else f"cuda:{wanted.removeprefix('cuda:')}"

    monkeypatch.setattr("boxmill.api.effective_device", effective)
    assert engine_devices(EngineSettings(runtime="tensorrt")) == ("cuda:0",)
    assert engine_devices(EngineSettings(runtime="tensorrt", device="0, cuda:1")) == ("cuda:0", "cuda:1")
    check_batch(EngineSettings(runtime="tensorrt", batch=8))


def test_from_settings_to_a_runtime(
    sessions: Sessions, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("boxmill.api.engine_devices", lambda engine: ("cpu",))
    flags = {"weights": weights, "runtime": "tensorrt", "precision": "fp16", "batch": 4}
    chosen = with_network(settings("photos", flags), print)
    resolution = resolve_model(chosen.model, chosen.engine.runtime)
    told = fingerprint(chosen, resolution)
    assert (told["runtime"], told["precision"]) == ("tensorrt", "fp16")
    plain = fingerprint(settings("photos", {**flags, "precision": "auto"}), resolution)
    assert {name for name in told if told[name] != plain[name]} == {"precision"}
    assert versions(chosen)["onnxruntime"] == onnxruntime.__version__
    runtime = make_runtime(chosen, resolution, 1)
    assert (runtime.name, runtime.precision) == ("tensorrt", "fp16")
    (asked,) = sessions.asked
    kept = tmp_path / "cache" / "boxmill" / "tensorrt"
    assert asked[TENSORRT]["trt_timing_cache_path"] == str(kept)
    assert asked[TENSORRT]["trt_profile_max_shapes"].startswith("images:4x3x")
    assert (kept / "building.lock").is_file()


def test_without_a_gpu_no_run_is_begun(
    sessions: Sessions, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boxmill.api.effective_device", lambda wanted: "cpu")
    photos = write_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match="PyTorch sees no GPU here"):
        Mill(settings(str(photos), {"weights": weights, "runtime": "tensorrt", "project": tmp_path / "runs"}))
    assert not (tmp_path / "runs").exists()


def test_without_the_provider_a_run_says_what_to_install(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("boxmill.api.effective_device", lambda wanted: "cuda:0")
    photos = write_photos(tmp_path / "photos", 1)
    with pytest.raises(UsageError, match=r"has no TensorrtExecutionProvider .* put onnxruntime-gpu in its place"):
        Mill(settings(str(photos), {"weights": weights, "runtime": "tensorrt"}))
