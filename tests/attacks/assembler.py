"""Assembles pickles opcode by opcode, and archives byte by byte: good checkpoints, and any evil one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

NONE, TRUE, FALSE, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT = b"N", b"\x88", b"\x89", b")", b"]", b"}"
MARK, REDUCE, NEWOBJ, BUILD, STOP, PERSID = b"(", b"R", b"\x81", b"b", b".", b"Q"
STORAGES = {"f2": "HalfStorage", "f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage", "b1": "BoolStorage"}


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: float) -> bytes:
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_(*items: bytes) -> bytes:
    return MARK + b"".join(items) + b"t"


def list_(*items: bytes) -> bytes:
    return EMPTY_LIST + MARK + b"".join(items) + b"e"


def dict_(items: Mapping[str, bytes]) -> bytes:
    return EMPTY_DICT + MARK + b"".join(text(key) + value for key, value in items.items()) + b"u"


def plain(value: object) -> bytes:
    """Of nested dicts, lists, texts and numbers."""
    if isinstance(value, dict):
        return dict_({key: plain(item) for key, item in value.items()})
    if isinstance(value, list):
        return list_(*map(plain, value))
    if value is None or isinstance(value, bool):
        return {None: NONE, True: TRUE, False: FALSE}[value]
    assert isinstance(value, str | int | float)
    return text(value) if isinstance(value, str) else number(value)


def name(dotted: str) -> bytes:
    module, _, member = dotted.rpartition(".")
    return b"c" + module.encode() + b"\n" + member.encode() + b"\n"


def call(dotted: str, *args: bytes) -> bytes:
    return name(dotted) + tuple_(*args) + REDUCE


def new(dotted: str, state: bytes) -> bytes:
    return name(dotted) + EMPTY_TUPLE + NEWOBJ + state + BUILD


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + STOP


def storage(key: str, count: int, kind: str = "FloatStorage") -> bytes:
    return tuple_(text("storage"), name(f"torch.{kind}"), text(key), text("cpu"), number(count)) + PERSID


def tensor(held: bytes, shape: Iterable[int], strides: Iterable[int], offset: int = 0) -> bytes:
    sides, steps = (tuple_(*map(number, numbers)) for numbers in (shape, strides))
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", held, number(offset), sides, steps, FALSE, hooks)


def module(kind: str, parameters: Mapping[str, bytes] = {}, buffers: Mapping[str, bytes] = {}, **more: bytes) -> bytes:
    """An object of a torch module; `more` are further attributes, `_modules` among them."""
    wrapped = {
        key: call("torch._utils._rebuild_parameter", value, TRUE, call("collections.OrderedDict"))
        for key, value in parameters.items()
    }
    passing = call("__builtin__.set", EMPTY_LIST)
    parts = {"_parameters": dict_(wrapped), "_buffers": dict_(buffers), "_non_persistent_buffers_set": passing}
    return new(kind, dict_({**parts, "_modules": EMPTY_DICT, **more}))


class Pool:
    """Arrays that become the storages of an archive, from number 10 on."""

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}

    def tensor(self, array: Array) -> bytes:
        key = str(10 + len(self.members))
        self.members[key] = array.tobytes()
        strides = [step // array.itemsize for step in array.strides]
        return tensor(storage(key, array.size, STORAGES[array.dtype.str[1:]]), array.shape, strides)


def network(pool: Pool, state: Mapping[str, Array], structure: object, stride: Array, **more: bytes) -> bytes:
    """The object of a network whose state dict is `state`; every module but the network has a made-up class."""
    tree: dict[str, object] = {}
    for key, array in state.items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})  # type: ignore[assignment]
        place[last] = pool.tensor(array)
    layers = tree["model"]
    assert isinstance(layers, dict)
    last_layer = list(layers)[-1]
    parts = {key: _module(value, "models.common.Conv") for key, value in layers.items() if key != last_layer}
    parts[last_layer] = _module(layers[last_layer], "models.yolo.DDetect", stride=pool.tensor(stride))
    sequential = module("torch.nn.modules.container.Sequential", _modules=dict_(parts))
    attributes = {"names": plain(["person", "car"]), **more, "yaml": plain(structure)}
    return module("models.yolo.DetectionModel", _modules=dict_({"model": sequential}), **attributes)


def _module(tree: object, kind: str, **more: bytes) -> bytes:
    assert isinstance(tree, dict)
    leaves = {key: value for key, value in tree.items() if isinstance(value, bytes)}
    buffers = {key: value for key, value in leaves.items() if key.startswith(("running_", "num_batches"))}
    parameters = {key: value for key, value in leaves.items() if key not in buffers}
    children = {key: _module(value, "torch.nn.Module") for key, value in tree.items() if key not in leaves}
    return module(kind, parameters, buffers, _modules=dict_(children), **more)


STRUCTURE = {"nc": 2, "depth_multiple": 1.0, "backbone": [[-1, 1, "Conv", [4, 3, 2]]], "head": [[0, 1, "DDetect", []]]}
STRIDE = np.array([8, 16, 32], np.float32)


def small_state(fill: float = 1) -> dict[str, Array]:
    return {
        "model.0.conv.weight": np.full((4, 3, 3, 3), fill, np.float16),
        "model.0.bn.weight": np.arange(4, dtype=np.float16),
        "model.0.bn.running_mean": np.arange(4, dtype=np.float32),
        "model.0.bn.num_batches_tracked": np.array(7, np.int64),
        "model.1.cv2.weight": np.arange(8, dtype=np.float16).reshape(2, 4),
    }


def small() -> tuple[bytes, dict[str, bytes]]:
    """A good pickle of a small network, and its storages."""
    pool = Pool()
    return program(dict_({"epoch": number(-1), "model": network(pool, small_state(), STRUCTURE, STRIDE)})), pool.members


@dataclass(frozen=True)
class Entry:
    """A member of an archive; what is not None is written in place of what is true."""

    name: str
    data: bytes
    method: int = 0
    flags: int = 0x800
    size: int | None = None
    unpacked: int | None = None
    crc: int | None = None
    offset: int | None = None
    local_name: str | None = None


def archive(entries: Iterable[Entry]) -> bytes:
    """A zip archive, as APPNOTE lays it out."""
    body, directory, count = bytearray(), bytearray(), 0
    for count, entry in enumerate(entries, 1):  # noqa: B007
        size = len(entry.data) if entry.size is None else entry.size
        unpacked = size if entry.unpacked is None else entry.unpacked
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        raw, local = entry.name.encode(), (entry.local_name or entry.name).encode()
        offset = len(body) if entry.offset is None else entry.offset
        shared = (entry.flags, entry.method, 0, 0, crc, size, unpacked)
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, *shared, len(local), 0) + local + entry.data
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *shared, len(raw), 0, 0, 0, 0, 0, offset) + raw
    return bytes(body + directory) + struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0
    )


def entries(pickle: bytes, storages: Mapping[str, bytes]) -> list[Entry]:
    """The members of a checkpoint as torch.save writes them."""
    data = [Entry(f"best/data/{key}", value) for key, value in storages.items()]
    return [Entry("best/data.pkl", pickle), Entry("best/byteorder", b"little"), *data, Entry("best/version", b"3\n")]


def checkpoint(pickle: bytes, storages: Mapping[str, bytes]) -> bytes:
    return archive(entries(pickle, storages))
