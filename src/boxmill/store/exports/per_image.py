"""Formats with one file for each image, named after it without its suffix."""

from __future__ import annotations

from collections.abc import Callable

from boxmill.errors import UsageError
from boxmill.store.exports.folder import ExportFolder
from boxmill.store.exports.source import RunResults
from boxmill.store.stems import stem

__all__ = ["create_for"]


def create_for(run: RunResults, folder: ExportFolder, key: str, name: Callable[[str], str], data: bytes) -> None:
    """Makes the file of one input; `name` gives its path from the input's stem.

    Raises:
        UsageError: another input has that file already, as `a.png` beside `a.jpg`.
        OutputError: it cannot be written.
    """
    path = name(stem(key))
    if folder.create(path, data):
        return
    folded = path.casefold()
    other = next((one for one in run.manifest.keys() if name(stem(one)).casefold() == folded), key)  # noqa: SIM118
    raise UsageError(
        f"{other!r} and {key!r} would both be described by {path!r}, as this format names files without the image's "
        "suffix; rename one of the images and run again, or use coco, csv, jsonl, labelstudio or megadetector"
    )
