"""Pascal VOC: `Annotations/<image without suffix>.xml`, folders mirrored.

Coordinates are those of the VOC devkit: pixels counted from 1, the last one included, so a box from 0.0 to 10.0 is
xmin 1, xmax 10. http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
"""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np

from boxmill.store.exports.folder import ExportFolder
from boxmill.store.exports.per_image import create_for
from boxmill.store.exports.source import RunResults
from boxmill.store.exports.xml_text import legal
from boxmill.types import Detections, Outcome

__all__ = ["write_voc"]


def write_voc(run: RunResults, folder: ExportFolder) -> list[str]:
    """An image without objects has a file without objects; a failed one has none."""
    for outcome in run.outcomes():
        if isinstance(outcome.result, Detections) and outcome.size is not None:
            data = _annotation(outcome.result, outcome, outcome.size, run.names)
            create_for(run, folder, outcome.key, lambda name: f"Annotations/{name}.xml", data)
    return []


def _annotation(found: Detections, outcome: Outcome, size: tuple[int, int], names: tuple[str, ...]) -> bytes:
    parent, _, name = outcome.key.rpartition("/")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<annotation>",
        f"  <folder>{_text(parent)}</folder>",
        f"  <filename>{_text(name)}</filename>",
        f"  <path>{_text(outcome.key)}</path>",
        f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>",
        "  <segmented>0</segmented>",
    ]
    # a box that is thinner than a pixel still has one
    corners = np.rint(found.boxes.astype(np.float64)).astype(np.int64) + np.array([1, 1, 0, 0])
    low = np.clip(corners[:, :2], 1, size)
    high = np.clip(corners[:, 2:], low, size)
    for class_id, score, (x1, y1), (x2, y2) in zip(
        found.classes.tolist(), found.scores.tolist(), low.tolist(), high.tolist(), strict=True
    ):
        lines += [
            "  <object>",
            f"    <name>{_text(names[class_id])}</name>",
            "    <pose>Unspecified</pose>",
            "    <truncated>0</truncated>",
            "    <difficult>0</difficult>",
            f"    <confidence>{score:.6f}</confidence>",
            f"    <bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>", ""]).encode()


def _text(text: str) -> str:
    return escape(legal(text), {"\r": "&#13;"})
