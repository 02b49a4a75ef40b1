"""Ground truth as a COCO file. https://cocodataset.org/#format-data

An image's id is its index + 1, a category's its class id + 1, as in `boxmill export`. Beside COCO's own fields,
categories carry `name_zh`, and annotations `visible` (share of the thing that can be seen), `glyph`, and `unseen`
(whether training never shows that glyph).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from boxmill.demo.classes import CLASSES
from boxmill.demo.scenes import Scene, SceneSpec

__all__ = ["annotate", "document", "file_name"]


def file_name(index: int) -> str:
    """The name of a scene's picture."""
    return f"{index:06}.jpg"


def annotate(scene: Scene, index: int) -> list[dict[str, Any]]:
    """What is on one scene, without ids: those count over all scenes."""
    rows = []
    for number, (x1, y1, x2, y2) in enumerate(scene.boxes.astype(int).tolist()):
        rows.append(
            {
                "image_id": index + 1,
                "category_id": int(scene.classes[number]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": int(scene.areas[number]),
                "iscrowd": int(scene.ignored[number]),
                "visible": round(float(scene.visible[number]), 4),
                "glyph": scene.glyphs[number],
                "unseen": bool(scene.unseen[number]),
            }
        )
    return rows


def document(spec: SceneSpec, seed: int, scenes: Sequence[list[dict[str, Any]]]) -> bytes:
    """The whole file, from the annotations of each scene in the order of their indices: UTF-8, a line for each row."""
    images = [
        {"id": index + 1, "file_name": file_name(index), "width": spec.width, "height": spec.height}
        for index in range(len(scenes))
    ]
    categories = [
        {"id": number, "name": thing.name, "name_zh": thing.name_zh, "supercategory": thing.group}
        for number, thing in enumerate(CLASSES, 1)
    ]
    found = [row for scene in scenes for row in scene]
    info = {
        "description": "synthetic scenes by boxmill, drawn from Noto Color Emoji",
        "kind": spec.kind.name,
        "split": spec.split,
        "glyphs": spec.glyphs,
        "seed": seed,
    }
    parts: dict[str, list[dict[str, Any]]] = {
        "images": images,
        "categories": categories,
        "annotations": [{"id": number, **row} for number, row in enumerate(found, 1)],
    }
    text = '{"info":' + _compact(info)
    for name, rows in parts.items():
        text += f',\n"{name}":[' + ",".join("\n" + _compact(row) for row in rows) + "]"
    return (text + "}\n").encode()


def _compact(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
