"""Label Studio: `tasks.json` to import, with predictions, and `config.xml`, the labelling interface that they need.

A task's image is the url prefix and the image's path below the source; the default prefix is for local files served by
Label Studio itself (LOCAL_FILES_DOCUMENT_ROOT set to the source's folder).
https://labelstud.io/guide/predictions
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from boxmill.store.documents import failure_document
from boxmill.store.exports.folder import ExportFolder, JsonList
from boxmill.store.exports.numbers import exact, xywh
from boxmill.store.exports.source import RunResults
from boxmill.store.exports.xml_text import legal
from boxmill.types import Detections, Failure, Outcome, Tags

__all__ = ["write_labelstudio"]


def write_labelstudio(run: RunResults, folder: ExportFolder) -> list[str]:
    """A failed image is a task without predictions whose data say why."""
    with folder.stream("tasks.json") as stream, JsonList(stream) as tasks:
        for outcome in run.outcomes():
            tasks.add(_task(outcome, run))
    folder.create("config.xml", _config(run))
    return []


def _task(outcome: Outcome, run: RunResults) -> dict[str, Any]:
    data: dict[str, Any] = {"image": run.options.url_prefix + quote(outcome.key)}
    result = outcome.result
    if isinstance(result, Failure):
        data["failure"] = failure_document(result)
        return {"data": data, "predictions": []}
    regions = _choices(result, run.names) if isinstance(result, Tags) else _rectangles(result, outcome, run.names)
    return {"data": data, "predictions": [{"model_version": "boxmill", "result": regions}]}


def _rectangles(found: Detections, outcome: Outcome, names: tuple[str, ...]) -> list[dict[str, Any]]:
    width, height = outcome.size or (1, 1)
    percent = exact(xywh(found.boxes) / (width, height, width, height) * 100)
    rows = zip(found.classes.tolist(), percent, exact(found.scores), strict=True)
    return [
        {
            "id": f"{outcome.index}-{number}",
            "from_name": "label",
            "to_name": "image",
            "type": "rectanglelabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": score,
            "value": {
                **dict(zip(("x", "y", "width", "height"), box, strict=True)),
                "rotation": 0,
                "rectanglelabels": [legal(names[class_id])],
            },
        }
        for number, (class_id, box, score) in enumerate(rows)
    ]


def _choices(tags: Tags, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One region with every tag: Label Studio takes the choices of an image together."""
    if not len(tags):
        return []
    value = {"choices": [legal(names[class_id]) for class_id in tags.classes.tolist()]}
    best = exact(tags.scores)[0]
    return [{"id": "tags", "from_name": "label", "to_name": "image", "type": "choices", "score": best, "value": value}]


def _config(run: RunResults) -> bytes:
    tags = run.header.task == "tag"
    kind, item = ('Choices name="label" toName="image" choice="multiple"', "Choice") if tags else (_RECTANGLES, "Label")
    labels = "".join(f"    <{item} value={quoteattr(legal(name))}/>\n" for name in run.names)
    closing = kind.split(" ", 1)[0]
    text = f'<View>\n  <Image name="image" value="$image"/>\n  <{kind}>\n{labels}  </{closing}>\n</View>\n'
    return text.encode()


_RECTANGLES = 'RectangleLabels name="label" toName="image"'
