"""What a converted file says of itself, in the keys and spelling of YOLO exporters, so that every reader knows it.

With names, stride, imgsz and task, `models.resolve` concludes everything: RGB, 0-1, a centred letterbox, boxes in
pixels. The rest says where the file comes from.
"""

from __future__ import annotations

from pathlib import Path

from boxmill.models import OnnxSummary, TensorInfo
from boxmill.models.checkpoint import Checkpoint

__all__ = ["INPUT", "IR_VERSION", "OPSET", "OUTPUT", "PRODUCER", "checkpoint_summary", "describe"]

INPUT, OUTPUT = "images", "output0"  # names of the network's tensors
OPSET, IR_VERSION = 17, 8
PRODUCER = "boxmill"


def describe(checkpoint: Checkpoint, size: tuple[int, int], precision: str) -> dict[str, str]:
    """Metadata of the network in a checkpoint.

    Args:
        checkpoint: what was read.
        size: the default input, height and width in pixels.
        precision: of the weights, `fp32` or `fp16`.
    """
    return {
        "description": "YOLOv9 detector, main branch, fused",
        "task": "detect",
        "head": "DDetect",
        "names": str(dict(enumerate(checkpoint.names))),
        "stride": str(max(checkpoint.stride)),
        "strides": str(list(checkpoint.stride)),
        "imgsz": str(list(size)),
        "precision": precision,
        "branch": checkpoint.source,
    }


def checkpoint_summary(path: Path, checkpoint: Checkpoint, size: tuple[int, int] = (640, 640)) -> OnnxSummary:
    """What the converted file would say of itself; for running a checkpoint without one."""
    image = TensorInfo(INPUT, "float32", ("batch", 3, "height", "width"))
    head = TensorInfo(OUTPUT, "float32", ("batch", 4 + len(checkpoint.names), "anchors"))
    return OnnxSummary(path, IR_VERSION, OPSET, PRODUCER, describe(checkpoint, size, "fp32"), (image,), (head,))
