"""What the kernels cannot take is refused here, from shapes and dtypes alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import triton
from torch import Tensor

from boxmill.errors import UsageError

__all__ = ["FLOATS", "PAIRS_LIMIT", "check_device", "check_floats", "float32_of", "on_device"]

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
PAIRS_LIMIT = 2**31 - 2**16  # anchors x classes: pairs are counted in 32 bits


def check_device(name: str, tensor: Any) -> None:
    """Refuses what is not a tensor on a GPU; under Triton's interpreter also what is not on the CPU."""
    if not isinstance(tensor, Tensor):
        raise UsageError(f"{name} must be a torch tensor on a GPU, got {type(tensor).__name__}")
    wanted = "cpu" if triton.knobs.runtime.interpret else "cuda"
    if tensor.device.type != wanted:
        raise UsageError(
            f"{name} must be a tensor on a {wanted} device, got one on {tensor.device}; "
            + ("unset TRITON_INTERPRET" if wanted == "cpu" else "use boxmill.post.Postprocessor for the CPU")
        )


def check_floats(name: str, tensor: Tensor) -> None:
    """Refuses dtypes that do not convert to float32 exactly."""
    if tensor.dtype not in FLOATS:
        raise UsageError(
            f"{name} must be float32, or float16 or bfloat16, which convert exactly, got {tensor.dtype}; "
            f"round it yourself: {name}.float()"
        )


def float32_of(value: float) -> float:
    """The nearest float32: what the reference compares with."""
    return float(np.float32(value))


def on_device(tensor: Tensor) -> AbstractContextManager[None]:
    """Launches go to the tensor's device."""
    context: AbstractContextManager[None] = nullcontext()
    return context if tensor.device.type == "cpu" else torch.cuda.device(tensor.device)
