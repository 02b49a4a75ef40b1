"""A model card with everything that was found filled in, for the user to confirm and save."""

from __future__ import annotations

from dataclasses import fields

from boxmill.models.ledger import Ledger, shown
from boxmill.types import HeadSpec, InputSpec, ModelSpec

__all__ = ["proposed_card"]


def proposed_card(file_name: str, spec: ModelSpec, ledger: Ledger, labels: tuple[str, ...] | None) -> str:
    """The YAML text of a complete card for `file_name`.

    Args:
        file_name: of the weights.
        spec: what was found and, where the ledger holds a question, guessed.
        ledger: its sources and questions become the comments.
        labels: names to write into the card; None leaves a commented line that shows how.
    """
    comments = {note.field: _origin(note.source) for note in ledger.notes}
    comments |= {field: f"CONFIRM: {question}" for field, question in ledger.questions.items()}
    lines = [f"# Model card for {_quoted(file_name)}", "version: 1", f"task: {spec.task}"]
    for section, values in (("input", spec.input), ("head", spec.head)):
        lines.append(f"{section}:")
        for key, text in _entries(values):
            comment = comments.get(f"{section}.{key}")
            lines.append(f"  {key}: {text}" + (f"  # {comment}" if comment else ""))
    if labels is None:
        lines.append(f"# labels: labels.txt  # {len(spec.names)} names, one a line; coco80 for COCO's 80")
    else:
        lines.append(f"labels: [{', '.join(_quoted(name) for name in labels)}]")
    return "\n".join(lines) + "\n"


def _entries(values: InputSpec | HeadSpec) -> list[tuple[str, str]]:
    entries = []
    for spec in fields(values):
        value = getattr(values, spec.name)
        if spec.name == "outputs":
            entries.append((spec.name, f"[{', '.join(_quoted(name) for name in value)}]"))
        else:
            entries.append((spec.name, shown(value)))
    return entries


def _quoted(text: str) -> str:
    import yaml

    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf")).strip()


def _origin(source: str) -> str:
    return {"shapes": "from the network's shapes", "flag": "from the command line", "default": "the default"}.get(
        source, f"from the {source}"
    )
