"""Networks on the CPU through OpenVINO: one compiled model, one infer request for each calling thread.

Each stream has exactly one thread, whatever the number of workers: then the arithmetic, and so the result, does not
depend on how many images are under way, and no worker waits for another inside a network (two streams of one thread
took 10.8 ms an image where one stream of two took 14.1). Threads are not pinned, because decoding and post-processing
run beside them on the same cores. The batch is always 1: larger ones gain nothing on a CPU, and in bf16 they would
change the rounding.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from boxmill.errors import ModelError
from boxmill.types import Float32, ModelSpec

if TYPE_CHECKING:
    import openvino as ov

__all__ = ["OpenVinoOptions", "OpenVinoRuntime", "effective_precision", "has_native_bf16"]

Precision = Literal["auto", "fp32", "bf16"]
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86-64 and aarch64 names in /proc/cpuinfo


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """How a network is compiled."""

    precision: Precision = "auto"
    streams: int = 1  # networks that run at the same time, one thread each
    rect: bool = False  # height and width may differ from `spec.input.size` at each call


def has_native_bf16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere emulation is slower than float32."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.lower().startswith(("flags", "features"))), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())


class OpenVinoRuntime:
    """Implements `Runtime` with OpenVINO's CPU device."""

    name = "openvino"

    def __init__(self, weights: Path, spec: ModelSpec, options: OpenVinoOptions) -> None:
        """Reads and compiles the network.

        Raises:
            ModelError: OpenVINO cannot read or compile it, a named output is missing, or the precision is impossible.
        """
        import openvino as ov

        self.spec = spec
        self.version = ov.__version__.split("-")[0]
        self.precision: str = effective_precision(options.precision)
        core = ov.Core()
        core.set_property({"CACHE_DIR": ""})
        try:
            model = core.read_model(weights)
            self._outputs = [_output_index(model, name) for name in spec.head.outputs] or [_only_output(model)]
            model = _as_float32(model)
            model.reshape({model.inputs[0]: _input_shape(spec, options)})
            self._compiled = core.compile_model(model, "CPU", _properties(self.precision, options.streams))
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {str(weights)!r}: {_last_line(error)}") from error
        self._local = threading.local()

    def infer(self, tensor: Float32) -> list[Float32]:
        """See `Runtime.infer`, with B = 1; the arrays are the request's own memory.

        The first call of a process must end before another thread makes one: OpenVINO's Python binding initialises
        itself then, and two threads at once can wait for each other for ever.
        """
        request: Any = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        request.infer([tensor], share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(index).data for index in self._outputs]

    def close(self) -> None:
        """Frees the compiled network and every thread's request."""
        self._local = threading.local()
        del self._compiled


def effective_precision(wanted: Precision) -> Literal["fp32", "bf16"]:
    """What a network runs in on this processor. Raises ModelError where the precision is impossible."""
    if wanted == "auto":
        return "bf16" if has_native_bf16() else "fp32"
    if wanted == "bf16" and not has_native_bf16():
        raise ModelError(
            "precision bf16 needs a processor with bfloat16 instructions (avx512_bf16, amx_bf16); "
            "this one has none, so it would be slower than fp32. Use --precision auto or fp32"
        )
    return wanted


def _properties(precision: str, streams: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": streams,
        "ENABLE_CPU_PINNING": False,
    }


def _input_shape(spec: ModelSpec, options: OpenVinoOptions) -> ov.PartialShape:
    """Static where every image has the same shape: 5 to 8 % less processor time than a dynamic one."""
    import openvino as ov

    height, width = (-1, -1) if options.rect else spec.input.size
    dims = [1, 3, height, width] if spec.input.layout == "NCHW" else [1, height, width, 3]
    return ov.PartialShape(dims)


def _as_float32(model: ov.Model) -> ov.Model:
    """Half-precision inputs and outputs become float32 at the border, so that the rest sees one dtype."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    ports = [*model.inputs, *model.outputs]
    if all(port.get_element_type() == ov.Type.f32 for port in ports):
        return model
    processor = PrePostProcessor(model)
    for index in range(len(model.inputs)):
        processor.input(index).tensor().set_element_type(ov.Type.f32)
    for index in range(len(model.outputs)):
        processor.output(index).tensor().set_element_type(ov.Type.f32)
    return processor.build()


def _output_index(model: ov.Model, name: str) -> int:
    for index, output in enumerate(model.outputs):
        if name in output.get_names():
            return index
    names = ", ".join(sorted(name for output in model.outputs for name in output.get_names()))
    raise ModelError(f"the card names the output {name!r}; the network has: {names}")


def _only_output(model: ov.Model) -> int:
    if len(model.outputs) == 1:
        return 0
    names = ", ".join(sorted(name for output in model.outputs for name in output.get_names()))
    raise ModelError(f"the network has {len(model.outputs)} outputs ({names}); name one in the card under head.outputs")


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
