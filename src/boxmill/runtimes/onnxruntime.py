"""Networks on the CPU through ONNX Runtime: one session that all calling threads share, one thread for each call.

With one thread inside a call the arithmetic does not depend on how many images are under way, and no worker waits for
another inside the network. On two shared cores (AMD Zen 4, ONNX Runtime 1.32, yolox_nano at 416x416) two callers of one
session took 9.6 ms an image, with a session each 12.1, one caller with two threads 11.5, and 21.5 with threads that
spin while they wait: the cores belong to decoding and post-processing meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from boxmill.errors import ModelError, UsageError
from boxmill.runtimes.base import RawOutput
from boxmill.runtimes.cuda import CudaLanes, Lanes, lanes_of
from boxmill.runtimes.torch import check_torch
from boxmill.runtimes.torch_device import MOST_IMAGES, DeviceNetwork, DeviceSelect, TorchDevice
from boxmill.types import Float32, ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CUDA",
    "Execution",
    "OnnxRuntime",
    "Providers",
    "check_available",
    "check_provider",
    "cuda_options",
    "network_on_device",
    "onnx_on_device",
]

# The classes that its binding raises; they share no base class below Exception.
_ERRORS = (
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoModel",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)
CUDA = "CUDAExecutionProvider"
_NOT_INSTALLED = "Please install"  # of its error where a provider's libraries are missing
_FATAL = 4  # severity from which its logger prints
Providers = list[str | tuple[str, dict[str, str]]]  # names, with options, best first


def check_available(precision: str, device: str = "cpu") -> None:
    """Whether this runtime can be used here; for a CPU without loading it.

    Raises:
        UsageError: the package or its part for the device is missing, or the precision is another than the network's.
    """
    if precision not in ("auto", "fp32"):
        raise UsageError(
            f"--precision {precision}: ONNX Runtime computes in fp32; leave --precision out, "
            "or use --runtime openvino, or torch"
        )
    if find_spec("onnxruntime") is None:
        raise UsageError(
            "--runtime onnxruntime: the package onnxruntime is not installed; "
            "install it with: pip install 'boxmill[onnxruntime]'"
        )
    if device != "cpu":
        check_provider(CUDA, f"--runtime onnxruntime --device {device}", "leave --device out")


def check_provider(name: str, asked: str, otherwise: str) -> None:
    """Whether the installed ONNX Runtime was built with a provider; whether that loads shows with the first session.

    Args:
        name: of the provider.
        asked: the flags that ask for it.
        otherwise: what else can be done.

    Raises:
        UsageError: it was not.
    """
    import onnxruntime

    found = onnxruntime.get_available_providers()
    if name not in found:
        raise UsageError(
            f"{asked}: the installed ONNX Runtime {onnxruntime.__version__} has no "
            f"{name} (it has {', '.join(found)}); put onnxruntime-gpu in its place, or {otherwise}"
        )


class OnnxRuntime:
    """Implements `Runtime` with ONNX Runtime's CPU execution provider."""

    name = "onnxruntime"
    precision = "fp32"

    def __init__(self, weights: Path, spec: ModelSpec) -> None:
        """Reads the network.

        Raises:
            UsageError: the package onnxruntime is missing.
            ModelError: it cannot read the network, or an output that the card names is missing.
        """
        check_available("fp32")
        import onnxruntime

        self.spec = spec
        self.version: str = onnxruntime.__version__
        self._errors = _error_classes(onnxruntime)
        try:
            self._session = onnxruntime.InferenceSession(
                str(weights), _session_options(onnxruntime), providers=["CPUExecutionProvider"]
            )
        except self._errors as error:
            raise ModelError(f"ONNX Runtime cannot load {str(weights)!r}: {_first_line(error)}") from error
        (image,) = self._session.get_inputs()
        self._input: str = image.name
        self._element = np.float16 if image.type == "tensor(float16)" else np.float32
        self._outputs = _output_names([output.name for output in self._session.get_outputs()], spec)

    def infer(self, tensor: Float32) -> list[RawOutput]:
        """See `Runtime.infer`; the arrays are the caller's."""
        try:
            found = self._session.run(self._outputs, {self._input: tensor.astype(self._element, copy=False)})
        except self._errors as error:
            raise ModelError(f"ONNX Runtime cannot run the network on {tensor.shape}: {_first_line(error)}") from error
        return [_as_float32(output) for output in found]

    def close(self) -> None:
        """Frees the network."""
        del self._session


def onnx_on_device(weights: Path, spec: ModelSpec, device: str, select: DeviceSelect | None = None) -> TorchDevice:
    """The network for the loop that feeds a device; inputs and heads stay on it, as PyTorch's tensors.

    Args:
        weights: the ONNX file.
        spec: of the model.
        device: cuda:N; cpu computes in the same way without one.
        select: post-processing on the device.

    Raises:
        UsageError: ONNX Runtime, its part for the device, or PyTorch is missing.
        ModelError: it cannot read the network, or an output that the card names is missing.
    """
    check_available("fp32", device)
    check_torch("--runtime onnxruntime letterboxes on a GPU with it")
    lanes = lanes_of(device)
    providers: Providers = ["CPUExecutionProvider"]
    if isinstance(lanes, CudaLanes):
        providers = [(CUDA, cuda_options(lanes)), *providers]
    return network_on_device(weights, spec, lanes, Execution(providers), select)


@dataclass(frozen=True, slots=True)
class Execution:
    """What computes a session on a device."""

    providers: Providers  # all of which must load
    name: str = "onnxruntime"  # of the runtime
    precision: str = "fp32"
    most_images: int = MOST_IMAGES  # in a batch


def cuda_options(lanes: CudaLanes) -> dict[str, str]:
    """The CUDA provider computing in the stream that everything else is queued in."""
    stream = str(lanes.compute.cuda_stream)
    return {"device_id": str(lanes.device.index), "user_compute_stream": stream, "use_tf32": "0"}


def network_on_device(
    weights: Path, spec: ModelSpec, lanes: Lanes, execution: Execution, select: DeviceSelect | None
) -> TorchDevice:
    """A session whose inputs and outputs stay on the device of `lanes`.

    Raises:
        UsageError: a provider does not load.
        ModelError: ONNX Runtime cannot read the network, or an output that the card names is missing.
    """
    import onnxruntime
    import torch

    errors = _error_classes(onnxruntime)
    session = _session(onnxruntime, weights, execution.providers, errors)
    (image,) = session.get_inputs()
    half = image.type == "tensor(float16)"
    outputs = _output_names([output.name for output in session.get_outputs()], spec)
    parts = DeviceNetwork(
        forward=_Bound(session, image.name, outputs, errors),
        name=execution.name,
        version=onnxruntime.__version__,
        precision=execution.precision,
        dtype=torch.float16 if half else torch.float32,
        batch=image.shape[0] if isinstance(image.shape[0], int) else None,
        most_images=execution.most_images,
    )
    return TorchDevice(spec, parts, lanes, select)


def _session(library: ModuleType, weights: Path, providers: Providers, errors: tuple[type[Exception], ...]) -> Any:
    """A session on exactly these providers.

    Left to itself, ONNX Runtime 1.31 goes on with the CPU where CUDA's libraries are missing, and says so in its log
    alone; where TensorRT's are, it raises, and would try again with CUDA if `enable_fallback` let it.
    """
    names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    try:
        session = library.InferenceSession(
            str(weights), _session_options(library), providers=providers, enable_fallback=0
        )
    except errors as error:
        if _NOT_INSTALLED in str(error):
            why = str(error)[str(error).index(_NOT_INSTALLED) :].strip().rstrip(".")
            raise _unusable(library, names[0], why) from error
        raise ModelError(f"ONNX Runtime cannot load {str(weights)!r}: {_first_line(error)}") from error
    taken = session.get_providers()
    for name in names:
        if name not in taken:
            raise _unusable(library, name, f"it took {', '.join(taken)}")
    return session


def _unusable(library: ModuleType, provider: str, why: str) -> UsageError:
    return UsageError(
        f"ONNX Runtime {library.__version__} cannot use its {provider} ({why}): libraries that it needs are missing "
        "or of another version; install those that its documentation names for this version, or give another --runtime"
    )


class _Bound:
    """A forward by I/O binding: from a tensor's memory to tensors that share memory with the outputs."""

    def __init__(self, session: Any, name: str, outputs: list[str], errors: tuple[type[Exception], ...]) -> None:
        import onnxruntime

        self._session, self._input, self._outputs, self._errors = session, name, outputs, errors
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Raises RuntimeError."""
        import torch

        binding, where = self._session.io_binding(), (images.device.type, images.device.index or 0)
        element = np.float16 if images.dtype == torch.float16 else np.float32
        binding.bind_input(self._input, *where, element, tuple(images.shape), images.data_ptr())
        for name in self._outputs:
            binding.bind_output(name, *where)
        try:
            self._session.run_with_iobinding(binding, self._options)
        except self._errors as error:
            problem = str(error)
        else:
            return [torch.utils.dlpack.from_dlpack(output) for output in binding.get_outputs()]
        raise RuntimeError(problem)


def _session_options(library: ModuleType) -> Any:
    options = library.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _FATAL
    return options


def _error_classes(library: ModuleType) -> tuple[type[Exception], ...]:
    known = vars(library.capi.onnxruntime_pybind11_state)
    return (RuntimeError, ValueError, *(known[name] for name in _ERRORS if name in known))


def _output_names(names: list[str], spec: ModelSpec) -> list[str]:
    """What to fetch, in the head's order."""
    wanted = list(spec.head.outputs)
    for name in wanted:
        if name not in names:
            raise ModelError(f"the card names the output {name!r}; the network has: {', '.join(names)}")
    if not wanted and len(names) > 1:
        raise ModelError(
            f"the network has {len(names)} outputs ({', '.join(names)}); name one in the card under head.outputs"
        )
    return wanted or names


def _as_float32(output: RawOutput) -> RawOutput:
    return output.astype(np.float32, copy=False) if np.issubdtype(output.dtype, np.floating) else output


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
