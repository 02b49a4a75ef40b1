"""What a file is when it is no ONNX model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file, and what its owner can do to run it."""

    name: str  # with its article: "an Ultralytics checkpoint (DetectionModel)"
    advice: str  # one clause; a command to type stands on a line of its own
    facts: tuple[tuple[str, str], ...] = ()  # for people: what was found in it
