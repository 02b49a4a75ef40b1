"""What run.json says of a finished or unfinished run, as far as its results need it to be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import msgspec

from boxmill.errors import UsageError
from boxmill.store.documents import JsonStyle

__all__ = ["RunHeader", "read_header"]


@dataclass(frozen=True, slots=True)
class RunHeader:
    """How a run's records are to be understood."""

    names: tuple[str, ...]  # by class id
    task: Literal["detect", "tag"]
    conf: float | None  # objects that score above this are shown; None: whatever was kept
    keep_conf: float | None  # and above this they are in the journal; None: no threshold
    weights: str
    style: JsonStyle


class _Model(msgspec.Struct):
    names: tuple[str, ...]
    task: Literal["detect", "tag"] = "detect"


class _Settings(msgspec.Struct):
    weights: str = ""
    conf: float | None = None
    keep_conf: float | None = None


class _Header(msgspec.Struct):
    format: Literal[1]
    model: _Model
    settings: _Settings
    json_names: Literal["full", "stem"] = "full"
    int_boxes: bool = False


def read_header(directory: str | os.PathLike[str]) -> RunHeader:
    """Reads run.json.

    Raises:
        UsageError: the folder is no run of this format.
    """
    path = os.path.join(directory, "run.json")
    try:
        with open(path, "rb") as file:
            header = msgspec.json.decode(file.read(), type=_Header)
    except OSError as error:
        raise UsageError(
            f"{os.fspath(directory)!r} is no run: run.json cannot be read ({error.strerror}); "
            "expected a folder such as runs/photos"
        ) from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not the run.json of a run of this version of boxmill ({error})") from error
    chosen = header.settings
    keep = chosen.conf if chosen.keep_conf is None else chosen.keep_conf
    style = JsonStyle(stems=header.json_names == "stem", int_boxes=header.int_boxes)
    return RunHeader(header.model.names, header.model.task, chosen.conf, keep, chosen.weights, style)
