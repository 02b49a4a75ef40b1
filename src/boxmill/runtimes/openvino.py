"""Networks on the CPU through OpenVINO: a compiled network of one thread for each calling thread.

Each network has exactly one thread, whatever the number of workers: then the arithmetic, and so the result, does not
depend on how many images are under way, and no worker waits for another inside a network (two streams of one thread
took 10.8 ms an image where one stream of two took 14.1). Networks of their own, rather than streams of one, let two
workers that also decode take 11.5 ms an image instead of 12.0: streams are handed out to whoever comes, and half the
wake-ups meet a busy core. Only where the copies of the weights would take too much memory is one network shared.
Threads are not pinned, because decoding and post-processing run beside them on the same cores.

The shapes that cameras take are compiled one by one, when the first image of one comes (0.3 s); a network of a known
shape takes 7 % less processor time than one that takes any. All other shapes share a dynamic one. In bf16 the two round
differently, so which is used depends on the image's own shape and on nothing else. The batch is always 1: larger ones
gain nothing on a CPU.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from boxmill.errors import ModelError
from boxmill.images import geometry
from boxmill.runtimes.base import RawOutput
from boxmill.types import Float32, InputSpec, ModelSpec

if TYPE_CHECKING:
    import openvino as ov

__all__ = ["OpenVinoOptions", "OpenVinoRuntime", "effective_precision", "has_native_bf16"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_MOST_COPIES = 1 << 30  # bytes of weights that the threads' own networks of all shapes may hold together
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


@dataclass(slots=True)
class _Slot:
    """Room for one compiled network."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    network: ov.CompiledModel | None = None


_Shape = tuple[int, int] | None  # network height and width; None: any that is not common


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
            self._model = _as_float32(model)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {str(weights)!r}: {_last_line(error)}") from error
        self._static = _common_shapes(spec.input) if options.rect else frozenset({spec.input.size})
        copies = options.streams * (len(self._static) + 1)
        self._slots_a_shape = options.streams if copies * _weight_bytes(model) <= _MOST_COPIES else 1
        self._core = core
        self._properties = _properties(self.precision, options.streams // self._slots_a_shape)
        self._slots: dict[tuple[_Shape, int], _Slot] = {}
        self._users: Counter[_Shape] = Counter()  # threads that have a request, but for the one that made this
        self._giving = threading.Lock()  # guards the two above
        self._maker = threading.get_ident()
        self._local = threading.local()

    def infer(self, tensor: Float32) -> list[RawOutput]:
        """See `Runtime.infer`, with B = 1; the arrays are the request's own memory.

        The first call of a process must end before another thread makes one: OpenVINO's Python binding initialises
        itself then, and two threads at once can wait for each other for ever.
        """
        height, width = tensor.shape[2:] if self.spec.input.layout == "NCHW" else tensor.shape[1:3]
        request = self._request((height, width) if (height, width) in self._static else None)
        try:
            request.infer([tensor], share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run the network on {tensor.shape}: {_last_line(error)}") from error
        return [request.get_output_tensor(index).data for index in self._outputs]

    def close(self) -> None:
        """Frees the compiled networks and every thread's requests."""
        self._local = threading.local()
        self._slots.clear()

    def _request(self, shape: _Shape) -> Any:
        """This thread's request for a shape, or for all that are not common. Raises ModelError."""
        requests = self._local.__dict__
        key = str(shape)
        if key not in requests:
            slot = self._slot(shape)
            with slot.lock:
                if slot.network is None:
                    slot.network = self._compile(shape)
            requests[key] = slot.network.create_infer_request()
        return requests[key]

    def _slot(self, shape: _Shape) -> _Slot:
        """Workers get one each, in turn. The thread that made this only tries it out: it shares the first one's."""
        with self._giving:
            place = 0
            if threading.get_ident() != self._maker:
                place = self._users[shape] % self._slots_a_shape
                self._users[shape] += 1
            return self._slots.setdefault((shape, place), _Slot())

    def _compile(self, shape: _Shape) -> ov.CompiledModel:
        import openvino as ov

        height, width = shape or (-1, -1)
        dims = [1, 3, height, width] if self.spec.input.layout == "NCHW" else [1, height, width, 3]
        model = self._model.clone()
        try:
            model.reshape({model.inputs[0]: ov.PartialShape(dims)})
            return self._core.compile_model(model, "CPU", self._properties)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot compile the network for {dims}: {_last_line(error)}") from error


def effective_precision(wanted: Precision) -> Literal["fp32", "bf16"]:
    """What a network runs in on this processor. Raises ModelError where the precision is impossible."""
    if wanted == "auto":
        return "bf16" if has_native_bf16() else "fp32"
    if wanted == "fp16":
        raise ModelError("precision fp16 is for GPUs; on a CPU use --precision auto, bf16 or fp32")
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


def _weight_bytes(model: ov.Model) -> int:
    constants = (op for op in model.get_ops() if op.get_type_name() == "Constant")
    return sum(constant.get_output_element_type(0).size * int(np.prod(constant.shape)) for constant in constants)


def _common_shapes(spec: InputSpec) -> frozenset[tuple[int, int]]:
    """Network shapes of what cameras and phones take: 16:9, 4:3 and 3:2, lying and standing."""
    lying = ((1080, 1920), (1536, 2048), (2000, 3000))  # height, width
    standing = tuple((width, height) for height, width in lying)
    return frozenset(geometry(source, spec, rect=True).network for source in (*lying, *standing))


def _as_float32(model: ov.Model) -> ov.Model:
    """Other kinds of floats become float32 at the border, so that the rest sees one dtype; labels stay whole."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    inputs, outputs = ([_is_other_float(port) for port in ports] for ports in (model.inputs, model.outputs))
    if not any((*inputs, *outputs)):
        return model
    processor = PrePostProcessor(model)
    for index in (index for index, other in enumerate(inputs) if other):
        processor.input(index).tensor().set_element_type(ov.Type.f32)
    for index in (index for index, other in enumerate(outputs) if other):
        processor.output(index).tensor().set_element_type(ov.Type.f32)
    return processor.build()


def _is_other_float(port: Any) -> bool:
    kind = port.get_element_type()
    return bool(kind.is_real()) and kind.get_type_name() != "f32"


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
