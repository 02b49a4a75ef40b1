"""The detector that boxmill ships: the demo's classes, trained by `training/` on the demo's scenes and nothing else."""

from __future__ import annotations

from pathlib import Path

from boxmill.demo.classes import CLASSES, names, names_zh
from boxmill.labels import NamesByLanguage

__all__ = ["ADVICE", "class_names", "shipped_detector"]

ADVICE = (
    f"this is boxmill's demo detector: it knows {len(CLASSES)} kinds of things as emoji show them, not your photos; "
    "for those bring a model: --weights yolov8n.onnx (boxmill doctor FILE says whether a file fits)"
)


def shipped_detector() -> Path:
    """The ONNX file inside the package; packages are installed as files, so that runtimes can map it."""
    return Path(__file__).with_name("detector.onnx")


def class_names() -> NamesByLanguage:
    """What its classes are called, by class id, in English and Chinese."""
    return {"en": tuple(names()), "zh": tuple(names_zh())}
