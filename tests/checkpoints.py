"""Small YOLOv9 checkpoints in the form of the official training code: torch.save of the whole network object."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

NAMES = ("cat", "dog", "cow")
STRUCTURE: dict[str, Any] = {
    "nc": len(NAMES),
    "depth_multiple": 1.0,
    "width_multiple": 1.0,
    "anchors": 3,
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "ELAN1", [16, 16, 8]],
        [-1, 1, "AConv", [24]],
        [-1, 1, "RepNCSPELAN4", [24, 24, 16, 1]],
        [-1, 1, "AConv", [32]],
        [-1, 1, "RepNCSPELAN4", [32, 32, 16, 1]],
        [-1, 1, "ADown", [32]],
    ],
    "head": [[-1, 1, "SPPELAN", [32, 16]], [[4, 6, 8], 1, "DDetect", ["nc"]]],
}


def write_checkpoint(
    path: Path, seed: int = 0, gain: float = 1.5, structure: dict[str, Any] = STRUCTURE, names: Sequence[str] = NAMES
) -> Path:
    """A checkpoint in float16 of a network, by default one with three classes.

    `gain` is that of the convolutions: about 1.5 keeps activations alive and damps rounding, as training does; at 4
    they grow from layer to layer until a rounding decides of scores.
    """
    import torch

    from boxmill.models.yolov9 import build

    torch.manual_seed(seed)
    network = build(structure)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("dfl.conv.weight"):
                value.copy_(torch.arange(16.0).view(1, 16, 1, 1))
            elif value.ndim == 4:
                value.copy_(torch.randn_like(value) * gain / value[0].numel() ** 0.5)
            elif key.endswith("running_mean"):
                value.copy_(torch.randn_like(value) * 0.1)
    with mock.patch.dict(sys.modules, {name: ModuleType(name) for name in ("models", "models.yolo", "models.common")}):
        official = _official(network.half(), "DetectionModel")
        official.yaml, official.names, official.nc = structure, list(names), len(names)
        layers = _official(torch.nn.Module(), "Sequential")
        layers._modules.update(official._modules.pop("model")._modules)
        official._modules["model"] = layers
        layers[-1].stride = torch.tensor([8.0, 16.0, 32.0])
        torch.save({"epoch": -1, "best_fitness": None, "model": official, "ema": None}, path)
    return path


def _official(module: Any, name: str) -> Any:
    """A copy of a module's tree whose classes stand where the official code has them."""
    import torch

    kept = type(module).__module__.startswith("torch.") and type(module) is not torch.nn.Module
    kind = torch.nn.Sequential if name == "Sequential" else type(module) if kept else _class(name)
    copy = kind.__new__(kind)
    torch.nn.Module.__init__(copy)
    copy._parameters.update(module._parameters)
    copy._buffers.update(module._buffers)
    for key, child in module._modules.items():
        copy._modules[key] = _official(child, type(child).__name__)
    return copy


def _class(name: str) -> type:
    import torch

    home = "models.yolo" if name in ("DetectionModel", "DDetect") else "models.common"
    if not hasattr(sys.modules[home], name):
        setattr(sys.modules[home], name, type(name, (torch.nn.Module,), {"__module__": home}))
    found: type = getattr(sys.modules[home], name)
    return found
