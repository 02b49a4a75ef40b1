"""Networks on the CPU through ONNX Runtime: one session that all calling threads share, one thread for each call.

With one thread inside a call the arithmetic does not depend on how many images are under way, and no worker waits for
another inside the network. On two shared cores (AMD Zen 4, ONNX Runtime 1.32, yolox_nano at 416x416) two callers of one
session took 9.6 ms an image, with a session each 12.1, one caller with two threads 11.5, and 21.5 with threads that
spin while they wait: the cores belong to decoding and post-processing meanwhile.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from boxmill.errors import ModelError, UsageError
from boxmill.runtimes.base import RawOutput
from boxmill.types import Float32, ModelSpec

__all__ = ["OnnxRuntime", "check_available"]

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
_FATAL = 4  # severity from which its logger prints


def check_available(precision: str) -> None:
    """Whether this runtime can be used here, without loading it.

    Raises:
        UsageError: the package is missing, or the precision is not one it has on a CPU.
    """
    if precision not in ("auto", "fp32"):
        raise UsageError(
            f"--precision {precision}: ONNX Runtime computes in fp32 on a CPU; leave --precision out, "
            "or use --runtime openvino"
        )
    if find_spec("onnxruntime") is None:
        raise UsageError(
            "--runtime onnxruntime: the package onnxruntime is not installed; "
            "install it with: pip install 'boxmill[onnxruntime]'"
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
