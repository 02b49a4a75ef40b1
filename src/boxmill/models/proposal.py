"""A model card with everything that was found filled in, for the user to confirm and save."""

from __future__ import annotations

import json
from dataclasses import fields

from boxmill.models.card import Card
from boxmill.models.ledger import Ledger, shown
from boxmill.models.shapes import GRID_HEADS
from boxmill.types import HeadSpec, ModelSpec

__all__ = ["proposed_card"]


def proposed_card(file_name: str, spec: ModelSpec, ledger: Ledger, card: Card) -> str:
    """The YAML text of a complete card for `file_name`.

    Args:
        file_name: of the weights.
        spec: what was found and, where the ledger holds a question, guessed.
        ledger: its sources and questions become the comments.
        card: the card that leaves something open; what it says about labels is kept. Without labels a line shows how.
    """
    comments = {note.field: _origin(note.source) for note in ledger.notes}
    comments |= {field: f"CONFIRM: {question}" for field, question in ledger.questions.items()}
    lines = [f"# Model card for {_quoted(file_name)}", "version: 1", f"task: {spec.task}"]
    for section, values in (("input", _input_entries(spec)), ("head", _head_entries(spec.head))):
        lines.append(f"{section}:")
        for key, text in values:
            comment = comments.get(f"{section}.{key}")
            lines.append(f"  {key}: {text}" + (f"  # {comment}" if comment else ""))
    lines.append(_labels(spec, card, comments.get("labels", "")))
    return "\n".join(lines) + "\n"


def _labels(spec: ModelSpec, card: Card, comment: str) -> str:
    if card.labels_from is not None:
        return f"labels: {_quoted(card.labels_from)}"
    if isinstance(card.labels, tuple):
        return f"labels: [{', '.join(_quoted(name) for name in card.labels)}]"
    if not spec.names:
        return f"labels: labels.txt  # {comment}"
    return f"# labels: labels.txt  # {len(spec.names)} names, one a line; coco80 and coco91 are built in"


def _input_entries(spec: ModelSpec) -> list[tuple[str, str]]:
    """The fields that mean something for this model."""
    values = spec.input
    unused = {"crop_from"} if values.crop_from is None else set()
    if not values.resize.startswith("letterbox"):
        unused |= {"pad", "rounding"}
    if spec.task == "tag":
        unused |= {"dynamic", "stride"}
    elif values.interpolation == "bilinear" and not values.antialias:
        unused |= {"interpolation", "antialias"}
    return [(one.name, shown(getattr(values, one.name))) for one in fields(values) if one.name not in unused]


def _head_entries(head: HeadSpec) -> list[tuple[str, str]]:
    outputs = f"[{', '.join(_quoted(name) for name in head.outputs)}]"
    entries = [("type", head.type), ("boxes", head.boxes), ("activation", head.activation), ("outputs", outputs)]
    if head.type == "classes":
        del entries[1]
    if head.type in GRID_HEADS:
        entries.append(("strides", shown(head.strides)))
    if head.type == "nanodet":
        entries += [("bins", shown(head.bins)), ("origin", head.origin)]
    return entries


def _quoted(text: str) -> str:
    if text.isprintable():
        return json.dumps(text, ensure_ascii=False)  # YAML's own quoting would take 5 s for 50,000 names
    import yaml

    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf")).strip()


def _origin(source: str) -> str:
    return {"shapes": "from the network's shapes", "flag": "from the command line", "default": "the default"}.get(
        source, f"from the {source}"
    )
