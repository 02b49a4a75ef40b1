"""What YOLO exporters write into an ONNX file's metadata, as typed values.

Ultralytics writes description, author, task, stride, imgsz, names, batch, channels, args, end2end and more; the export
scripts of YOLOv5 and YOLOv9 write stride and names. Every value is a text that Python's `str` made.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Literal

from boxmill.errors import ModelError
from boxmill.models.onnx_metadata import OnnxSummary

__all__ = ["Exporter", "read_exporter"]


@dataclass(frozen=True, slots=True)
class Exporter:
    """Metadata of a YOLO exporter; a field is None where the file does not say."""

    kind: Literal["ultralytics", "yolov5"] | None = None  # yolov5: the export script of YOLOv5 and YOLOv9
    names: tuple[str, ...] | None = None  # by class id
    stride: int | None = None  # the largest of the network
    imgsz: tuple[int, int] | None = None  # height, width
    task: str | None = None
    head: str | None = None  # class of the network's last layer, e.g. "Detect"
    channels: int | None = None
    end2end: bool = False  # boxes after selection inside the network, (300, 6)


def read_exporter(onnx: OnnxSummary) -> Exporter:
    """The exporter's metadata of an ONNX file; an empty Exporter when there is none.

    Raises:
        ModelError: a key that YOLO exporters write holds something that they never write.
    """
    metadata = onnx.metadata
    kind: Literal["ultralytics", "yolov5"] | None = None
    if metadata.get("author") == "Ultralytics" or {"task", "imgsz", "names", "stride"} <= metadata.keys():
        kind = "ultralytics"
    elif {"names", "stride"} <= metadata.keys():
        kind = "yolov5"
    if kind is None:
        return Exporter()
    reader = _Reader(onnx)
    arguments = reader.literal("args")
    nms = isinstance(arguments, dict) and arguments.get("nms") is True
    return Exporter(
        kind=kind,
        names=reader.names(),
        stride=reader.integer("stride", 256),
        imgsz=reader.size(),
        task=metadata.get("task"),
        head=metadata.get("head"),
        channels=reader.integer("channels", 65536),
        end2end=nms or reader.literal("end2end") is True,
    )


class _Reader:
    """Reads single keys, naming the key when its value makes no sense."""

    def __init__(self, onnx: OnnxSummary) -> None:
        self._onnx = onnx

    def literal(self, key: str) -> Any:
        """The Python literal that the key holds, or None when the key is missing."""
        text = self._onnx.metadata.get(key)
        if text is None:
            return None
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            # MemoryError and RecursionError are what the parser gives for nesting beyond its stack.
            raise self._error(key, "a Python literal") from error

    def integer(self, key: str, most: int) -> int | None:
        """A whole number of 1 to `most`; exporters also write 32.0 and, for every level, [8, 16, 32]."""
        value = self.literal(key)
        if isinstance(value, list) and value and all(_is_number(part) for part in value):
            value = max(value)
        if value is None:
            return None
        if not _is_number(value) or not 1 <= value <= most or value != int(value):
            raise self._error(key, f"a whole number of 1 to {most}")
        return int(value)

    def size(self) -> tuple[int, int] | None:
        """Height and width from "[640, 640]" or "640"."""
        value = self.literal("imgsz")
        if value is None:
            return None
        parts = [value, value] if type(value) is int else value
        if not isinstance(parts, (list, tuple)) or len(parts) != 2:
            raise self._error("imgsz", "[height, width]")
        if not all(type(part) is int and 1 <= part <= 65536 for part in parts):
            raise self._error("imgsz", "[height, width] in pixels")
        return parts[0], parts[1]

    def names(self) -> tuple[str, ...] | None:
        """Names from "{0: 'person', …}" or "['person', …]"."""
        value = self.literal("names")
        if value is None:
            return None
        if isinstance(value, dict):
            if not all(type(key) is int for key in value) or sorted(value) != list(range(len(value))):
                raise self._error("names", "class ids 0, 1, 2, … without gaps")
            value = [value[index] for index in range(len(value))]
        if not isinstance(value, (list, tuple)) or not value:
            raise self._error("names", "{0: 'name', …} or a list of names")
        if not all(isinstance(name, str) or type(name) is int for name in value):
            raise self._error("names", "names that are text")
        return tuple(str(name) for name in value)

    def _error(self, key: str, expected: str) -> ModelError:
        text = self._onnx.metadata[key]
        got = repr(text[:60]) + (" …" if len(text) > 60 else "")
        return ModelError(
            f"{self._onnx.path}: metadata {key!r}: expected {expected}, as YOLO exporters write it, got {got}; "
            "export the model again"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
