"""Ground truth with a file for each image: YOLO text and Pascal VOC XML.

YOLO: a line for each object, `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 …` (an outline, of which the bounds are
taken), all in shares of the image's width and height; https://docs.ultralytics.com/datasets/detect/
VOC: pixels counted from 1, the last one included; http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from boxmill.errors import ModelError, SourceError
from boxmill.evaluate.truth import Float64, Truth, TruthImage
from boxmill.labels import load_labels

__all__ = ["read_voc", "read_yolo"]

_NOT_LABELS = {"classes.txt", "train.txt", "val.txt", "test.txt", "readme.txt", "notes.txt"}
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt")


def read_yolo(folder: Path, files: Iterable[Path]) -> Truth:
    """Reads label files; an empty one is an image without objects.

    Names come from data.yaml or classes.txt in the folder or the one above; without them, numbers are class ids.

    Raises:
        SourceError: a file cannot be read, or a line is no object.
    """
    names = _yolo_names(folder)
    texts = sorted(path for path in files if path.name.lower() not in _NOT_LABELS)
    rows = [(path, [_yolo_row(path, *line) for line in _lines(path)]) for path in texts]
    used = sorted({number for _, found in rows for number, _ in found})
    ids = tuple(range(len(names))) if names else tuple(used)
    if names and used and used[-1] >= len(names):
        raise SourceError(f"--gt {str(folder)!r}: class {used[-1]}, but there are {len(names)} names")
    place = {number: index for index, number in enumerate(ids)}
    images = [
        TruthImage(
            path.relative_to(folder).with_suffix("").as_posix(),
            None,
            np.array([box for _, box in found], np.float64).reshape(-1, 4),
            np.array([place[number] for number, _ in found], np.int64),
            np.zeros(len(found), np.bool_),
        )
        for path, found in rows
    ]
    return Truth(folder, "YOLO", names, ids, tuple(images), stems=True, relative=True)


def _yolo_names(folder: Path) -> tuple[str, ...]:
    for path in (parent / name for parent in (folder, folder.parent) for name in _NAMES):
        if path.is_file():
            try:
                return load_labels(path)
            except ModelError as error:
                raise SourceError(str(error)) from error
    return ()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: expected UTF-8 text; is it ground truth?") from error


def _lines(path: Path) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]


def _yolo_row(path: Path, number: int, line: str) -> tuple[int, Float64]:
    """Class id, and x1, y1, x2, y2 (4,) in shares."""
    try:
        head, *rest = line.split()
        class_id, values = int(head), np.array(rest, np.float64)
    except ValueError as error:
        raise SourceError(f"{path}: line {number}: expected class cx cy w h, got {line[:60]!r}") from error
    if len(values) == 5:
        raise SourceError(f"{path}: line {number}: five numbers after the class: these are results with scores")
    if class_id < 0 or len(values) < 4 or len(values) % 2 or not np.isfinite(values).all():
        raise SourceError(f"{path}: line {number}: expected class cx cy w h, got {line[:60]!r}")
    if len(values) > 4:
        corners = values.reshape(-1, 2)
        return class_id, np.concatenate([corners.min(0), corners.max(0)])
    return class_id, np.concatenate([values[:2] - values[2:] / 2, values[:2] + values[2:] / 2])


def read_voc(folder: Path, files: Iterable[Path]) -> Truth:
    """Reads annotation files. The categories are the names that occur.

    Raises:
        SourceError: a file cannot be read or is no annotation.
    """
    roots = [(path, _xml(path)) for path in sorted(files)]
    if strays := [path for path, root in roots if root.tag != "annotation"]:
        raise SourceError(f"{strays[0]}: expected VOC's <annotation>, found <{roots[0][1].tag}>")
    found = [(path, root, [_voc_object(path, one) for one in root.iter("object")]) for path, root in roots]
    names = tuple(sorted({name for _, _, objects in found for name, _ in objects}))
    place = {name: index for index, name in enumerate(names)}
    images = tuple(
        TruthImage(
            path.relative_to(folder).with_suffix("").as_posix(),
            _voc_size(root),
            np.array([box for _, box in objects], np.float64).reshape(-1, 4),
            np.array([place[name] for name, _ in objects], np.int64),
            np.zeros(len(objects), np.bool_),
        )
        for path, root, objects in found
    )
    difficult = sum(
        (one.findtext("difficult") or "0").strip() == "1" for _, root in roots for one in root.iter("object")
    )
    remarks = [f"{difficult} objects are marked difficult; they count like all others, as COCO knows no such mark"]
    return Truth(folder, "VOC", names, tuple(range(len(names))), images, True, remarks=remarks if difficult else [])


def _xml(path: Path) -> ElementTree.Element:
    text = _text(path)
    if re.search(r"<!(DOCTYPE|ENTITY)", text):  # no annotation tool writes one, and entities can be made to explode
        raise SourceError(f"{path}: expected plain XML, found a document type declaration")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise SourceError(f"{path}: not valid XML: {error}") from error


def _voc_object(path: Path, element: ElementTree.Element) -> tuple[str, Float64]:
    name = (element.findtext("name") or "").strip()
    try:
        corners = [float(element.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError as error:
        raise SourceError(f"{path}: object {name!r}: expected a bndbox with xmin, ymin, xmax, ymax") from error
    if not name:
        raise SourceError(f"{path}: an object has no name")
    return name, np.array(corners) - np.array([1.0, 1.0, 0.0, 0.0])


def _voc_size(root: ElementTree.Element) -> tuple[int, int] | None:
    sides = [(root.findtext(f"size/{side}") or "").strip() for side in ("width", "height")]
    return (int(sides[0]), int(sides[1])) if all(side.isdecimal() and int(side) for side in sides) else None
