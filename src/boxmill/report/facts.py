"""What run.json and summary.json say of a run, as far as its report tells of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import msgspec

from boxmill.errors import UsageError
from boxmill.store import next_epoch
from boxmill.store.run_header import RunHeader, read_header

__all__ = ["Facts", "Summary", "read_facts"]


class Summary(msgspec.Struct, frozen=True):
    """The last execution of a run; seconds."""

    status: str
    epoch: int
    computed: int
    wall: float
    images_per_s: float
    workers: int
    stages: dict[str, float]
    waits: dict[str, float]
    unexplained: float
    cpu: float
    peak_memory: int  # bytes
    startup: dict[str, float] = {}
    restarts: int = 0
    deaths: dict[str, int] = {}
    skipped: dict[str, int] = {}


class _Conclusion(msgspec.Struct, frozen=True):
    field: str
    value: str
    source: str = msgspec.field(name="from")


class _Run(msgspec.Struct, frozen=True):
    source: str = ""
    settings: dict[str, Any] = {}
    model: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    concluded: list[_Conclusion] = []
    fingerprint: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Facts:
    """How a run was made, and how long it took."""

    name: str  # of its folder
    header: RunHeader
    run: _Run
    summary: Summary | None  # None: it was killed before it could be written
    stale: bool  # the journal goes on after the summary was written


def read_facts(directory: str | os.PathLike[str]) -> Facts:
    """Reads both files.

    Raises:
        UsageError: the folder is no run.
    """
    header = read_header(directory)
    path = os.path.join(directory, "run.json")
    try:
        with open(path, "rb") as file:
            run = msgspec.json.decode(file.read(), type=_Run)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not the run.json of a run of this version of boxmill ({error})") from error
    summary = _read_summary(directory)
    stale = summary is not None and summary.epoch != next_epoch(directory) - 1
    return Facts(os.path.basename(os.path.abspath(directory)), header, run, summary, stale)


def _read_summary(directory: str | os.PathLike[str]) -> Summary | None:
    try:
        with open(os.path.join(directory, "summary.json"), "rb") as file:
            return msgspec.json.decode(file.read(), type=Summary)
    except (OSError, msgspec.DecodeError):
        return None
