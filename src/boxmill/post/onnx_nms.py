"""An ONNX file of nothing but the operator NonMaxSuppression, written byte by byte: the `onnx` package is not needed.

Field numbers are those of onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto).
"""

from __future__ import annotations

import struct

__all__ = ["nms_model"]

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType


def nms_model(iou: float) -> bytes:
    """Inputs boxes (1, n, 4) and scores (1, classes, n), float32; output kept (k, 3) int64: image, class, box.

    Everything that scores above 0 is a candidate, and there is no limit to how many are kept.
    """
    inputs = ("boxes", "scores", "most", "iou", "conf")
    node = b"".join(_field(1, name) for name in inputs) + _field(2, "kept") + _field(4, "NonMaxSuppression")
    constants = (
        _constant("most", _INT64, struct.pack("<q", 2**31 - 1)),
        _constant("iou", _FLOAT, struct.pack("<f", iou)),
        _constant("conf", _FLOAT, struct.pack("<f", 0.0)),
    )
    graph = _field(1, node) + _field(2, "nms") + b"".join(_field(5, constant) for constant in constants)
    graph += _field(11, _value("boxes", _FLOAT, (1, "n", 4)))
    graph += _field(11, _value("scores", _FLOAT, (1, "classes", "n")))
    graph += _field(12, _value("kept", _INT64, ("k", 3)))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 11))  # IR version, graph, opset


def _constant(name: str, kind: int, raw: bytes) -> bytes:
    return _field(1, 1) + _field(2, kind) + _field(8, name) + _field(9, raw)


def _value(name: str, kind: int, dims: tuple[int | str, ...]) -> bytes:
    shape = b"".join(_field(1, _field(1 if isinstance(dim, int) else 2, dim)) for dim in dims)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, shape)))


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
