"""What is in a YOLOv9 checkpoint, for people: architecture, classes, input, head, types, parameters, called classes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from boxmill.models.checkpoint import Checkpoint

__all__ = ["checkpoint_facts", "variant"]

# The published structures (arXiv 2402.13616 and its code's release), by the first 16 digits of `_fingerprint`.
_VARIANTS: Mapping[str, str] = {
    "670a77127fbf0f04": "YOLOv9-t",
    "c0ffe7d18d4aa629": "YOLOv9-s",
    "297f9e32dc301871": "YOLOv9-m",
    "5030a36c578d0e6b": "YOLOv9-c",
    "e7fdd7fdd46ae28d": "YOLOv9-e",
    "b4ee16e4f19b4446": "GELAN-t",
    "6ef1d195275e1e8d": "GELAN-s",
    "40c0a59724e894be": "GELAN-m",
    "c7b53011cf0fedd5": "GELAN-c",
    "74652797ad23a349": "GELAN-e",
}
_SHOWN = 12
_SHOWN_OBJECTS = 64
_DUAL = "Dual"  # begins the names of heads with an auxiliary branch, which only training uses
_NOT_LEARNED = ("running_mean", "running_var", "num_batches_tracked")  # of batch normalisation


def checkpoint_facts(checkpoint: Checkpoint) -> tuple[tuple[str, str], ...]:
    """Pairs of a heading and a text."""
    state = checkpoint.state
    learned = sum(array.size for key, array in state.items() if not key.endswith(_NOT_LEARNED))
    types = Counter[str]()
    for array in state.values():
        types[str(array.dtype)] += array.size
    return (
        ("network", f"{variant(checkpoint.structure) or 'a structure of its own'}, stored as {checkpoint.source!r}"),
        ("layers", _layers(checkpoint.structure)),
        ("classes", f"{len(checkpoint.names)}: {_some(checkpoint.names, _SHOWN)}"),
        ("input", _input(checkpoint)),
        ("head", _head(checkpoint)),
        ("types", ", ".join(f"{count:,} {name}" for name, count in types.most_common())),
        ("parameters", f"{learned:,} in {len(state)} tensors with those of batch normalisation"),
        ("unpickling would call", f"{_some(checkpoint.objects, _SHOWN_OBJECTS)} (boxmill calls none of them)"),
    )


def variant(structure: Mapping[str, Any]) -> str | None:
    """The published structure that this one is, whatever its number of classes; None where it is none of them."""
    if structure.get("depth_multiple") != 1 or structure.get("width_multiple") != 1:
        return None
    return _VARIANTS.get(_fingerprint(structure))


def _fingerprint(structure: Mapping[str, Any]) -> str:
    """Of the layers: SHA-256 of their JSON without spaces."""
    layers = json.dumps([structure.get("backbone"), structure.get("head")], separators=(",", ":"))
    return hashlib.sha256(layers.encode()).hexdigest()[:16]


def _blocks(structure: Mapping[str, Any]) -> Iterator[str]:
    """Names of the blocks, in order; a layer is [from, number, block, arguments]."""
    for part in ("backbone", "head"):
        layers = structure.get(part)
        for layer in layers if isinstance(layers, list) else ():
            yield layer[2] if isinstance(layer, list) and len(layer) > 2 and isinstance(layer[2], str) else "?"


def _layers(structure: Mapping[str, Any]) -> str:
    counts = Counter(name.removeprefix("nn.") for name in _blocks(structure))
    return f"{counts.total()}: {_some([f'{count} {name}' for name, count in counts.items()], _SHOWN)}"


def _input(checkpoint: Checkpoint) -> str:
    channels = checkpoint.structure.get("ch")
    known = channels if isinstance(channels, int) else 3  # as the code that builds the network takes it
    return f"{known} channels, sides that are multiples of {max(checkpoint.stride)}"


def _head(checkpoint: Checkpoint) -> str:
    *_, block = ("?", *_blocks(checkpoint.structure))
    bins = next((array.size for key, array in checkpoint.state.items() if key.endswith("dfl.conv.weight")), None)
    parts = [block, f"strides {', '.join(map(str, checkpoint.stride))}"]
    if bins is not None:
        parts.append(f"{bins} bins a side")
    if block.startswith(_DUAL):
        parts.append("with an auxiliary branch that only training uses")
    return ", ".join(parts)


def _some(texts: Sequence[str], count: int) -> str:
    return ", ".join(texts[:count]) + (", …" if len(texts) > count else "")
