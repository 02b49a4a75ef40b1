"""COCO val2017 on a user's own disk, and what was published for weights that we know.

YOLOv9's figures: C.-Y. Wang, I.-H. Yeh, H.-Y. M. Liao, arXiv:2402.13616, table 1 (s, m, c, e), and the authors'
repository (t). They are AP on val2017, 640x640, at conf .001 and IoU .7, every class of every box a candidate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from boxmill.errors import SourceError

__all__ = ["VAL2017", "Published", "published", "val2017"]

VAL2017 = 5000  # images
_YOLOV9 = {"t": 0.383, "s": 0.468, "m": 0.514, "c": 0.530, "e": 0.556}
# yolov9-c.onnx, yolov9c.onnx, yolov9-c-converted.onnx, gelan is another network
_NAME = re.compile(r"yolov9[-_]?([tsmce])(?![a-z0-9])", re.IGNORECASE)
_OTHERS = re.compile(r"quarter|seg|cls|pose", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Published:
    """A published average precision on COCO val2017."""

    model: str
    ap: float
    source: str


def published(weights: str, classes: int) -> Published | None:
    """The figure of the weights that have this file name; None where we know none."""
    name = Path(weights).name
    found = _NAME.search(name)
    if found is None or classes != 80 or _OTHERS.search(name):
        return None
    size = found[1].lower()
    where = "the authors' repository" if size == "t" else "its paper, arXiv:2402.13616"
    return Published(f"YOLOv9-{size.upper()}", _YOLOV9[size], where)


def val2017(folder: Path) -> Path:
    """Where COCO's folder has the ground truth of val2017.

    Raises:
        SourceError: it is not there.
    """
    path = folder / "annotations" / "instances_val2017.json"
    if not path.is_file():
        raise SourceError(f"--coco {str(folder)!r}: expected {path}; unpack annotations_trainval2017.zip there")
    return path
