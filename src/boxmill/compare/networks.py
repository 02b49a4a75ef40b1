"""A network as a script loads it: one call from arrays to arrays, and the runtime's own defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boxmill.compare.order import Order
from boxmill.errors import UsageError
from boxmill.runtimes import RawOutput
from boxmill.types import Float32

__all__ = ["Infer", "Load", "loader"]

_CUDA = "CUDAExecutionProvider"

Infer = Callable[[Float32], Sequence[RawOutput]]
Load = Callable[[], Infer]


def loader(order: Order) -> Load:
    """What loads the network, ready for batches; whatever the runtime raises is the end of the script.

    The library is imported and the GPU awake before this returns: a script that loads for each image does that once.

    Raises:
        UsageError: what is needed on a GPU is missing.
    """
    if order.device != "cpu":
        _wake(order.device)
    if order.runtime == "torch":
        return _torch(order)
    return _openvino(order) if order.runtime == "openvino" else _onnxruntime(order)


def _wake(device: str) -> None:
    """PyTorch makes the GPU's context, and brings the libraries that ONNX Runtime's CUDA provider is linked with."""
    import torch

    torch.zeros(1, device=device)


def _onnxruntime(order: Order) -> Load:
    import onnxruntime

    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if order.device != "cpu":
        providers.insert(0, (_CUDA, {"device_id": order.device.partition(":")[2]}))

    def load() -> Infer:
        session = onnxruntime.InferenceSession(os.fsdecode(order.network), providers=providers)
        if order.device != "cpu" and _CUDA not in (found := session.get_providers()):  # it only warns, and uses the CPU
            raise UsageError(f"ONNX Runtime {onnxruntime.__version__} cannot use its {_CUDA}; it took {found}")
        (image,) = session.get_inputs()
        element = np.float16 if image.type == "tensor(float16)" else np.float32
        wanted = list(order.spec.head.outputs) or [output.name for output in session.get_outputs()]
        return lambda tensor: session.run(wanted, {image.name: tensor.astype(element, copy=False)})

    return load


def _openvino(order: Order) -> Load:
    import openvino as ov

    height, width = order.spec.input.size
    image = [3, height, width] if order.spec.input.layout == "NCHW" else [height, width, 3]
    # without the hint OpenVINO computes in bf16 where the processor has it, and a row called fp32 would not be
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if order.precision == "bf16" else "f32"}

    def load() -> Infer:
        core = ov.Core()
        model = core.read_model(os.fsdecode(order.network))
        model.reshape({model.inputs[0]: ov.PartialShape([1 if order.batch == 1 else -1, *image])})
        network = core.compile_model(model, "CPU", hint)
        wanted = list(order.spec.head.outputs) or list(network.outputs)

        def infer(tensor: Float32) -> list[RawOutput]:
            found = network([tensor])
            return [found[output] for output in wanted]

        return infer

    return load


def _torch(order: Order) -> Load:
    """From a file of the fused network as `torch.save` writes it: reading the checkpoint itself takes longer."""
    import torch

    from boxmill.runtimes.torch import mixed_precision

    fused = Path(os.fsdecode(order.answer)).with_name("network.pt")
    _write_fused(Path(os.fsdecode(order.network)), fused)

    def load() -> Infer:
        network: Any = torch.load(fused, weights_only=False)  # written by this very process
        if order.precision != "fp32":
            mixed_precision(network, torch.bfloat16 if order.precision == "bf16" else torch.float16)
        network.to(order.device)

        def infer(tensor: Float32) -> list[RawOutput]:
            with torch.inference_mode():
                found = network(torch.from_numpy(tensor).to(order.device))
            return [found.float().cpu().numpy()]

        return infer

    return load


def _write_fused(checkpoint: Path, target: Path) -> None:
    import torch

    from boxmill.models.checkpoint import read_checkpoint
    from boxmill.models.yolov9 import fuse, load

    torch.save(fuse(load(read_checkpoint(checkpoint))), target)
