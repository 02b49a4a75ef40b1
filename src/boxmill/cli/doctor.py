"""`boxmill doctor`: what a weights file is and how it would be run; what is in a run, and whether it is whole."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from boxmill.errors import UsageError

if TYPE_CHECKING:
    from boxmill.models import Kind, OnnxSummary, TensorInfo
    from boxmill.settings import RuntimeName

_SHOWN_NAMES = 8
_SHOWN_COUNTS = 10
_SHOWN_ENTRIES = 24  # of metadata
_SHOWN_TEXT = 72  # characters of one


def doctor(
    path: Path,
    /,
    *,
    card: Path | None = None,
    labels: Path | None = None,
    verify: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say what a weights file is and how it would be run, or look into a run's folder.

    Examples:

        boxmill doctor best.onnx

        boxmill doctor best.pt

        boxmill doctor runs/photos --verify

    Of an ONNX file: inputs, outputs, operators, numbers in its weights, metadata, and what is concluded from them and
    from its card. Where something cannot be known, a card to confirm. Of any other file: what it is, what is in it, and
    how to make an ONNX file of it; YOLOv9 checkpoints run as they are. No file is executed. Exit codes: 0 nothing is
    wrong, 2 neither weights nor a run, 4 these weights cannot be run as they are, 6 something in the run is damaged.

    Parameters
    ----------
    path
        A file with weights, or a run's folder, such as runs/photos.
    card
        Model card of the weights. Default: the .yaml beside them, if there is one.
    labels
        Class names: JSON, YAML or text, one a line. Default: those of the card or the weights.
    verify
        Read everything of a run: every frame and checksum of the journal, one record for each input, every JSON file.
    """
    if (path / "run.json").is_file():
        return _run(path, verify=verify)
    from boxmill.models import recognize_folder

    if not path.exists() or (path.is_dir() and recognize_folder(path) is None):
        what = "it holds no run.json" if path.is_dir() else "nothing is there"
        raise UsageError(f"{str(path)!r} is no run: {what}; expected weights, or a folder such as runs/photos")
    return _weights(path, card, labels)


def _weights(path: Path, card: Path | None, labels: Path | None) -> int:
    from boxmill.convert import is_checkpoint
    from boxmill.models import read_onnx, recognize

    other = recognize(path) if path.is_file() else None
    if other is not None:
        _print_kind(path, other)
    if is_checkpoint(path):
        _conclude(path, card, labels, "torch")
        shown, target = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".onnx")))
        _print("to run", f"boxmill run photos/ --weights {shown}")
        _print("to convert", f"boxmill convert {shown} {target}    # both need pip install 'boxmill[torch]'")
        return 0
    _print_file(read_onnx(path))  # raises what `boxmill run` says of a file that is no ONNX
    _conclude(path, card, labels, "openvino")
    return 0


def _conclude(path: Path, card: Path | None, labels: Path | None, runtime: RuntimeName) -> None:
    """Prints how weights would be run. Raises ModelError where they cannot be."""
    from boxmill.api import resolve_model
    from boxmill.models import find_card
    from boxmill.settings import ModelSettings

    beside = card or find_card(path)
    _print("card", "none beside the weights" if beside is None else str(beside))
    resolution = resolve_model(ModelSettings(path, card=card, labels=labels), runtime)
    names = resolution.spec.names
    more = ", …" if len(names) > _SHOWN_NAMES else ""
    _print("labels", f"{len(names)}: {', '.join(names[:_SHOWN_NAMES])}{more}")
    _print("task", "tags of the whole image" if resolution.spec.task == "tag" else "boxes")
    for line in resolution.table().splitlines():
        print(_clean(line))
    for warning in resolution.warnings:
        _print("warning", warning)


def _print_kind(path: Path, kind: Kind) -> None:
    _print("file", f"{path}: {kind.name}, {_size(path.stat().st_size)}")
    for what, text in kind.facts:
        _print(what, text)


def _print_file(summary: OnnxSummary) -> None:
    opset = "no opset" if summary.opset is None else f"opset {summary.opset}"
    made_by = f", by {summary.producer}" if summary.producer else ""
    size = _size(summary.path.stat().st_size)
    _print("file", f"{summary.path}: ONNX, {size}, {opset}, IR version {summary.ir_version}{made_by}")
    for what, tensors in (("inputs", summary.inputs), ("outputs", summary.outputs)):
        _print_list(what, [_tensor(tensor) for tensor in tensors])
    _print("operators", _counts(summary.operators) or "none")
    _print("numbers", _counts(summary.numbers) or "none")
    entries = [f"{key} {_short(text)}" for key, text in summary.metadata.items()]
    _print_list("metadata", entries or ["none"])
    _print_list("weights", [f"{path.name}, {_size(path.stat().st_size)}" for path in summary.external])


def _counts(counts: Mapping[str, int]) -> str:
    """The most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    more = ", …" if len(ordered) > _SHOWN_COUNTS else ""
    return ", ".join(f"{count:,} {_short(name)}" for name, count in ordered[:_SHOWN_COUNTS]) + more


def _print_list(what: str, entries: Iterable[str]) -> None:
    """One a line; the first stands beside its heading."""
    for index, entry in enumerate(entries):
        if index == _SHOWN_ENTRIES:
            _print("", "…")
            return
        _print("" if index else what, entry)


def _print(what: str, text: str) -> None:
    print(_clean(f"{what:<10}{'' if len(what) < 10 else ' '}{text}"), flush=True)


def _tensor(tensor: TensorInfo) -> str:
    dims = "?" if tensor.dims is None else ", ".join("?" if dim is None else str(dim) for dim in tensor.dims)
    return f"{tensor.name} {tensor.element} ({dims})"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}… ({len(text)} characters)"


def _clean(text: str) -> str:
    """What a file says of itself may hold anything; a terminal must not obey it."""
    return "".join(mark if mark.isprintable() else "�" for mark in text)


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 1 << 20 else f"{count / 2**10:.1f} KiB"


def _run(path: Path, *, verify: bool) -> int:
    from boxmill.store import MAX_JSON_FILES, JsonStyle, Manifest, load
    from boxmill.store import verify as check

    manifest = Manifest(path)
    states = load(path, manifest.total)
    done = states.finished()
    print(f"{path}: {done} of {manifest.total} images are done, {states.tally().failed} of them failed")
    if not verify:
        return 0
    header = json.loads((path / "run.json").read_bytes())
    asked, style = header.get("image_json"), JsonStyle(stems=header.get("json_names") == "stem")
    wanted = manifest.total <= MAX_JSON_FILES if asked is None else asked
    findings = check(path, json_files=wanted or (path / "json").is_dir(), style=style)
    for finding in findings:
        print(f"{finding.severity}: {finding.path}: {finding.message}")
    damaged = sum(finding.severity == "damage" for finding in findings)
    print(
        f"{damaged} damaged, {len(findings) - damaged} that the next resume mends" if findings else "nothing is wrong"
    )
    return 6 if damaged else 0
