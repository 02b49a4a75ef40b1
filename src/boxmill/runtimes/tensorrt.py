"""Networks on a GPU through TensorRT, as a provider of ONNX Runtime's: the engine is built once, kept, and used again.

TensorRT compiles a network for a range of shapes (a profile) on one kind of GPU, which takes minutes. The range here
covers every batch and every shape that the mill can ask for, so that nothing is built between images; ONNX Runtime
fails on a shape outside of it. Nodes that TensorRT does not take are computed by the CUDA provider.

Names and values of options: ONNX Runtime's documentation, "TensorRT Execution Provider". Its Python binding takes
booleans as the words True and False only, and a stream by its address.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from boxmill.errors import ModelError, UsageError
from boxmill.images import tensor_shape
from boxmill.models import TensorInfo, read_onnx
from boxmill.runtimes.cuda import CudaLanes, Lanes, lanes_of
from boxmill.runtimes.onnxruntime import CUDA, Execution, Providers, check_provider, cuda_options, network_on_device
from boxmill.runtimes.torch import check_torch
from boxmill.runtimes.torch_device import DeviceSelect, TorchDevice
from boxmill.store.durable import output_error
from boxmill.types import InputSpec, ModelSpec

__all__ = ["TensorRtOptions", "check_tensorrt", "profile", "tensorrt_on_device"]

_TENSORRT = "TensorrtExecutionProvider"
_MOST_IMAGES = 32  # in a batch whose size is searched for: an engine holds the memory of its largest batch all the time
_TF32 = "NVIDIA_TF32_OVERRIDE"


@dataclass(frozen=True, slots=True)
class TensorRtOptions:
    """How an engine is built, and where it is kept."""

    folder: Path  # of engines; each has a folder of its own in it
    hashes: tuple[str, ...]  # of the network's files: ONNX Runtime tells networks apart by their nodes' names alone
    half: bool = False  # layers may compute in float16
    batch: int | None = None  # images at most; None: 32
    rect: bool = False  # shapes vary


def check_tensorrt(precision: str) -> str:
    """What a network computes in through TensorRT, fp32 or fp16; loads ONNX Runtime, but no provider.

    Raises:
        UsageError: a package or the provider is missing, or the precision is another.
    """
    if precision not in ("auto", "fp32", "fp16"):
        raise UsageError(f"--precision {precision}: TensorRT computes in fp32 (auto) or fp16 here; give one of them")
    if find_spec("onnxruntime") is None:
        raise UsageError(
            "--runtime tensorrt is a part of onnxruntime-gpu, which is not installed; "
            "install it with: pip install onnxruntime-gpu, and TensorRT as its documentation says"
        )
    for provider in (_TENSORRT, CUDA):
        check_provider(provider, "--runtime tensorrt", "give another --runtime")
    check_torch("--runtime tensorrt letterboxes on a GPU with it")
    return "fp16" if precision == "fp16" else "fp32"


def tensorrt_on_device(
    weights: Path, spec: ModelSpec, device: str, options: TensorRtOptions, select: DeviceSelect | None = None
) -> TorchDevice:
    """The network for the loop that feeds a device; takes minutes where no engine of it is kept yet.

    TensorRT uses TF32 in float32 layers, and ONNX Runtime has no option against that: this process gets
    NVIDIA_TF32_OVERRIDE=0 in its environment, unless that variable is set already.

    Args:
        weights: the ONNX file.
        spec: of the model.
        device: cuda:N; cpu for everything but the providers themselves, without one.
        options: see there.
        select: post-processing on the device.

    Raises:
        UsageError: ONNX Runtime, one of its providers, or PyTorch is missing or does not load.
        ModelError: no engine can be built of it, or an output that the card names is missing.
        OutputError: there can be no folder for the engine.
    """
    check_tensorrt("fp16" if options.half else "fp32")
    os.environ.setdefault(_TF32, "0")
    if find_spec("tensorrt") is not None:
        import_module("tensorrt")  # libraries that pip installed are found only once this has loaded them
    lanes = lanes_of(device)
    network = read_onnx(weights)
    half = options.half or network.numbers.get("float16", 0) > 0  # float16 layers are refused without
    most = options.batch or _MOST_IMAGES
    shapes = profile(network.inputs[0], spec.input, most, rect=options.rect)
    folder = _engine_folder(options, lanes, half=half, shapes=shapes)
    providers = _providers(lanes, {**_engine_options(options.folder, folder, half=half), **shapes})
    execution = Execution(providers, "tensorrt", "fp16" if half else "fp32", most)
    try:
        return network_on_device(weights, spec, lanes, execution, select)
    except ModelError as error:
        raise ModelError(
            f"{error}; where memory ran out, give a smaller --batch than {most}; where TensorRT was exchanged since "
            f"the last run, delete its engine in {folder}"
        ) from error


def profile(image: TensorInfo, spec: InputSpec, most: int, *, rect: bool) -> dict[str, str]:
    """The range of shapes that an engine is built for, as options of the provider; none for a network of one shape.

    Args:
        image: the network's input.
        spec: of the same.
        most: images in the largest batch; the engine is tuned for that at the full size.
        rect: whether heights and widths vary, from one stride to the full size.
    """
    dims = image.dims or (None,) * 4
    if all(isinstance(dim, int) for dim in dims):
        return {}
    full = small = spec.size
    if rect and spec.resize in ("letterbox", "letterbox_topleft"):
        small = (spec.stride, spec.stride)
        full = (-(-full[0] // spec.stride) * spec.stride, -(-full[1] // spec.stride) * spec.stride)

    def written(batch: int, size: tuple[int, int]) -> str:
        wanted = (batch, *tensor_shape(size, spec))
        return f"{image.name}:" + "x".join(
            str(dim if isinstance(dim, int) else one) for dim, one in zip(dims, wanted, strict=True)
        )

    return {
        "trt_profile_min_shapes": written(1, small),
        "trt_profile_opt_shapes": written(most, full),
        "trt_profile_max_shapes": written(most, full),
    }


def _engine_folder(options: TensorRtOptions, lanes: Lanes, *, half: bool, shapes: dict[str, str]) -> Path:
    """Made; of its own for whatever decides of an engine, because ONNX Runtime looks at little of that."""
    import onnxruntime

    about = {
        "weights": options.hashes,
        "onnxruntime": onnxruntime.__version__,
        "device": lanes.hardware,
        "half": half,
        "tf32": os.environ[_TF32],
        "shapes": shapes,
    }
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    folder = options.folder / name[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


def _engine_options(timings: Path, engines: Path, *, half: bool) -> dict[str, str]:
    return {
        "trt_fp16_enable": str(half),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "True",  # how fast which kernel is on this GPU serves every network
        "trt_timing_cache_path": str(timings),
    }


def _providers(lanes: Lanes, options: dict[str, str]) -> Providers:
    """TensorRT, and CUDA for what it does not take, in the stream that everything else is queued in."""
    if not isinstance(lanes, CudaLanes):
        return [(_TENSORRT, options), CUDA]
    cuda = cuda_options(lanes)
    place = {name: cuda[name] for name in ("device_id", "user_compute_stream")}
    return [(_TENSORRT, {**place, **options}), (CUDA, cuda)]
