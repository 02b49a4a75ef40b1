"""Writes the parts of an ONNX file that boxmill reads, byte by byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from boxmill.models.onnx_metadata import Dim, OnnxSummary, TensorInfo

Tensors = Mapping[str, Sequence[Dim] | None]

ULTRALYTICS = {  # keys and forms as Ultralytics 8.4 writes them
    "description": "Ultralytics YOLOv8n model",
    "author": "Ultralytics",
    "version": "8.4.190",
    "stride": "32",
    "task": "detect",
    "head": "Detect",
    "batch": "1",
    "imgsz": "[640, 640]",
    "names": str({index: f"thing {index}" for index in range(80)}),
    "args": "{'batch': 1, 'nms': None, 'dynamic': True, 'simplify': False}",
    "channels": "3",
    "end2end": "False",
}
YOLOV5 = {"stride": "32", "names": "{0: 'person', 1: 'vehicle', 2: 'animal'}"}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def value_info(name: str, dims: Sequence[Dim] | None, element: int = 1) -> bytes:
    tensor = field(1, element)
    if dims is not None:
        parts = [b"" if dim is None else field(1 if isinstance(dim, int) else 2, dim) for dim in dims]
        tensor += field(2, b"".join(field(1, part) for part in parts))
    return field(1, name) + field(2, field(1, tensor))


def model(
    inputs: Tensors,
    outputs: Tensors,
    metadata: Mapping[str, str] | None = None,
    graph: bytes = b"",
    elements: Mapping[str, int] | None = None,
) -> bytes:
    """An ONNX file; `elements` has the TensorProto.DataType of outputs that are not float32."""
    kinds = elements or {}
    graph += b"".join(field(11, value_info(name, dims)) for name, dims in inputs.items())
    graph += b"".join(field(12, value_info(name, dims, kinds.get(name, 1))) for name, dims in outputs.items())
    entries = (field(14, field(1, key) + field(2, value)) for key, value in (metadata or {}).items())
    head = field(1, 8) + field(2, "pytorch") + field(3, "2.15.0") + field(8, field(1, "") + field(2, 18))
    return head + field(7, graph) + b"".join(entries)


def summary(
    image: Sequence[Dim], head: Sequence[Dim] | None, metadata: Mapping[str, str] | None = None, **other: object
) -> OnnxSummary:
    """What read_onnx gives for a network with one input and one output."""
    outputs = (TensorInfo("output0", "float32", None if head is None else tuple(head)),)
    values = {"producer": "pytorch 2.15.0", "outputs": outputs, **other}
    image_info = TensorInfo("images", "float32", tuple(image))
    return OnnxSummary(
        path=Path("model.onnx"), ir_version=8, opset=18, metadata=metadata or {}, **{"inputs": (image_info,), **values}
    )
