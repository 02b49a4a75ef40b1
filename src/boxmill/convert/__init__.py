"""YOLOv9 checkpoints as ONNX files: exported, checked on every runtime at once, and kept for the next run."""

from __future__ import annotations

from boxmill.convert.cache import alone, cache_folder, cached_network
from boxmill.convert.conversion import Conversion, ConvertOptions, convert, is_checkpoint, read_network_file
from boxmill.convert.metadata import checkpoint_summary
from boxmill.convert.verify import Row, Verdict

__all__ = [
    "Conversion",
    "ConvertOptions",
    "Row",
    "Verdict",
    "alone",
    "cache_folder",
    "cached_network",
    "checkpoint_summary",
    "convert",
    "is_checkpoint",
    "read_network_file",
]
