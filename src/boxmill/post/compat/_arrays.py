"""Tensors to arrays and back, through the torch that the caller has already imported: none is imported here."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from boxmill.errors import UsageError
from boxmill.post.nms import on_gpu

__all__ = ["Array", "ArrayOrTensor", "Tensor", "as_array", "as_float32", "like", "stays_on_gpu"]

Array = npt.NDArray[Any]


class Tensor(Protocol):
    """What is used of a `torch.Tensor`."""

    @property
    def device(self) -> Any: ...

    @property
    def dtype(self) -> Any: ...

    def cpu(self) -> Any: ...

    def detach(self) -> Any: ...


ArrayOrTensor = TypeVar("ArrayOrTensor", bound=Array | Tensor)


def as_array(name: str, value: Array | Tensor) -> Array:
    """The values as numpy sees them; shares memory with an array or a CPU tensor. A bfloat16 tensor becomes float32.

    Raises:
        UsageError: neither a numpy array nor a torch tensor.
    """
    if isinstance(value, np.ndarray):
        return value
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        raise UsageError(f"{name} must be a torch tensor or a numpy array, got {type(value).__name__}")
    tensor = value.detach().cpu()
    array: Array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array


def as_float32(name: str, array: Array) -> Array:
    """Any floating-point array as one that the native core takes: float64 rounded, float16 and float32 as they are.

    Raises:
        UsageError: not floating point.
    """
    if array.dtype.kind != "f":
        raise UsageError(f"{name} must be floating point, got {array.dtype}; convert it: {name}.astype(numpy.float32)")
    if array.dtype.itemsize <= 4:
        return array
    with np.errstate(over="ignore"):  # too large for float32 is infinite
        return array.astype(np.float32)


def like(model: ArrayOrTensor, array: Array) -> ArrayOrTensor:
    """`array` as the same kind of object as `model`, on the same device."""
    if isinstance(model, np.ndarray):
        return array  # type: ignore[return-value]  # the kind of `model`, which mypy cannot narrow
    tensor = sys.modules["torch"].from_numpy(array)
    on_device: ArrayOrTensor = tensor if model.device.type == "cpu" else tensor.to(model.device)
    return on_device


def stays_on_gpu(*values: object) -> bool:
    """Whether these are tensors on a GPU and our kernels can run there; otherwise they are copied to the CPU."""
    return all(on_gpu(value) for value in values) and find_spec("triton") is not None
