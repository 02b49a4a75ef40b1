"""Average precision of each back-end's boxes, where ground truth is given."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxmill.errors import SourceError, UsageError
from boxmill.lab.candidates import Candidates
from boxmill.post import reference
from boxmill.post.backends import Backend
from boxmill.types import Float32

__all__ = ["Accuracy", "Truth", "accuracies", "read_truth"]

MAX_DET = 300  # boxes an image, as YOLO's validators take; COCO's AP looks at the best 100 of a class
_NO_EVALUATOR = "--gt needs hotcoco or pycocotools: pip install 'boxmill[eval]'"
_Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """COCO's AP and AP at IoU .5 of these images; regression values, not figures of a benchmark."""

    ap: float
    ap50: float
    delta: float  # of ap, to boxmill's hard NMS


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Ground truth in COCO's form, and how keys and classes meet it."""

    document: dict[str, Any]
    images: Mapping[str, int]  # by file name without folders
    categories: Sequence[int]  # category id of each class: the ids in their order


def read_truth(path: Path, sets: Sequence[Candidates], classes: int) -> Truth:
    """Ground truth for these images.

    Raises:
        SourceError: the file cannot be read, or knows none of the images.
        UsageError: it has another number of categories than the model has classes.
    """
    try:
        document = json.loads(path.read_bytes())
        images = {Path(image["file_name"]).name: int(image["id"]) for image in document["images"]}
        categories = sorted(int(category["id"]) for category in document["categories"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"--gt {str(path)!r} is no COCO ground truth: {error!r}") from error
    if len(categories) != classes:
        raise UsageError(f"--gt: {str(path)!r} has {len(categories)} categories, but the model {classes} classes")
    if not any(_file_name(one) in images for one in sets):
        raise SourceError(f"--gt {str(path)!r} knows none of the images; expected file names such as {sets[0].name!r}")
    return Truth(document, images, categories)


def _file_name(found: Candidates) -> str:
    return found.name.rpartition("/")[2]


def accuracies(backends: Sequence[Backend], sets: Sequence[Candidates], truth: Truth) -> dict[str, Accuracy]:
    """AP of each back-end on the images that the ground truth knows; the first back-end is what others differ from.

    Equal rows are evaluated once. Raises UsageError where no evaluator is installed.
    """
    evaluate = _evaluator(truth)
    known: dict[str, tuple[float, float]] = {}
    base: float | None = None
    result = {}
    for backend in backends:
        rows = [row for found in sets if _file_name(found) in truth.images for row in _rows(backend, found, truth)]
        mark = json.dumps(rows)
        if mark not in known:
            known[mark] = evaluate(rows)
        ap, ap50 = known[mark]
        base = ap if base is None else base
        result[backend.name] = Accuracy(ap, ap50, ap - base)
    return result


def _rows(backend: Backend, found: Candidates, truth: Truth) -> list[_Row]:
    """The best boxes of one image as COCO results."""
    kept, decayed = backend.suppress(*found.arrays())
    scores = found.scores[kept] if decayed is None else decayed
    best = np.argsort(-scores, kind="stable")[:MAX_DET]
    kept, scores = kept[best], scores[best]
    boxes: Float32 = found.boxes[kept]
    if found.geometry is not None:
        boxes = reference.to_source(boxes, found.geometry)
    image = truth.images[_file_name(found)]
    return [
        {"image_id": image, "category_id": truth.categories[label], "score": score,
         "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for label, score, (x1, y1, x2, y2) in zip(
            found.classes[kept].tolist(), scores.tolist(), boxes.tolist(), strict=True
        )
    ]  # fmt: skip


def _evaluator(truth: Truth) -> Callable[[list[_Row]], tuple[float, float]]:
    coco, evaluation = _classes()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        expected = coco()
        expected.dataset = truth.document
        expected.createIndex()

    def evaluate(rows: list[_Row]) -> tuple[float, float]:
        if not rows:
            return 0.0, 0.0
        with contextlib.redirect_stdout(io.StringIO()):
            one = evaluation(expected, expected.loadRes(rows), "bbox")
            one.evaluate()
            one.accumulate()
            one.summarize()
        return float(one.stats[0]), float(one.stats[1])

    return evaluate


def _classes() -> tuple[Any, Any]:
    """The COCO API of whichever package is here. Raises UsageError."""
    with contextlib.suppress(ImportError):
        import hotcoco

        return hotcoco.COCO, hotcoco.COCOeval
    try:
        from pycocotools import coco, cocoeval
    except ImportError as error:
        raise UsageError(_NO_EVALUATOR) from error
    return coco.COCO, cocoeval.COCOeval
