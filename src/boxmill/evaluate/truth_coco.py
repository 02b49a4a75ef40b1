"""Ground truth in COCO's form. https://cocodataset.org/#format-data"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from boxmill.errors import SourceError
from boxmill.evaluate.truth import Truth, TruthImage

__all__ = ["read_coco"]


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class _Category(msgspec.Struct):
    id: int
    name: str
    name_zh: str = ""  # not COCO's: the demo's scenes have it


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # left, top, width, height
    area: float | None = None
    iscrowd: int | bool = 0


class _Document(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path) -> Truth:
    """Reads a file with `images`, `annotations` and `categories`.

    Images are taken in the order of their ids, as the COCO API takes them: it decides between equal scores.

    Raises:
        SourceError: it cannot be read or is no such file.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except OSError as error:
        raise SourceError(f"--gt {str(path)!r} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SourceError(
            f"--gt {str(path)!r} is no COCO ground truth ({error}); expected images, annotations with bbox, categories"
        ) from error
    _unique(path, "image", [image.id for image in document.images])
    _unique(path, "category", [category.id for category in document.categories])
    images = sorted(document.images, key=lambda image: image.id)
    categories = sorted(document.categories, key=lambda category: category.id)
    place = {category.id: number for number, category in enumerate(categories)}
    by_image: dict[int, list[_Annotation]] = defaultdict(list)
    known = {image.id for image in images}
    strays = 0
    for annotation in document.annotations:
        if annotation.image_id in known and annotation.category_id in place:
            by_image[annotation.image_id].append(annotation)
        else:
            strays += 1
    remarks = [f"{strays} objects of the ground truth name an image or a category that it does not list"]
    return Truth(
        path,
        "COCO",
        tuple(category.name for category in categories),
        tuple(category.id for category in categories),
        tuple(_image(image, by_image[image.id], place) for image in images),
        names_zh=tuple(category.name_zh for category in categories),
        remarks=remarks if strays else [],
    )


def _unique(path: Path, what: str, ids: Sequence[int]) -> None:
    twice = [number for number, count in Counter(ids).items() if count > 1]
    if twice:
        raise SourceError(f"--gt {str(path)!r}: {what} id {twice[0]} appears twice; expected every id once")


def _image(image: _Image, annotations: Sequence[_Annotation], place: dict[int, int]) -> TruthImage:
    boxes = np.array([one.bbox for one in annotations], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    areas = [one.bbox[2] * one.bbox[3] if one.area is None else one.area for one in annotations]
    size = None if image.width is None or image.height is None else (image.width, image.height)
    return TruthImage(
        image.file_name.replace("\\", "/"),
        size,
        boxes,
        np.array([place[one.category_id] for one in annotations], np.int64),
        np.array([bool(one.iscrowd) for one in annotations], np.bool_),
        np.array(areas, np.float64),
    )
