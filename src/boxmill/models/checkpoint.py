"""A YOLOv9 checkpoint (.pt) without executing it: structure, names, strides and weights, as numpy arrays.

Such a file is a pickle of the whole network object. Loading it with torch calls whatever it names; here the pickle runs
on a machine that calls nothing (`pickle_machine`), and the state dict is recovered by walking the inert records of the
modules. There is no other way of loading, and none to fall back on.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy.typing as npt

from boxmill.errors import ModelError
from boxmill.models.pickle_machine import MAX_BYTES, Machine, Record, describe
from boxmill.models.torch_archive import Archive, read_archive
from boxmill.models.torch_tensors import Storages, Tensor

__all__ = ["Checkpoint", "parse_checkpoint", "read_checkpoint"]

_MAX_DEPTH = 32  # of modules in modules, and of lists in the structure
_MAX_ENTRIES = 20_000  # modules and tensors; yolov9-e has 2,172 tensors in 1,475 modules
_MAX_NODES = 10_000  # of the structure; that of yolov9-e has 434
_MAX_CLASSES = 65_536
_MAX_TEXT = 1024
_MAX_LABEL = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a YOLOv9 checkpoint holds."""

    structure: Mapping[str, Any]  # the network's own `yaml`: nc, depth_multiple, width_multiple, backbone, head, …
    names: tuple[str, ...]  # of the classes
    stride: tuple[int, ...]  # of the detection layer's maps, in pixels: (8, 16, 32)
    state: Mapping[str, npt.NDArray[Any]]  # state-dict keys in the modules' order; read-only; bfloat16 as float32
    source: str  # "ema" or "model": which of the file's two networks this is
    objects: tuple[str, ...]  # dotted names of the classes that unpickling would have built or called


def read_checkpoint(path: Path) -> Checkpoint:
    """The network in a checkpoint of YOLOv9 as its training code writes it; `ema` is preferred, as it does itself.

    The arrays of `state` are views of one copy of the file, in its own types; only bfloat16 becomes float32.

    Raises:
        ModelError: it is no such checkpoint, it is damaged, or it holds what no checkpoint needs.
        OSError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise ModelError("expected a file, something else is there")  # such as a pipe, which would wait
        with path.open("rb") as file:
            head = file.read(4)
        if head[:1] == b"\x80":
            raise ModelError(_legacy(path))
        if head != b"PK\x03\x04":
            raise ModelError("it is no checkpoint of torch.save, which begins as a zip archive does")
        return parse_checkpoint(read_archive(path))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def parse_checkpoint(archive: Archive) -> Checkpoint:
    """See `read_checkpoint`.

    Raises:
        ModelError: as there.
    """
    if "byteorder" in archive.members and archive.read("byteorder", 16) != b"little":
        raise ModelError("it was written on a big-endian machine; load it there and save it on a little-endian one")
    storages = Storages(archive)
    machine = Machine(archive.read("data.pkl", MAX_BYTES), storages.meanings(), storages.persistent)
    source, network = _network(machine.load())
    attributes = _attributes(network)
    structure = _structure(attributes)
    names = _names(attributes.get("names"), structure["nc"])
    state = _state(network, storages)  # which bounds the tree of modules, before anything else looks into it
    return Checkpoint(
        structure=structure,
        names=names,
        stride=_stride(network, storages),
        state=state,
        source=source,
        objects=tuple(machine.called),
    )


def _legacy(path: Path) -> str:
    old, new = (json.dumps(str(name), ensure_ascii=False) for name in (path, path.with_suffix(".new.pt")))
    load = f'torch.load({old}, map_location="cpu", weights_only=False)'
    command = f"python -c {shlex.quote(f'import torch; torch.save({load}, {new})')}"
    return (
        "it was written by torch.save before version 1.6, or is another pickle; if you trust it (loading it executes "
        f"what is in it), save it again, in the repository that it comes from, with\n{command}"
    )


def _network(value: object) -> tuple[str, Record]:
    if isinstance(value, Record):
        return "model", value
    if not isinstance(value, dict):
        raise ModelError("expected a network or a dict with one, under 'ema' or 'model'")
    for source in ("ema", "model"):
        found = value.get(source)
        if isinstance(found, Record):
            return source, found
    inner = [value, *(value.get(key) for key in ("ema", "model", "state_dict", "model_state_dict"))]
    if any(isinstance(one, dict) and any(isinstance(item, Tensor) for item in one.values()) for one in inner):
        raise ModelError(
            "it holds weights and no network (a state dict), so its structure is unknown; give the checkpoint that "
            "training wrote (best.pt or last.pt), which holds the network under 'ema' or 'model'"
        )
    came = ", ".join(map(describe, islice(value, 8)))
    raise ModelError(f"expected a network under 'ema' or 'model', came {came or 'nothing'}")


def _attributes(record: Record) -> dict[str, Any]:
    if not isinstance(record.state, dict):
        raise ModelError(f"the object of {record.name} has no attributes, expected those of a module")
    return record.state


def _part(record: Record, name: str) -> dict[str, Any]:
    part = _attributes(record).get(name, {})
    if not isinstance(part, dict):
        raise ModelError(f"{name} of an object of {record.name} is no dict")
    return part


def _structure(attributes: dict[str, Any]) -> dict[str, Any]:
    structure = _plain(attributes.get("yaml"), _MAX_DEPTH, iter(range(_MAX_NODES)))
    if not isinstance(structure, dict):
        raise ModelError("the network has no structure of its own (`yaml`); expected a YOLOv9 checkpoint")
    count = structure.get("nc")
    if type(count) is not int or not 0 < count <= _MAX_CLASSES:
        raise ModelError("the network's structure names no number of classes (`nc`)")
    return structure


def _plain(value: object, depth: int, budget: Iterator[int]) -> Any:
    """A copy of nested dicts, lists, texts and numbers; shared parts are multiplied, within the budget."""
    if depth == 0 or next(budget, None) is None:
        raise ModelError(f"the network's structure nests deeper than {_MAX_DEPTH}, or has over {_MAX_NODES} entries")
    if isinstance(value, dict):
        return {_key(key): _plain(item, depth - 1, budget) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1, budget) for item in value]
    if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _MAX_TEXT):
        return value
    raise ModelError(f"the network's structure holds {describe(value)}, expected dicts, lists, short texts and numbers")


def _key(value: object) -> str:
    if isinstance(value, str) and len(value) <= _MAX_TEXT:
        return value
    raise ModelError(f"the network's structure has the key {describe(value)}, expected a short text")


def _names(value: object, count: int) -> tuple[str, ...]:
    if isinstance(value, dict) and set(value) == set(range(count)):
        value = [value[index] for index in range(count)]
    if not isinstance(value, list | tuple) or len(value) != count:
        raise ModelError(f"the network has no list of {count} class names, one for each class of its structure")
    if not all(isinstance(name, str) and len(name) <= _MAX_TEXT for name in value):
        raise ModelError("a class name of the network is no short text")
    return tuple(value)


def _stride(network: Record, storages: Storages) -> tuple[int, ...]:
    layers = _part(network, "_modules").get("model")
    last = list(_part(layers, "_modules").values())[-1:] if isinstance(layers, Record) else []
    tensor = _attributes(last[0]).get("stride") if last and isinstance(last[0], Record) else None
    if not isinstance(tensor, Tensor) or len(tensor.shape) != 1 or not 1 <= tensor.shape[0] <= 8:
        raise ModelError("the network's last layer has no strides; expected a detection layer, as YOLOv9 has")
    values = storages.array(tensor).tolist()
    if not all(1 <= value <= 1024 and value == int(value) for value in values):  # false for NaN, too
        raise ModelError(f"the detection layer has strides {values}, expected whole numbers of pixels")
    return tuple(map(int, values))


def _state(network: Record, storages: Storages) -> dict[str, npt.NDArray[Any]]:
    tensors: dict[str, Tensor] = {}
    for name, tensor in _walk(network, "", _MAX_DEPTH, iter(range(_MAX_ENTRIES))):
        if name in tensors:
            raise ModelError(f"the network has two tensors named {name[:200]}")
        tensors[name] = tensor
    total, limit = sum(tensor.nbytes for tensor in tensors.values()), 4 * len(storages.archive.data)
    if total > limit:  # tensors may share a storage, but not so that a small file makes a large network
        raise ModelError(f"the network's tensors have {total} bytes together, expected at most {limit} for this file")
    return {name: storages.array(tensor) for name, tensor in tensors.items()}


def _walk(module: Record, prefix: str, depth: int, budget: Iterator[int]) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers, then children, as a module's `state_dict` goes through them."""
    if depth == 0 or next(budget, None) is None:
        raise ModelError(f"the network nests deeper than {_MAX_DEPTH} modules, or has over {_MAX_ENTRIES}")
    passing = _attributes(module).get("_non_persistent_buffers_set", set())
    for part in ("_parameters", "_buffers"):
        for name, tensor in _part(module, part).items():
            if tensor is None or (part == "_buffers" and isinstance(passing, set) and name in passing):
                continue
            if not isinstance(tensor, Tensor) or next(budget, None) is None:
                raise ModelError(f"{prefix}{describe(name)} is {describe(tensor)}, expected a tensor")
            yield f"{prefix}{_label(name)}", tensor
    for name, child in _part(module, "_modules").items():
        if child is None:
            continue
        if not isinstance(child, Record):
            raise ModelError(f"{prefix}{describe(name)} is {describe(child)}, expected a module")
        yield from _walk(child, f"{prefix}{_label(name)}.", depth - 1, budget)


def _label(name: object) -> str:
    if isinstance(name, str) and len(name) <= _MAX_LABEL and (name.isidentifier() or name.isdecimal()):
        return name
    raise ModelError(f"the network has a part named {describe(name)}, expected an identifier or a number")
