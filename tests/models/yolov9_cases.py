"""The networks, images and official outputs that the tests of YOLOv9 share."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxmill.models.checkpoint import Checkpoint, read_checkpoint

torch = pytest.importorskip("torch", reason="needs torch: install 'boxmill[torch]'")

from boxmill.models.yolov9 import Network, build, load  # noqa: E402  # after torch is known to be there

torch.set_num_threads(1)  # the networks are small: more threads only wait for one another when tests run side by side

PUBLISHED = tuple(f"{family}-{size}" for family in ("yolov9", "gelan") for size in "tsmce")
WITH_OUTPUTS = ("yolov9-t", "gelan-t", "yolov9-c-quarter", "yolov9-e-quarter", "yolov9-m-quarter")

# one of each block, two scales, three classes; strides 4 and 8
SMALL: dict[str, Any] = {
    "nc": 3,
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "backbone": [
        [-1, 1, "Silence", []],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "AConv", [16]],
        [-1, 2, "ELAN1", [16, 16, 8]],
        [-1, 1, "ADown", [32]],
        [-1, 1, "RepNCSPELAN4", [32, 16, 8, 1]],
        [-1, 1, "RepConvN", [32]],
        [-1, 1, "RepNBottleneck", [32]],
        [-1, 1, "SP", [5]],
    ],
    "head": [
        [3, 1, "CBLinear", [[16]]],
        [5, 1, "CBLinear", [[16, 24]]],
        [0, 1, "Conv", [16, 3, 2]],
        [-1, 1, "AConv", [16]],
        [[9, 10, -1], 1, "CBFuse", [[0, 0]]],
        [8, 1, "SPPELAN", [32, 16]],
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 13], 1, "Concat", [1]],
        [[3, 5, 16, 14], 1, "DualDDetect", ["nc"]],
    ],
}


def small() -> Network:
    """The network of SMALL in float64 and eval mode, its batch norms away from the identity; the same every time."""
    torch.manual_seed(3)
    network = build(SMALL)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                torch.nn.init.uniform_(values, 0.5, 2.0)
            for values in (module.bias, module.running_mean):
                torch.nn.init.uniform_(values, -0.5, 0.5)
    return network.double().eval().requires_grad_(False)


@functools.cache
def checkpoint(folder: Path, name: str) -> Checkpoint:
    return read_checkpoint(folder / f"{name}.random.pt")


@functools.cache
def loaded(folder: Path, name: str) -> Network:
    """The asset's network in float64; shared, so tests change only copies."""
    return load(checkpoint(folder, name)).double()


@functools.cache
def answers(folder: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Both images and the official float64 outputs."""
    with np.load(folder / f"{name}.random.out.npz") as arrays:
        return torch.from_numpy(arrays["input"].astype(np.float64)), torch.from_numpy(arrays["main"])


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of a score, or of a box in parts of its longer side."""
    scores = (found[:, 4:] - expected[:, 4:]).abs().max()
    size = expected[:, 2:4].amax(1, keepdim=True)
    boxes = ((found[:, :4] - expected[:, :4]).abs() / size).max()
    return float(torch.maximum(scores, boxes))
