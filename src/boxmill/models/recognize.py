"""Files that people give as weights and that are no ONNX: named, with what to do. Only their first bytes are read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boxmill.models.kind import Kind
from boxmill.models.torch_files import describe_pickle, describe_zip

__all__ = ["recognize", "recognize_folder", "recognize_suffix"]

_TENSORRT = Kind(
    "a TensorRT engine",
    "it runs on one kind of GPU and one version of TensorRT only; give the ONNX file that it was built from",
)
_OPENVINO = Kind("an OpenVINO model (.xml)", "give the ONNX file that it was converted from")
_TFLITE = Kind(
    "a TensorFlow Lite model", "convert it with\npython -m tf2onnx.convert --tflite MODEL.tflite --output MODEL.onnx"
)
_TENSORFLOW = Kind(
    "a TensorFlow graph",
    "convert the SavedModel folder with\npython -m tf2onnx.convert --saved-model FOLDER --output MODEL.onnx",
)
_KERAS = Kind("an HDF5 file, such as Keras weights", "export the model to ONNX in the code that made it")
_CORE_ML = Kind("a Core ML model", "it runs on Apple's systems only; give the ONNX file of the model")
_NCNN = Kind("an ncnn model", "give the ONNX file that it was converted from")
_PADDLE = Kind("a PaddlePaddle model", "convert it with paddle2onnx")
_DARKNET = Kind("a Darknet model", "convert it to ONNX with a tool for Darknet's .cfg and .weights")

_BY_CONTENT: tuple[tuple[int, bytes, Kind], ...] = (  # offset, bytes there, in lower case
    (4, b"tfl3", _TFLITE),
    (0, b"\x89hdf", _KERAS),
    (0, b"ptrt", _TENSORRT),
    (0, b"ftrt", _TENSORRT),
    (4, b'{"description"', _TENSORRT),  # Ultralytics writes its metadata and their length before the engine
    (0, b"7767517", _NCNN),
    (4, b"ortm", Kind("an ONNX Runtime model (.ort)", "give the ONNX file that it was converted from")),
)
_BY_TEXT: tuple[tuple[bytes, Kind], ...] = (  # after white space, in lower case
    (b"<!doctype html", Kind("an HTML page", "the download gave a web page instead of the file")),
    (b"<html", Kind("an HTML page", "the download gave a web page instead of the file")),
    (b"version https://git-lfs", Kind("a Git LFS pointer", "fetch the real file with\ngit lfs pull")),
    (b"<?xml", _OPENVINO),
    (b"<net", _OPENVINO),
)
_BY_SUFFIX: Mapping[str, Kind] = {
    **dict.fromkeys((".engine", ".plan", ".trt"), _TENSORRT),
    ".pb": _TENSORFLOW,
    ".h5": _KERAS,
    ".mlmodel": _CORE_ML,
    ".pdmodel": _PADDLE,
    ".weights": _DARKNET,
    ".cfg": _DARKNET,
    ".bin": Kind("a file of bare weights", "give the ONNX file of the model"),
    **dict.fromkeys((".pt", ".pth"), Kind("no PyTorch checkpoint that can be read", "copy or download it again")),
}
_MAX_HEADER = 100 << 20  # bytes of safetensors' JSON, the format's own limit


def recognize(path: Path) -> Kind | None:
    """What the file at `path` is, from its content; None when it may be ONNX.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return describe_zip(path)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return describe_pickle(path)
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _MAX_HEADER:
        return _safetensors(path)
    lower = head.lower()
    text = lower.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = [kind for offset, mark, kind in _BY_CONTENT if lower.startswith(mark, offset)]
    found += [kind for mark, kind in _BY_TEXT if text.startswith(mark)]
    return found[0] if found else None


def recognize_suffix(path: Path) -> Kind | None:
    """What the file's name says it is; for files whose content has been found to be no ONNX."""
    return _BY_SUFFIX.get(path.suffix.lower())


def recognize_folder(path: Path) -> Kind | None:
    """A folder that is a model for other programs; None for any other."""
    if (path / "saved_model.pb").is_file():
        command = f"python -m tf2onnx.convert --saved-model {path} --output {path.name}.onnx"
        return Kind("a TensorFlow SavedModel", f"convert it with\n{command}")
    if path.suffix == ".mlpackage":
        return _CORE_ML
    if (path / "model.ncnn.param").is_file():
        return _NCNN
    return Kind(f"a folder with an {_OPENVINO.name[3:]}", _OPENVINO.advice) if any(path.glob("*.xml")) else None


def _safetensors(path: Path) -> Kind:
    advice = "it holds weights and no network; export the model to ONNX in the code that made it"
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(size)
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError):
        return Kind("safetensors weights with a damaged header", "copy or download them again")
    if not isinstance(entries, dict):
        return Kind("safetensors weights with a damaged header", "copy or download them again")
    metadata = entries.pop("__metadata__", None)
    tensors = [entry for entry in entries.values() if isinstance(entry, dict)]
    kinds = Counter(str(entry.get("dtype")) for entry in tensors)
    facts = [
        ("tensors", f"{len(tensors)}, {sum(map(_count, tensors))} numbers"),
        ("types", ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8))),
    ]
    if isinstance(metadata, dict):
        facts.append(("metadata", ", ".join(f"{key} {value}" for key, value in list(metadata.items())[:16])))
    return Kind("safetensors weights", advice, tuple(facts))


def _count(entry: dict[str, Any]) -> int:
    shape = entry.get("shape")
    return math.prod(shape) if isinstance(shape, list) and all(isinstance(side, int) for side in shape) else 0
