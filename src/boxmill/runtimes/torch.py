"""Networks in PyTorch: YOLOv9 checkpoints as they are, on the CPU or on a GPU of NVIDIA's.

On the CPU each calling thread computes with one thread of its own and one image at a time, so that the arithmetic does
not depend on how many images are under way, as in `openvino.py`. PyTorch keeps that number twice: OpenMP's, which
belongs to the calling thread, and its own, from which threads start that are new to it. `torch.set_num_threads` sets
both, so every thread calls it once; the process's number is put back by `close`.

In bf16 and fp16 the network decodes its boxes in float32 all the same. On a GPU a batch is computed at once, and cuDNN
may choose another algorithm for another batch size: the same image then gives the results of another rounding.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxmill.errors import ModelError, UsageError
from boxmill.models.checkpoint import read_checkpoint
from boxmill.runtimes.base import RawOutput
from boxmill.runtimes.cuda import lanes_of
from boxmill.runtimes.openvino import has_native_bf16
from boxmill.runtimes.torch_device import DeviceNetwork, DeviceSelect, TorchDevice
from boxmill.types import Float32, ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from boxmill.models.yolov9 import Network

__all__ = [
    "TorchOptions",
    "TorchRuntime",
    "check_torch",
    "effective_device",
    "mixed_precision",
    "on_device",
    "torch_precision",
]

_DEVICE = re.compile(r"auto|cpu|cuda|(cuda:)?\d{1,3}")
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """How a network is computed."""

    precision: str = "auto"  # fp32, bf16, fp16; auto: fp16 on a GPU, on a CPU bf16 where it is native, else fp32
    device: str = "auto"  # cpu, cuda, cuda:N or N; auto: a GPU where PyTorch sees one
    compile: bool = False  # torch.compile: the first image of a shape waits for a compiler


def check_torch(why: str = "this is a PyTorch checkpoint") -> None:
    """Whether PyTorch is installed, without loading it. Raises UsageError."""
    if find_spec("torch") is None:
        raise UsageError(f"PyTorch is not installed, and {why}; install it with: pip install 'boxmill[torch]'")


def effective_device(wanted: str) -> str:
    """`cpu` or `cuda:N`. Raises UsageError where there is no such device, or PyTorch is missing."""
    check_torch()
    import torch

    if not _DEVICE.fullmatch(wanted):
        raise UsageError(f"--device: expected auto, cpu, cuda, cuda:N or N, got {wanted!r}")
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError(f"--device {wanted}: PyTorch {torch.__version__} sees no GPU here; leave --device out")
    number = int(wanted.rpartition(":")[2]) if wanted[-1].isdigit() else 0
    if number >= torch.cuda.device_count():
        raise UsageError(f"--device {wanted}: there are {torch.cuda.device_count()} GPUs, numbered from 0")
    return f"cuda:{number}"


def torch_precision(wanted: str, device: str) -> str:
    """What a network computes in on a device that `effective_device` gave: fp32, bf16 or fp16.

    Raises:
        UsageError: the device would only emulate it, or PyTorch cannot tell.
    """
    if device != "cpu":
        return "fp16" if wanted == "auto" else wanted
    if wanted == "auto":
        return "bf16" if has_native_bf16() else "fp32"
    if wanted == "fp16":
        raise UsageError("--precision fp16 is for GPUs; on a CPU use --precision auto, bf16 or fp32")
    if wanted == "bf16" and not has_native_bf16():
        raise UsageError(
            "--precision bf16 needs a processor with bfloat16 instructions (avx512_bf16, amx_bf16); "
            "this one has none, so it would be slower than fp32. Use --precision auto or fp32"
        )
    return wanted


class TorchRuntime:
    """Implements `Runtime` with our own YOLOv9 network, from a checkpoint that is read without executing it."""

    name = "torch"

    def __init__(self, weights: Path, spec: ModelSpec, options: TorchOptions) -> None:
        """Reads the checkpoint, builds the network, drops its auxiliary branch and fuses it.

        Raises:
            UsageError: PyTorch, the device or the precision is missing.
            ModelError: the checkpoint cannot be read, or its network cannot be built.
        """
        self.device = effective_device(options.device)
        self.precision = torch_precision(options.precision, self.device)
        import torch

        self.spec = spec
        self.version: str = torch.__version__.partition("+")[0]
        self._threads = torch.get_num_threads()
        self._local = threading.local()
        self._channels_last = _channels_last(self.precision, self.device)
        self._network = _network(weights, self.precision, self.device, compiled=options.compile)

    def infer(self, tensor: Float32) -> list[RawOutput]:
        """See `Runtime.infer`; the array is the caller's. Images are NCHW, float32."""
        import torch

        if not hasattr(self._local, "ready"):
            if self.device == "cpu":
                torch.set_num_threads(1)
            self._local.ready = True
        images = torch.from_numpy(tensor)
        try:
            with torch.inference_mode():
                parts = torch.split(images, 1) if self.device == "cpu" else (images,)
                found = [self._forward(part) for part in parts]
        except RuntimeError as error:
            raise ModelError(f"PyTorch cannot run the network on {tensor.shape}: {_first_line(error)}") from error
        return [found[0] if len(found) == 1 else np.concatenate(found)]

    def close(self) -> None:
        """Frees the network, and gives PyTorch in this process its number of threads back."""
        import torch

        del self._network
        if self.device == "cpu":
            torch.set_num_threads(self._threads)

    def _forward(self, images: Tensor) -> RawOutput:
        import torch

        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        output = self._network(images.to(self.device, memory_format=layout))
        array: RawOutput = output.float().cpu().numpy()
        return array


def on_device(weights: Path, spec: ModelSpec, options: TorchOptions, select: DeviceSelect | None = None) -> TorchDevice:
    """The same network for the loop that feeds a device: batches, streams, CUDA graphs.

    Args:
        weights, spec, options: as for `TorchRuntime`, which see for what is raised.
        select: post-processing on the device.
    """
    device = effective_device(options.device)
    precision = torch_precision(options.precision, device)
    import torch

    network = _network(weights, precision, device, compiled=options.compile)
    lanes = lanes_of(device)
    if device != "cpu":
        torch.cuda.synchronize(lanes.device)  # the weights came in another stream
    parts = DeviceNetwork(
        forward=lambda images: [network(images)],
        name="torch",
        version=torch.__version__.partition("+")[0],
        precision=precision,
        dtype=getattr(torch, _DTYPES[precision]),
        graphs=not options.compile,
        channels_last=_channels_last(precision, device),
    )
    return TorchDevice(spec, parts, lanes, select)


def _channels_last(precision: str, device: str) -> bool:
    return precision != "fp32" or device != "cpu"


def _network(weights: Path, precision: str, device: str, *, compiled: bool) -> Any:
    """Fused, of that precision, on the device. Raises ModelError."""
    import torch

    from boxmill.models.yolov9 import fuse, load

    network: Any = fuse(load(read_checkpoint(weights)))
    if precision != "fp32":
        network = mixed_precision(network, getattr(torch, _DTYPES[precision]))
    elif device != "cpu":  # float32 is meant: TF32 keeps ten bits of it
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    layout = torch.channels_last if _channels_last(precision, device) else torch.contiguous_format
    network.to(device, memory_format=layout)
    return torch.compile(network, dynamic=True) if compiled else network


def mixed_precision(network: Network, dtype: torch.dtype) -> Network:
    """The same network, changed in place: weights and feature maps in `dtype`, boxes and scores decoded in float32.

    Args:
        network: fused; goes on taking and giving float32.
        dtype: torch.float16 or torch.bfloat16.
    """

    def cast(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(argument.to(dtype) for argument in arguments)

    network.to(dtype).register_forward_pre_hook(cast)
    return network


def _first_line(error: RuntimeError) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
