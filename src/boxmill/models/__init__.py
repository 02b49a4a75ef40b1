"""What a model is: its card, what its ONNX file says of itself, and the two resolved into one ModelSpec."""

from __future__ import annotations

from boxmill.models.card import Card, find_card, load_card
from boxmill.models.checkpoint import Checkpoint, read_checkpoint
from boxmill.models.kind import Kind
from boxmill.models.ledger import Note
from boxmill.models.onnx_metadata import OnnxSummary, TensorInfo, read_onnx
from boxmill.models.recognize import recognize, recognize_folder
from boxmill.models.resolve import Resolution, resolve

__all__ = [
    "Card",
    "Checkpoint",
    "Kind",
    "Note",
    "OnnxSummary",
    "Resolution",
    "TensorInfo",
    "find_card",
    "load_card",
    "read_checkpoint",
    "read_onnx",
    "recognize",
    "recognize_folder",
    "resolve",
]
