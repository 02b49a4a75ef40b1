"""Where each conclusion about a model came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

__all__ = ["Ledger", "Note", "Source", "shown", "table"]

Source = Literal["flag", "card", "metadata", "shapes", "default", "guess"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Note:
    """One conclusion: the field of the model card, its value as text, and what said so."""

    field: str  # e.g. "input.size"
    value: str
    source: Source
    why: str = ""  # where the source alone does not explain it


class Ledger:
    """Collects notes, warnings, and the questions that only the user can answer."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.warnings: list[str] = []
        self.questions: dict[str, str] = {}  # field -> what to confirm

    def first(self, field: str, *offers: tuple[Source, _T | None]) -> _T | None:
        """The value of the first source that has one, noted; None when none has."""
        for source, value in offers:
            if value is not None:
                self.note(field, value, source)
                return value
        return None

    def first_or(self, field: str, last: tuple[Source, _T], *offers: tuple[Source, _T | None]) -> _T:
        """The value of the first source that has one, else that of `last`; noted."""
        value = self.first(field, *offers)
        if value is None:
            self.note(field, last[1], last[0])
            return last[1]
        return value

    def note(self, field: str, value: object, source: Source, why: str = "") -> None:
        """Write down a conclusion; it takes the place of an earlier one about the same field."""
        self.notes = [note for note in self.notes if note.field != field]
        self.notes.append(Note(field, shown(value), source, why))

    def source(self, field: str) -> Source | None:
        """What the conclusion about `field` came from; None when there is none yet."""
        return next((note.source for note in self.notes if note.field == field), None)

    def guess(self, field: str, value: _T, question: str) -> _T:
        """Take a value for the card that the user is asked to confirm; nothing runs with it."""
        self.questions[field] = question
        self.note(field, value, "guess")
        return value


def shown(value: object) -> str:
    """A value as a model card writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(shown(part) for part in value)}]"
    text = str(value)
    if isinstance(value, float) and "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # YAML 1.1 reads 1e-05 as text and 1.0e-05 as a number
    return text


def table(notes: tuple[Note, ...]) -> str:
    """The notes, a line for each source: `card  head.type yolox, input.color BGR, …`."""
    by_source: dict[Source, list[str]] = {}
    for note in notes:
        why = f" ({note.why})" if note.why else ""
        by_source.setdefault(note.source, []).append(f"{note.field} {note.value}{why}")
    return "\n".join(f"{source:<10}{', '.join(said)}" for source, said in by_source.items())
