"""Build YOLOv9 and GELAN networks from a checkpoint's structure, load weights into them, fuse them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from boxmill.errors import ModelError
from boxmill.models.checkpoint import Checkpoint
from boxmill.models.yolov9 import structure as structures
from boxmill.models.yolov9.fusion import fuse_modules
from boxmill.models.yolov9.heads import DualDDetect
from boxmill.models.yolov9.table import BLOCKS, HEADS, SEVERAL, Maps

__all__ = ["MAX_PARAMETERS", "Network", "assemble", "build", "fuse", "load"]

MAX_PARAMETERS = 500_000_000  # yolov9-e, the largest published network, has 69 million


@dataclass(frozen=True, slots=True)
class Step:
    """Run layer `layer` on the outputs of `sources`, then forget those of `expired`, which no later step reads."""

    layer: int
    sources: tuple[int, ...]
    expired: tuple[int, ...]


class Network(nn.Module):
    """A YOLOv9 or GELAN detector: RGB images in [0, 1] to boxes and scores of the main branch.

    `forward` takes (B, 3, h, w), h and w multiples of `max(strides)`, and gives (B, 4 + C, A): cx, cy, w, h in pixels
    of that image, then C sigmoid scores, for the A cells of all strides, finest first, row by row. float64 stays
    float64; half precision is computed in half and decoded and returned in float32. Only the layers that the main
    branch needs are run. State-dict keys are those of the official checkpoints as long as nothing was dropped or fused.
    """

    def __init__(self, layers: Mapping[int, nn.Module], sources: Mapping[int, tuple[int, ...]], classes: int) -> None:
        """The layers by number, the last being the head, and where each takes its input from."""
        super().__init__()
        self.model = nn.ModuleDict({str(index): layer for index, layer in layers.items()})
        self.sources = dict(sources)
        self.classes = classes
        self.head = max(layers)
        head, inputs = layers[self.head], self.sources[self.head]
        strides: tuple[int, ...] = head.strides  # type: ignore[assignment]
        main = len(inputs) // 2 if isinstance(head, DualDDetect) else 0  # where the main branch's inputs start
        self.strides = strides[main:]
        self.steps = _schedule(self.sources, self.head, inputs[main:])

    def forward(self, x: Tensor) -> Tensor:
        outputs: dict[int, Any] = {structures.IMAGE: x}
        for step in self.steps:
            inputs = [outputs[source] for source in step.sources]
            layer = self.model[str(step.layer)]
            outputs[step.layer] = layer(inputs) if isinstance(layer, SEVERAL) else layer(inputs[0])
            for source in step.expired:
                del outputs[source]
        result: Tensor = outputs[self.head]
        return result

    def without_auxiliary(self) -> Network:
        """The network that holds only what its forward runs: the auxiliary branch and its head are dropped."""
        return self._branch(main=True)

    def auxiliary(self) -> Network | None:
        """The auxiliary branch as a network of its own, sharing parameters; None where there is none."""
        return self._branch(main=False) if isinstance(self.model[str(self.head)], DualDDetect) else None

    def _branch(self, *, main: bool) -> Network:
        head, inputs = self.model[str(self.head)], self.sources[self.head]
        if isinstance(head, DualDDetect):
            half = len(inputs) // 2
            inputs = inputs[half:] if main else inputs[:half]
            head = head.main() if main else head.auxiliary()
        steps = _schedule(self.sources, self.head, inputs)
        layers = {step.layer: self.model[str(step.layer)] for step in steps[:-1]} | {self.head: head}
        return Network(layers, {step.layer: step.sources for step in steps}, self.classes).train(self.training)


def _schedule(sources: Mapping[int, tuple[int, ...]], head: int, inputs: tuple[int, ...]) -> tuple[Step, ...]:
    """The steps that lead to `head` fed from `inputs`, in order of their numbers."""
    needed = {head: inputs}
    for index in range(head - 1, -1, -1):
        if any(index in entries for entries in needed.values()):
            needed[index] = sources[index]
    last_use = {source: index for index in sorted(needed) for source in needed[index]}
    return tuple(
        Step(index, needed[index], tuple(sorted(source for source in set(needed[index]) if last_use[source] == index)))
        for index in sorted(needed)
    )


def build(structure: Mapping[str, Any]) -> Network:
    """The network of a checkpoint's `yaml` mapping, with random weights and every branch, in training mode, float32.

    Raises ModelError naming the layer and block that is not supported or out of bounds; nothing large is allocated
    before the size of the whole network has been checked.
    """
    with torch.device("meta"):
        assemble(structure)
    return assemble(structure)


def load(checkpoint: Checkpoint) -> Network:
    """The checkpoint's network for prediction: every key matched, auxiliary branch dropped, eval mode, float32, CPU.

    Raises ModelError when the structure is not supported, or keys, shapes, strides or class names do not fit it.
    """
    with torch.device("meta"):  # the weights bring their own memory
        everything = assemble(checkpoint.structure)
    whole = everything.state_dict(keep_vars=True)
    _check_state(checkpoint.state, whole)
    network = everything.without_auxiliary().eval()
    if tuple(checkpoint.stride) != network.strides:
        raise ModelError(f"the checkpoint's strides are {checkpoint.stride}, those of its structure {network.strides}")
    if len(checkpoint.names) != network.classes:
        raise ModelError(f"the checkpoint names {len(checkpoint.names)} classes; its structure has {network.classes}")
    keys = {id(value): key for key, value in whole.items()}  # the main head has other names once it is alone
    live = network.state_dict(keep_vars=True)
    state = {name: _tensor(checkpoint.state[keys[id(value)]]) for name, value in live.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.requires_grad_(False)


def fuse(network: Network) -> Network:
    """A copy in which each batch norm is folded into its convolution and each RepConvN is one 3×3 convolution.

    The result equals the network's in eval mode up to rounding (1e-6 in float64) and cannot be trained. Folding is
    computed in float64 and rounded once to the network's dtype.
    """
    fused = copy.deepcopy(network).eval()
    fuse_modules(fused)
    return fused.requires_grad_(False)


def assemble(structure: Mapping[str, Any]) -> Network:
    """The network with every branch on the current default device, layer by layer; raises as `build` does."""
    parsed = structures.parse(structure)
    last = parsed.layers[-1]
    maps = {structures.IMAGE: Maps((3,), 1)}
    layers: dict[int, nn.Module] = {}
    parameters = 0
    for layer in parsed.layers:
        table = HEADS if layer is last else BLOCKS
        if layer.block not in table:
            place = "as the last layer, the head" if layer is last else "before the head"
            raise layer.fault(f"not supported {place}; supported there are {', '.join(sorted(table))}")
        inputs = [maps[source] for source in layer.sources]
        built = [table[layer.block](layer, inputs) for _ in range(layer.repeats)]
        if layer.repeats > 1 and [built[0].maps] != inputs:
            raise layer.fault("a repeated block must give what it takes: one map of the same channels and stride")
        layers[layer.index] = built[0].module if layer.repeats == 1 else nn.Sequential(*(one.module for one in built))
        maps[layer.index] = built[0].maps
        parameters += sum(parameter.numel() for parameter in layers[layer.index].parameters())
        if parameters > MAX_PARAMETERS:
            raise layer.fault(f"with it the network has over {MAX_PARAMETERS:,} parameters; the largest has 69 million")
    return Network(layers, {layer.index: layer.sources for layer in parsed.layers}, parsed.classes)


def _tensor(value: np.ndarray[Any, Any]) -> Tensor:
    """Floats as float32, counters as they are; a copy of its own, which the caller may not change."""
    return torch.from_numpy(value.astype(np.float32) if value.dtype.kind == "f" else value.copy())


def _check_state(found: Mapping[str, np.ndarray[Any, Any]], expected: Mapping[str, Tensor]) -> None:
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise ModelError(
            f"the weights do not fit the structure: {len(missing)} keys are missing ({', '.join(missing[:3])}), "
            f"{len(unexpected)} unexpected ({', '.join(unexpected[:3])}); a fused or edited checkpoint is not supported"
        )
    for key, value in expected.items():
        if found[key].shape != tuple(value.shape):
            raise ModelError(f"{key} has shape {found[key].shape}; the structure asks for {tuple(value.shape)}")
