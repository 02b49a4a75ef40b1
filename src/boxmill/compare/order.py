"""What a script's process is told, and what it answers: two JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from boxmill.types import ModelSpec

__all__ = ["Finished", "Limits", "Order", "Precision", "ScriptRuntime"]

ScriptRuntime = Literal["onnxruntime", "openvino", "torch"]
Precision = Literal["fp32", "bf16", "fp16"]


class Limits(msgspec.Struct, frozen=True):
    """Which boxes are results; the same for every program."""

    conf: float  # kept above it
    iou: float | None  # None: the network selects its boxes itself
    max_det: int


class Order(msgspec.Struct, frozen=True):
    """What a script does."""

    network: bytes  # path of the ONNX file; for torch, of the checkpoint
    spec: ModelSpec
    limits: Limits
    runtime: ScriptRuntime
    precision: Precision
    reload: bool  # the network is loaded anew for each image
    batch: int
    images: list[tuple[str, bytes]]  # key, path
    folder: bytes  # of the JSON files
    answer: bytes  # the file that `Finished` is written to
    device: str = "cpu"  # or cuda:N, for onnxruntime and torch

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_bytes(msgspec.json.encode(self))


class Finished(msgspec.Struct, frozen=True):
    """What a script's process did; seconds, from the first image to the last JSON file."""

    wall: float
    cpu: float  # of all its threads
    objects: int
    failed: int  # images that OpenCV could not read
