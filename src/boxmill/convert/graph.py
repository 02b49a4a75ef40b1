"""From the network to the bytes of an ONNX file whose batch, height and width are open.

The exporter is PyTorch's TorchScript-based one (`dynamo=False`), which needs the package onnx and nothing else; the
newer one needs onnxscript too. It records one run, so what the network takes from tensors' shapes must stay in the
graph: a number that would be fixed in the recording is an error here, not a wrong box later.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from boxmill.convert.metadata import INPUT, IR_VERSION, OPSET, OUTPUT, PRODUCER
from boxmill.errors import ModelError, UsageError

if TYPE_CHECKING:
    import onnx
    from torch import nn

__all__ = ["check_exporter", "export"]

_RECORDED = (2, 3, 192, 256)  # any will do: sides that differ, and more than one cell at every stride
_OPEN = {INPUT: {0: "batch", 2: "height", 3: "width"}, OUTPUT: {0: "batch", 2: "anchors"}}


def check_exporter() -> None:
    """Whether all packages of a conversion are installed, without loading them. Raises UsageError."""
    missing = [package for package in ("torch", "onnx") if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"converting a checkpoint needs {' and '.join(missing)}, not installed here; "
            "install what is missing with: pip install 'boxmill[torch]'"
        )


def export(network: nn.Module, rows: int, metadata: Mapping[str, str]) -> bytes:
    """The ONNX file of a network that takes (B, 3, h, w) float32 and gives (B, rows, A) float32.

    The same network gives the same bytes.

    Raises:
        ModelError: the exporter cannot express the network, or it would fix a shape.
    """
    import torch
    from torch.jit._trace import TracerWarning

    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as remarks, torch.no_grad():  # this exporter calls itself deprecated
        warnings.simplefilter("always", TracerWarning)
        try:
            torch.onnx.export(
                network,
                (torch.zeros(_RECORDED),),
                buffer,  # type: ignore[arg-type]  # any binary file, PyTorch's own documentation says
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes=_OPEN,
                opset_version=OPSET,
                dynamo=False,
            )
        except RuntimeError as error:
            raise ModelError(f"PyTorch {torch.__version__} cannot export the network to ONNX: {error}") from error
    fixed = [str(remark.message) for remark in remarks if issubclass(remark.category, TracerWarning)]
    if fixed:
        raise ModelError(f"exporting the network to ONNX would fix what depends on the image: {fixed[0]}")
    return _finished(buffer.getvalue(), rows, metadata)


def _finished(data: bytes, rows: int, metadata: Mapping[str, str]) -> bytes:
    """With the output's true shape, and metadata in a fixed order."""
    import onnx

    model = onnx.load_from_string(data)
    if len(model.graph.output) != 1:
        raise ModelError(f"expected one output of the network, the exporter gave {len(model.graph.output)}")
    _shape(model.graph.output[0], ("batch", rows, "anchors"))
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = PRODUCER, ""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    finished: bytes = model.SerializeToString(deterministic=True)
    return finished


def _shape(tensor: onnx.ValueInfoProto, dims: tuple[str | int, ...]) -> None:
    import onnx

    kind = onnx.TensorProto.FLOAT
    tensor.CopyFrom(onnx.helper.make_tensor_value_info(tensor.name, kind, list(dims)))
