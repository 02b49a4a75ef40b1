"""The model card: a small YAML file that says what the ONNX file cannot (FORMATS, "Model card").

Everything is optional except `version`; `resolve` fills the rest from the network or asks for it.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from boxmill.errors import ModelError
from boxmill.textfile import parse_yaml, read_text
from boxmill.types import HeadType, Resize

__all__ = ["Card", "CardHead", "CardInput", "find_card", "load_card"]

_LIMIT = 4 << 20  # bytes; 54,000 names inside the card take about 1 MB


@dataclass(frozen=True, slots=True)
class CardInput:
    """A card's `input`: the fields of InputSpec, None where the card does not say."""

    size: tuple[int, int] | None = None  # height, width
    layout: Literal["NCHW", "NHWC"] | None = None
    color: Literal["RGB", "BGR"] | None = None
    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize: Resize | None = None
    pad: int | None = None
    rounding: Literal["round", "floor"] | None = None
    dynamic: bool | None = None
    stride: int | None = None
    crop_from: int | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    antialias: bool | None = None


@dataclass(frozen=True, slots=True)
class CardHead:
    """A card's `head`: the fields of HeadSpec, None where the card does not say."""

    type: HeadType | None = None
    boxes: Literal["pixels", "normalized"] | None = None
    activation: Literal["none", "sigmoid", "softmax"] | None = None
    outputs: tuple[str, ...] | None = None
    strides: tuple[int, ...] | None = None
    bins: int | None = None
    origin: Literal["centre", "corner"] | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A model card. `labels` is the names themselves, a label file still to be read, or the name of a built-in list."""

    path: Path | None = None  # where it was read from
    task: Literal["detect", "tag"] | None = None
    input: CardInput = field(default_factory=CardInput)
    head: CardHead = field(default_factory=CardHead)
    labels: tuple[str, ...] | Path | Literal["coco80", "coco91"] | None = None
    labels_from: str | None = None  # the file or the built-in list as the card names it; None: names in the card itself


def find_card(weights: Path) -> Path | None:
    """The card beside the weights: `model.onnx.yaml` or `model.yaml` for `model.onnx`.

    Raises:
        ModelError: both are there.
    """
    weights = Path(weights)
    found = [
        path
        for path in (weights.with_name(weights.name + ".yaml"), weights.with_suffix(".yaml"))
        if path.is_file() and path != weights
    ]
    if len(found) > 1:
        raise ModelError(f"{weights}: expected one model card, found {found[0].name} and {found[1].name}; remove one")
    return found[0] if found else None


def load_card(path: Path) -> Card:
    """Read a model card.

    Raises:
        ModelError: unreadable, not YAML, an unknown key (with the nearest known one) or a value that is not allowed,
            with the file and the path to the value.
    """
    path = Path(path)
    top = parse_yaml(read_text(path, _LIMIT), path)
    try:
        return _card(top, path)
    except _CardError as error:
        raise ModelError(f"{path}: {error}") from None


class _CardError(Exception):
    """What is wrong, with the path to it inside the card."""


def _card(top: Any, path: Path) -> Card:
    if not isinstance(top, dict):
        raise _CardError(f"expected a model card that starts with `version: 1`, got {_shown(top)}")
    if "version" not in top and not _KNOWN_TOP.issuperset(top):
        raise _CardError("no model card, it has no `version: 1`; rename it, or name the right card with --card")
    if top.get("version") != 1 or isinstance(top["version"], bool):
        raise _CardError(f"version: expected 1, got {_shown(top.get('version'))}")
    _check_keys(top, _KNOWN_TOP, "")
    return Card(
        path=path,
        task=_one_of("detect", "tag")(top["task"], "task") if top.get("task") is not None else None,
        input=CardInput(**_section(top, "input", _INPUT)),
        head=CardHead(**_section(top, "head", _HEAD)),
        labels=_labels(top["labels"], path) if top.get("labels") is not None else None,
        labels_from=top["labels"] if isinstance(top.get("labels"), str) else None,
    )


_Check = Callable[[Any, str], Any]


def _section(top: Mapping[str, Any], name: str, checks: Mapping[str, _Check]) -> dict[str, Any]:
    section = top.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise _CardError(f"{name}: expected a mapping with {', '.join(checks)}, got {_shown(section)}")
    _check_keys(section, checks.keys(), f"{name}.")
    return {key: checks[key](value, f"{name}.{key}") for key, value in section.items() if value is not None}


def _check_keys(section: Mapping[Any, Any], known: Set[str], prefix: str) -> None:
    for key in section:
        if key not in known:
            shown = str(key)[:60]
            near = difflib.get_close_matches(shown, sorted(known), n=1, cutoff=0.0)[0]
            raise _CardError(f"{prefix}{shown}: unknown key; did you mean {near!r}? Known: {', '.join(sorted(known))}")


def _one_of(*allowed: str) -> _Check:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in allowed:
            near = difflib.get_close_matches(str(value), allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise _CardError(f"{where}: expected {_listed(allowed)}, got {_shown(value)}{hint}")
        return value

    return check


def _number(value: Any, where: str, above: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        # YAML 1.1, which PyYAML reads, takes 1e-3 for text: an exponent needs a point before it and a sign after it.
        hint = "; write it like 0.001 or 1.0e-3" if isinstance(value, str) else ""
        raise _CardError(f"{where}: expected a number, got {_shown(value)}{hint}")
    if not value > above or not abs(value) <= 1e30:  # NaN fails both
        bound = "a finite number" if above == -math.inf else f"a finite number above {above:g}"
        raise _CardError(f"{where}: expected {bound}, got {_shown(value)}")
    return float(value)


def _positive(value: Any, where: str) -> float:
    return _number(value, where, above=0.0)


def _triple(check: Callable[[Any, str], float]) -> _Check:
    def triple(value: Any, where: str) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) != 3:
            raise _CardError(f"{where}: expected three numbers in the order of `color`, got {_shown(value)}")
        return tuple(check(part, f"{where}[{index}]") for index, part in enumerate(value))

    return triple


def _integer(least: int, most: int) -> Callable[[Any, str], int]:
    def check(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _CardError(f"{where}: expected a whole number of {least} to {most}, got {_shown(value)}")
        return value

    return check


def _size(value: Any, where: str) -> tuple[int, int]:
    parts = value if isinstance(value, list) else [value, value]
    if len(parts) != 2:
        raise _CardError(f"{where}: expected [height, width] or one number, got {_shown(value)}")
    height, width = (_integer(1, 65536)(part, where) for part in parts)
    return height, width


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _CardError(f"{where}: expected true or false, got {_shown(value)}")
    return value


def _outputs(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 16 or not all(isinstance(name, str) for name in value):
        raise _CardError(
            f"{where}: expected a list of output names in the order of the head, such as [output0] or "
            f"[boxes, scores, labels], got {_shown(value)}"
        )
    if len(set(value)) < len(value):
        raise _CardError(f"{where}: expected every output once, got {_shown(value)}")
    return tuple(value)


def _strides(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 8:
        raise _CardError(f"{where}: expected a list such as [8, 16, 32], got {_shown(value)}")
    return tuple(_integer(1, 1024)(part, f"{where}[{index}]") for index, part in enumerate(value))


def _labels(value: Any, path: Path) -> tuple[str, ...] | Path | Literal["coco80", "coco91"]:
    if value == "coco80" or value == "coco91":
        return cast(Literal["coco80", "coco91"], value)
    if isinstance(value, str):
        return path.parent / value
    if isinstance(value, dict):
        wrong = [key for key in value if isinstance(key, bool) or not isinstance(key, int)]
        if wrong or sorted(value) != list(range(len(value))):
            raise _CardError(
                f"labels: expected the class ids 0, 1, 2, … without gaps as keys, got {_shown(list(value))}"
            )
        value = [value[index] for index in range(len(value))]
    if not isinstance(value, list) or not value:
        raise _CardError(
            f"labels: expected a file, coco80, coco91, a list or a mapping of ids to names, got {_shown(value)}"
        )
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name.strip():
            raise _CardError(f"labels: class {index}: expected a name, got {_shown(name)}; write it in quotes")
    return tuple(name.strip() for name in cast(list[str], value))


def _listed(allowed: tuple[str, ...]) -> str:
    return " or ".join(allowed)


def _shown(value: Any) -> str:
    # reprlib stops early; YAML aliases can stand for more text than fits in memory.
    return "nothing" if value is None else reprlib.repr(value)


_INPUT: dict[str, _Check] = {
    "size": _size,
    "layout": _one_of("NCHW", "NHWC"),
    "color": _one_of("RGB", "BGR"),
    "scale": _positive,
    "mean": _triple(_number),
    "std": _triple(_positive),
    "resize": _one_of(*get_args(Resize)),
    "pad": _integer(0, 255),
    "rounding": _one_of("round", "floor"),
    "dynamic": _boolean,
    "stride": _integer(1, 1024),
    "crop_from": _integer(1, 65536),
    "interpolation": _one_of("bilinear", "bicubic"),
    "antialias": _boolean,
}
_HEAD: dict[str, _Check] = {
    "type": _one_of(*get_args(HeadType)),
    "boxes": _one_of("pixels", "normalized"),
    "activation": _one_of("none", "sigmoid", "softmax"),
    "outputs": _outputs,
    "strides": _strides,
    "bins": _integer(2, 256),
    "origin": _one_of("centre", "corner"),
}
_KNOWN_TOP = frozenset({"version", "task", "input", "head", "labels"})
