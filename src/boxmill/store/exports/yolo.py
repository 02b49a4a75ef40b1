"""YOLO: `labels/` with a text file for each image, `images/` with a link to each image, and `data.yaml` to train with.

Trainers find the labels of `…/images/x.jpg` by replacing the last `/images/` with `/labels/`, so folders are mirrored
and one that is itself called `images` becomes `images_` in both. https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import os

import yaml

from boxmill.store.documents import printable
from boxmill.store.exports.folder import ExportFolder
from boxmill.store.exports.per_image import create_for
from boxmill.store.exports.source import RunResults
from boxmill.store.manifest import Input
from boxmill.store.stems import stem
from boxmill.store.yolo_text import yolo_text

__all__ = ["write_yolo"]


def write_yolo(run: RunResults, folder: ExportFolder) -> list[str]:
    """An image without objects has an empty file and takes part in training; a failed one has neither file nor link."""
    unlinked = 0
    for outcome, entry in run.located():
        data = yolo_text(outcome, with_score=run.options.save_conf)
        if data is None:
            continue
        create_for(run, folder, outcome.key, lambda name: f"labels/{_mirrored(name)}.txt", data)
        if _is_file(entry):
            folder.link(f"images/{_mirrored(_image_name(entry))}", entry.path)
        else:
            unlinked += 1
    root = printable(folder.path)
    card = {"path": root, "train": "images", "val": "images", "names": dict(enumerate(run.names))}
    folder.create("data.yaml", yaml.safe_dump(card, allow_unicode=True, sort_keys=False, width=1000).encode())
    if unlinked:
        return [f"{unlinked} images are no files where they were; put them into images/ yourself, or give --images"]
    return []


def _mirrored(path: str) -> str:
    *folders, name = path.split("/")
    return "/".join([*("images_" if folder == "images" else folder for folder in folders), name])


def _is_file(entry: Input) -> bool:
    return "!/" not in entry.key and os.path.isfile(entry.path)


def _image_name(entry: Input) -> str:
    """The key; with the image's own suffix where a very long name was shortened, as trainers look at suffixes."""
    if stem(entry.key) != entry.key:
        return entry.key
    return entry.key + os.path.splitext(os.fsdecode(entry.path))[1]
