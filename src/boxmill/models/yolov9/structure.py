"""A checkpoint's `yaml`, which is untrusted input, as a checked list of layers.

The structure names, per layer, where its input comes from, how often the block is repeated, the block and its
arguments: `[from, repeats, block, [arguments]]`. Nothing in it is evaluated: words are looked up, numbers are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boxmill.errors import ModelError

__all__ = ["IMAGE", "MAX_CLASSES", "MAX_LAYERS", "MAX_REPEATS", "MAX_WIDTH", "Layer", "Structure", "parse"]

IMAGE = -1  # the source of the first layer: the image itself
MAX_LAYERS = 256  # yolov9-e, the largest published structure, has 50
MAX_REPEATS = 32  # published: 1 to 3
MAX_WIDTH = 8192  # channels of one feature map; published: up to 2048
MAX_CLASSES = MAX_WIDTH
_MAX_SOURCES = 16


@dataclass(frozen=True, slots=True)
class Layer:
    """One entry of the structure: absolute indices of its inputs (`IMAGE` or a layer), block and arguments."""

    index: int
    sources: tuple[int, ...]
    repeats: int
    block: str
    arguments: tuple[Any, ...]

    def fault(self, problem: str) -> ModelError:
        """The error that names this layer, its block and its arguments."""
        return ModelError(f"layer {self.index} of the structure, {self.block} {list(self.arguments)!r:.200}: {problem}")


@dataclass(frozen=True, slots=True)
class Structure:
    """The layers in order, the head last, and the number of classes."""

    layers: tuple[Layer, ...]
    classes: int


def parse(structure: Mapping[str, Any]) -> Structure:
    """Check the `yaml` mapping of a checkpoint and make its references absolute.

    Raises ModelError naming the entry that is missing, out of bounds or not supported.
    """
    if not isinstance(structure, Mapping):
        raise ModelError(f"the structure must be a mapping with 'nc', 'backbone' and 'head', not {type(structure)}")
    classes = _bounded(structure.get("nc"), MAX_CLASSES, "nc, the number of classes")
    _check_settings(structure)
    rows: list[Any] = []
    for part in ("backbone", "head"):
        entries = structure.get(part)
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise ModelError(f"the structure's {part!r} must be a list of layers, not {type(entries).__name__}")
        rows += entries
        if len(rows) > MAX_LAYERS:
            raise ModelError(f"the structure has more than {MAX_LAYERS} layers; the largest published one has 50")
    if not rows:
        raise ModelError("the structure has no layers")
    return Structure(tuple(_layer(index, row, classes) for index, row in enumerate(rows)), classes)


def _check_settings(structure: Mapping[str, Any]) -> None:
    """Refuse settings whose effect no published structure shows: guessing would give boxes that look right."""
    for key in ("depth_multiple", "width_multiple"):
        if structure.get(key, 1.0) != 1.0:
            raise ModelError(f"{key} is {structure[key]!r:.40}; only 1.0 is supported, as in every published structure")
    if structure.get("ch", 3) != 3:
        raise ModelError(f"the network takes {structure['ch']!r:.40} image channels; only 3 (RGB) are supported")
    if structure.get("activation") is not None:
        raise ModelError(f"activation {structure['activation']!r:.80} is not supported; without the key it is SiLU")


def _layer(index: int, row: Any, classes: int) -> Layer:
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 4:
        raise ModelError(
            f"layer {index} of the structure must be [from, repeats, block, [arguments]], not {row!r:.200}"
        )
    origin, repeats, block, arguments = row
    if not isinstance(block, str):
        raise ModelError(f"layer {index} of the structure must name its block by a string, not {block!r:.200}")
    if not isinstance(arguments, Sequence) or isinstance(arguments, str):
        raise ModelError(
            f"layer {index} of the structure, {block:.80}: arguments must be a list, not {arguments!r:.200}"
        )
    resolved = tuple(classes if argument == "nc" else _plain(argument) for argument in arguments)
    layer = Layer(index, (), _bounded(repeats, MAX_REPEATS, f"repeats of layer {index}"), block[:80], resolved)
    return Layer(index, _sources(layer, origin), layer.repeats, layer.block, resolved)


def _plain(argument: Any) -> Any:
    """Lists become tuples and the word None becomes the value; other words stay words for the block to look up."""
    if isinstance(argument, list | tuple):
        return tuple(argument)
    return None if argument == "None" else argument


def _sources(layer: Layer, origin: Any) -> tuple[int, ...]:
    """Relative (negative) and absolute references as absolute ones; a layer sees only what came before it."""
    entries = list(origin) if isinstance(origin, list | tuple) else [origin]
    if not 1 <= len(entries) <= _MAX_SOURCES:
        raise layer.fault(f"takes input from 1 to {_MAX_SOURCES} layers, not {len(entries)}")
    sources = []
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, int):
            raise layer.fault(f"'from' must be the number of a layer, not {entry!r:.80}")
        source = layer.index + entry if entry < 0 else entry
        if not (0 <= source < layer.index or (source == IMAGE and layer.index == 0)):
            raise layer.fault(f"takes input from {entry}, which is not an earlier layer")
        sources.append(source)
    return tuple(sources)


def _bounded(value: Any, largest: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise ModelError(f"{what}: expected a whole number from 1 to {largest}, got {value!r:.80}")
    return value
