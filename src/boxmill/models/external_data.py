"""Weights that an ONNX file keeps in files beside it: only those that lie in its own folder are accepted.

A runtime opens whatever path the file names, so a model from a stranger could read any file of the machine into its
weights, and from there into its results. ONNX asks for a path relative to the model's folder; links would lead out of
it again, hard links as well as symbolic ones.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from boxmill.errors import ModelError

__all__ = ["check_external_data"]


def check_external_data(model: Path, needed: Mapping[str, int]) -> tuple[Path, ...]:
    """The files that hold weights, in the order of `needed`, each a regular file below the model's folder.

    Args:
        model: the ONNX file.
        needed: location as the file writes it -> how many bytes the tensors take of it.

    Raises:
        ModelError: a location leads out of the folder, goes through a link, or the file is missing or too short.
    """
    return tuple(_checked(model, location, size) for location, size in needed.items())


def _checked(model: Path, location: str, size: int) -> Path:
    shown = repr(location[:80]) + (" …" if len(location) > 80 else "")
    where = f"{model}: its weights are in the file {shown}"
    parts = [part for part in location.split("/") if part not in ("", ".")]
    if not parts or "\0" in location or re.match(r"[/\\]|[A-Za-z]:", location):
        raise ModelError(f"{where}: expected a name inside the model's folder; the model is damaged or means harm")
    if ".." in re.split(r"[/\\]", location):
        raise ModelError(f"{where}, which leads out of the model's folder; the model is damaged or means harm")
    path = model.parent
    for part in parts:
        path = path / part
        try:
            found = os.lstat(path)
        except OSError as error:
            raise ModelError(
                f"{where}, which cannot be read ({error.strerror}); copy it into {str(model.parent)!r} under this name"
            ) from error
        if stat.S_ISLNK(found.st_mode):
            raise ModelError(f"{where}, where {str(path)!r} is a symbolic link; put the file itself beside the model")
    if not stat.S_ISREG(found.st_mode):
        raise ModelError(f"{where}, which is no regular file; put the file itself beside the model")
    if found.st_nlink > 1:
        raise ModelError(
            f"{where}, which is a hard link: the same file has {found.st_nlink} names, one of them perhaps outside the "
            "model's folder; put a copy beside the model"
        )
    if found.st_size < size:
        raise ModelError(f"{where}, which has {found.st_size} bytes of {size}; copy or download it again")
    return path
