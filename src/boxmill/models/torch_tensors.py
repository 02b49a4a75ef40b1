"""Tensors of a torch checkpoint as numpy views of the file: what `torch._utils` would have rebuilt, checked.

Sizes, strides and offsets are in elements, as torch counts them. bfloat16, which numpy has not, is widened to float32:
exactly, since a bfloat16 is the upper half of a float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.errors import ModelError
from boxmill.models.pickle_machine import Global, describe
from boxmill.models.torch_archive import Archive, Member

__all__ = ["Storages", "Tensor"]

_BFLOAT16 = "torch.BFloat16Storage"
_DTYPES: Mapping[str, npt.DTypeLike] = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    _BFLOAT16: "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}
_MAX_RANK = 8
_MAX_NAME = 10  # digits
_MAX_EMPTY = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class _Storage:
    member: Member
    kind: str  # "torch.FloatStorage"
    count: int  # of elements


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A checked tensor of the file; `Storages.array` makes the array."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Of its array, which for bfloat16 is one of float32."""
        itemsize = 4 if self.storage.kind == _BFLOAT16 else np.dtype(_DTYPES[self.storage.kind]).itemsize
        return math.prod(self.shape) * itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Storages:
    """The storages of an archive, and the meanings of the calls that make tensors of them."""

    archive: Archive
    _known: dict[str, _Storage] = field(default_factory=dict)

    def meanings(self) -> dict[str, Callable[[tuple[Any, ...]], object]]:
        """For `Machine`: exact name to what a call of it gives."""
        return {
            "collections.OrderedDict": _ordered,
            "torch.Size": _size,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter,
        }

    def persistent(self, key: object) -> _Storage:
        """The storage of a persistent id, ("storage", class, member, device, elements); sizes are verified."""
        if type(key) is not tuple or len(key) != 5 or key[0] != "storage":
            raise ModelError("its pickle refers to something outside that is no storage")
        _, kind, name, _, count = key
        if type(kind) is not Global or kind.name not in _DTYPES:
            known = ", ".join(dtype.removeprefix("torch.") for dtype in _DTYPES)
            raise ModelError(f"a storage is of {describe(kind)}, expected one of {known}")
        if type(name) is not str or len(name) > _MAX_NAME or not name.isdecimal() or type(count) is not int:
            raise ModelError(
                f"a storage is named {describe(name)} and has {describe(count)} elements, expected numbers"
            )
        found = self._known.get(name)
        if found is None:
            member = self.archive.checked(f"data/{name}")
            found = self._known[name] = _Storage(member, kind.name, count)
        itemsize = np.dtype(_DTYPES[kind.name]).itemsize
        if found.kind != kind.name or found.count != count or count * itemsize != found.member.size:
            raise ModelError(
                f"storage {name} has {found.member.size} bytes, expected {count} elements of {itemsize} ({kind.name})"
            )
        return found

    def array(self, tensor: Tensor) -> npt.NDArray[Any]:
        """A read-only view of the file; a copy where it does not align the tensor, and of bfloat16, as float32."""
        storage = tensor.storage
        dtype = np.dtype(_DTYPES[storage.kind])
        strides = [stride * dtype.itemsize for stride in tensor.strides]
        if not math.prod(tensor.shape):
            return np.empty(tensor.shape, np.float32 if storage.kind == _BFLOAT16 else dtype)
        start = storage.member.start + tensor.offset * dtype.itemsize
        raw = np.uint8 if dtype == np.bool_ else dtype
        array: npt.NDArray[Any] = np.ndarray(tensor.shape, raw, self.archive.data, start, strides)
        if dtype == np.bool_:
            if array.max() > 1:
                raise ModelError("a tensor of bool holds other bytes than 0 and 1")
            return array.view(np.bool_)
        if storage.kind == _BFLOAT16:
            array = np.left_shift(array, 16, dtype=np.uint32).view(np.float32)
        elif not array.flags.aligned:
            array = array.copy()
        array.setflags(write=False)
        return array


def _ordered(args: tuple[Any, ...]) -> dict[Any, Any]:
    if args:
        raise ModelError("its pickle makes an OrderedDict with arguments, expected none")
    return {}


def _size(args: tuple[Any, ...]) -> tuple[int, ...]:
    return _whole(args[0] if len(args) == 1 else None, "a size")


def _parameter(args: tuple[Any, ...]) -> Tensor:
    if not 3 <= len(args) <= 4 or type(args[0]) is not Tensor:
        raise ModelError("its pickle makes a parameter of something else than a tensor")
    return args[0]


def _tensor(args: tuple[Any, ...]) -> Tensor:
    """(storage, offset, size, strides, requires_grad, hooks[, metadata])."""
    if not 6 <= len(args) <= 7 or type(args[0]) is not _Storage:
        raise ModelError("its pickle makes a tensor of something else than a storage")
    storage: _Storage = args[0]
    (offset,), shape, strides = _whole((args[1],), "an offset"), _whole(args[2], "a shape"), _whole(args[3], "strides")
    if len(shape) != len(strides):
        raise ModelError(f"a tensor has {len(shape)} sides and {len(strides)} strides")
    count = math.prod(shape)
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True)) if count else offset
    sides = math.prod(side or 1 for side in shape)  # those of an empty tensor are bounded by no storage
    if sides > max(storage.count, _MAX_EMPTY) or count > storage.count or last >= max(storage.count, 1):
        raise ModelError(
            f"a tensor of shape {shape}, strides {strides} and offset {offset} does not lie in its storage "
            f"of {storage.count} elements"
        )
    return Tensor(storage, offset, shape, strides)


def _whole(value: object, what: str) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > _MAX_RANK:
        raise ModelError(f"a tensor has no tuple of at most {_MAX_RANK} numbers as {what}")
    for side in value:
        if type(side) is not int or not 0 <= side < 1 << 40:
            raise ModelError(f"a tensor has {describe(side)} as {what}, expected whole numbers from 0")
    return value
