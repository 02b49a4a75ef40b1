"""A network as a script loads it: one call, and the runtime's own default number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from boxmill.compare.order import Order
from boxmill.runtimes import RawOutput
from boxmill.types import Float32

__all__ = ["Infer", "load"]

Infer = Callable[[Float32], Sequence[RawOutput]]


def load(order: Order) -> Infer:
    """The network, ready for batches; whatever the runtime raises is the end of the script."""
    return (_openvino if order.runtime == "openvino" else _onnxruntime)(order)


def _onnxruntime(order: Order) -> Infer:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fsdecode(order.network), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    element = np.float16 if image.type == "tensor(float16)" else np.float32
    wanted = list(order.spec.head.outputs) or [output.name for output in session.get_outputs()]
    return lambda tensor: session.run(wanted, {image.name: tensor.astype(element, copy=False)})


def _openvino(order: Order) -> Infer:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(os.fsdecode(order.network))
    height, width = order.spec.input.size
    image = [3, height, width] if order.spec.input.layout == "NCHW" else [height, width, 3]
    model.reshape({model.inputs[0]: ov.PartialShape([1 if order.batch == 1 else -1, *image])})
    # without the hint OpenVINO computes in bf16 where the processor has it, and a row called fp32 would not be
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if order.precision == "bf16" else "f32"}
    network = core.compile_model(model, "CPU", hint)
    wanted = list(order.spec.head.outputs) or list(network.outputs)

    def infer(tensor: Float32) -> list[RawOutput]:
        found = network([tensor])
        return [found[output] for output in wanted]

    return infer
