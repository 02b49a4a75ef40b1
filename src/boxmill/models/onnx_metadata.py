"""What an ONNX file says of itself: inputs, outputs and metadata, read without the `onnx` package.

The file is mapped, not loaded, and tensors are stepped over, so a model of a gigabyte costs what its graph costs. Field
numbers are those of onnx.proto (ModelProto, GraphProto, ValueInfoProto); the encoding is protobuf's wire format.
"""

from __future__ import annotations

import math
import mmap
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from boxmill.errors import ModelError
from boxmill.models.external_data import check_external_data
from boxmill.models.kind import Kind
from boxmill.models.recognize import recognize, recognize_folder, recognize_suffix

__all__ = ["Dim", "OnnxSummary", "TensorInfo", "read_onnx"]

Dim = int | str | None  # a size, the name of a symbolic size, or unknown

# Far above any real model (the largest have some 10^5 nodes), and low enough that a hostile file ends soon.
_MAX_FIELDS = 4_000_000
_MAX_DEPTH = 64  # of graphs in nodes' attributes
_MAX_TENSORS = 10_000  # graph inputs or outputs; files of IR version 3 list every initializer among the inputs
_MAX_METADATA = 10_000  # entries
_MAX_TEXT = 64 << 20  # bytes of names and metadata together
_MAX_DIMS = 32
_DIGITS = re.compile(r"[0-9]{1,18}")

_ELEMENTS = (  # by TensorProto.DataType
    *("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16"),
    *("float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
)

# Where tensors and operators are: kind of message -> field number -> kind of message in it (onnx.proto).
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of the network."""

    name: str
    element: str  # "float32", "float16", …
    dims: tuple[Dim, ...] | None  # None: the file does not say


@dataclass(frozen=True, slots=True)
class OnnxSummary:
    """What an ONNX file says of itself."""

    path: Path
    ir_version: int
    opset: int | None  # of the default domain
    producer: str
    metadata: Mapping[str, str]  # metadata_props
    inputs: tuple[TensorInfo, ...]  # without those that have an initializer
    outputs: tuple[TensorInfo, ...]
    external: tuple[Path, ...] = ()  # files beside it that hold weights, each checked to lie in its folder
    numbers: Mapping[str, int] = field(default_factory=dict, compare=False)  # element type -> how many its tensors hold
    operators: Mapping[str, int] = field(default_factory=dict, compare=False)  # "Conv" -> how many nodes


def read_onnx(path: Path) -> OnnxSummary:
    """Read inputs, outputs and metadata of an ONNX file; tensors are not touched.

    Raises:
        ModelError: the file cannot be read, is no ONNX model, is cut short, or is malformed; or it keeps weights in
            files that are missing or do not lie in its folder.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ModelError(_no_file(path))
        if path.stat().st_size == 0:
            raise ModelError(f"{path}: the file is empty; copy or download it again")
        other = recognize(path)
        if other is not None:
            raise ModelError(_other(path, other))
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Parser(data).model(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except _MalformedError as error:
        named = recognize_suffix(path)
        if named is not None:
            raise ModelError(_other(path, named)) from error
        raise ModelError(f"{path}: not a readable ONNX file: {error}; export or download it again") from error


def _no_file(path: Path) -> str:
    if not path.is_dir():
        return f"{path}: expected an ONNX file, nothing is there"
    kind = recognize_folder(path)
    return f"{path}: expected an ONNX file, a folder is there" if kind is None else _other(path, kind)


def _other(path: Path, kind: Kind) -> str:
    return f"{path}: expected an ONNX file, this is {kind.name}; {kind.advice}"


def _element(number: int) -> str:
    return _ELEMENTS[number] if number < len(_ELEMENTS) else f"type {number}"


class _MalformedError(Exception):
    """The bytes break the wire format or a limit."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A length-delimited field: bytes start to stop of the file."""

    start: int
    stop: int


class _Parser:
    """Walks one file; every method reads the message that lies in a span."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._fields_left = _MAX_FIELDS
        self._text_left = _MAX_TEXT
        self._numbers = Counter[str]()
        self._operators = Counter[str]()

    def model(self, path: Path) -> OnnxSummary:
        """ModelProto: ir_version 1, producer_name 2, producer_version 3, graph 7, opset_import 8, metadata_props 14."""
        ir_version, opset, producer = 0, None, ["", ""]
        graph: _Span | None = None
        metadata: dict[str, str] = {}
        for number, value in self._fields(_Span(0, len(self._data))):
            if isinstance(value, int):
                ir_version = value if number == 1 else ir_version
            elif number in (2, 3):
                producer[number - 2] = self._text(value)
            elif number == 7:
                if graph is not None:
                    raise _MalformedError("it holds two network graphs")
                graph = value
            elif number == 8:
                opset = self._opset(value) or opset
            elif number == 14:
                metadata.update([self._entry(value)])
                if len(metadata) > _MAX_METADATA:
                    raise _MalformedError(f"it has more than {_MAX_METADATA} metadata entries")
        if graph is None or not 0 < ir_version < 1000:
            raise _MalformedError("it holds no network graph")
        inputs, outputs = self._graph(graph)
        frozen = MappingProxyType(metadata)
        external = check_external_data(path, self._walk_graphs())
        made_by = " ".join(filter(None, producer))
        counts = MappingProxyType(self._numbers), MappingProxyType(self._operators)
        return OnnxSummary(path, ir_version, opset, made_by, frozen, inputs, outputs, external, *counts)

    def _graph(self, graph: _Span) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        """GraphProto: input 11, output 12."""
        tensors: dict[int, dict[str, TensorInfo]] = {11: {}, 12: {}}
        for number, value in self._fields(graph):
            if number in tensors and isinstance(value, _Span):
                tensor = self._value_info(value)
                tensors[number][tensor.name] = tensor
                if len(tensors[number]) > _MAX_TENSORS:
                    raise _MalformedError(f"it has more than {_MAX_TENSORS} inputs or outputs")
        inputs, outputs = tensors[11], tensors[12]
        if len(inputs) > 1:
            self._drop_initializers(graph, inputs)
        if not inputs or not outputs:
            raise _MalformedError(f"its graph has {len(inputs)} inputs and {len(outputs)} outputs, both are needed")
        return tuple(inputs.values()), tuple(outputs.values())

    def _drop_initializers(self, graph: _Span, inputs: dict[str, TensorInfo]) -> None:
        """GraphProto: initializer 5 (TensorProto: name 8). A second walk keeps memory independent of their number."""
        for number, value in self._fields(graph):
            if number == 5 and isinstance(value, _Span):
                for tensor_number, name in self._fields(value):
                    if tensor_number == 8 and isinstance(name, _Span):
                        inputs.pop(self._text(name), None)

    def _walk_graphs(self) -> dict[str, int]:
        """Counts the operators and the numbers in tensors of every nested graph.

        Returns:
            Location of each file of weights -> bytes that are needed of it.
        """
        needed: dict[str, int] = {}
        under_way = [("model", self._fields(_Span(0, len(self._data))))]
        while under_way:
            kind, rest = under_way[-1]
            found = next(((number, value) for number, value in rest if number in _INSIDE[kind]), None)
            if found is None:
                under_way.pop()
                continue
            number, value = found
            inner = _INSIDE[kind][number]
            if isinstance(value, int):
                continue
            if inner == "tensor":
                self._add_tensor(value, needed)
            elif inner == "operator":
                self._operators[self._text(value)] += 1
            elif len(under_way) > _MAX_DEPTH:
                raise _MalformedError(f"its graphs are nested more than {_MAX_DEPTH} deep")
            else:
                under_way.append((inner, self._fields(value)))
        return needed

    def _add_tensor(self, span: _Span, needed: dict[str, int]) -> None:
        """TensorProto: dims 1, data_type 2, external_data 13 (StringStringEntryProto), data_location 14 (1 = external).

        Protobuf's own readers keep the last value of an enum that they know, in 32 bits: any 1 counts here.
        """
        entries: list[_Span] = []
        dims: list[int] = []
        element, external = 0, False
        for number, value in self._fields(span):
            if number == 1:
                dims += [value] if isinstance(value, int) else self._packed(value)
                if len(dims) > _MAX_DIMS:
                    raise _MalformedError(f"a tensor has more than {_MAX_DIMS} dimensions")
            elif number == 2 and isinstance(value, int):
                element = value
            elif number == 13 and isinstance(value, _Span):
                entries.append(value)
            elif number == 14 and isinstance(value, int):
                external = external or value & 0xFFFFFFFF == 1
        self._numbers[_element(element)] += math.prod(dims)
        if not external:
            return
        self._add_location([self._entry(entry) for entry in entries], needed)

    def _add_location(self, pairs: list[tuple[str, str]], needed: dict[str, int]) -> None:
        numbers = {key: int(text) for key, text in pairs if key in ("offset", "length") and _DIGITS.fullmatch(text)}
        end = numbers.get("offset", 0) + numbers.get("length", 0)
        for location in [text for key, text in pairs if key == "location"] or [""]:
            needed[location] = max(needed.get(location, 0), end)

    def _value_info(self, span: _Span) -> TensorInfo:
        """ValueInfoProto: name 1, type 2 (TypeProto: tensor_type 1: elem_type 1, shape 2)."""
        name, element, dims = "", 0, None
        for number, value in self._fields(span):
            if number == 1 and isinstance(value, _Span):
                name = self._text(value)
            elif number == 2 and isinstance(value, _Span):
                tensor = self._last_span(value, 1)
                for part, content in self._fields(tensor) if tensor else ():
                    if part == 1 and isinstance(content, int):
                        element = content
                    elif part == 2 and isinstance(content, _Span):
                        dims = self._dims(content)
        return TensorInfo(name, _element(element), dims)

    def _packed(self, span: _Span) -> list[int]:
        values: list[int] = []
        position = span.start
        while position < span.stop and len(values) <= _MAX_DIMS:
            value, position = self._varint(position, span.stop)
            values.append(value)
        return values

    def _dims(self, span: _Span) -> tuple[Dim, ...]:
        """TensorShapeProto: dim 1 (dim_value 1 | dim_param 2). Sizes below 1 are how some exporters say unknown."""
        dims: list[Dim] = []
        for number, value in self._fields(span):
            if number != 1 or not isinstance(value, _Span):
                continue
            dim: Dim = None
            for part, content in self._fields(value):
                if part == 1 and isinstance(content, int):
                    dim = content if 0 < content < 1 << 63 else None
                elif part == 2 and isinstance(content, _Span):
                    dim = self._text(content) or None
            dims.append(dim)
            if len(dims) > _MAX_DIMS:
                raise _MalformedError(f"a tensor has more than {_MAX_DIMS} dimensions")
        return tuple(dims)

    def _opset(self, span: _Span) -> int | None:
        """OperatorSetIdProto: domain 1, version 2; the version when the domain is ONNX's own."""
        version, own = None, True
        for number, value in self._fields(span):
            if number == 1 and isinstance(value, _Span):
                own = self._text(value) in ("", "ai.onnx")
            elif number == 2 and isinstance(value, int):
                version = value
        return version if own else None

    def _entry(self, span: _Span) -> tuple[str, str]:
        """StringStringEntryProto: key 1, value 2."""
        key = text = ""
        for number, value in self._fields(span):
            if number == 1 and isinstance(value, _Span):
                key = self._text(value)
            elif number == 2 and isinstance(value, _Span):
                text = self._text(value)
        return key, text

    def _last_span(self, span: _Span, wanted: int) -> _Span | None:
        found = None
        for number, value in self._fields(span):
            if number == wanted and isinstance(value, _Span):
                found = value
        return found

    def _text(self, span: _Span) -> str:
        self._text_left -= span.stop - span.start
        if self._text_left < 0:
            raise _MalformedError(f"it has more than {_MAX_TEXT} bytes of names and metadata")
        try:
            return self._data[span.start : span.stop].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _MalformedError(f"the text at byte {span.start} is not UTF-8") from error

    def _fields(self, span: _Span) -> Iterator[tuple[int, int | _Span]]:
        """(field number, varint or span) of each field of a message; fixed-width numbers are stepped over."""
        position = span.start
        while position < span.stop:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise _MalformedError(f"it has more than {_MAX_FIELDS} parts")
            at = position
            tag, position = self._varint(position, span.stop)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < 1 << 29 or wire in (3, 4, 6, 7):  # protobuf would cut a larger number to 32 bits
                raise _MalformedError(f"byte {at} starts no protobuf field")
            if wire == 0:
                value, position = self._varint(position, span.stop)
                yield number, value
                continue
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, position = self._varint(position, span.stop)
            if size > span.stop - position:
                missing = size - (span.stop - position)
                raise _MalformedError(f"cut short, or no ONNX at all: {missing} bytes are missing from byte {position}")
            if wire == 2:
                yield number, _Span(position, position + size)
            position += size

    def _varint(self, position: int, stop: int) -> tuple[int, int]:
        value = shift = 0
        while position < stop:
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift > 63:
                raise _MalformedError(f"the number that ends at byte {position} is too long")
        raise _MalformedError(f"cut short, or no ONNX at all: it ends inside a number at byte {position}")
