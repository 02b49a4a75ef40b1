"""Results in the formats of other tools, derived from the journal: one small file for each format, one table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from boxmill.errors import UsageError
from boxmill.store.documents import printable
from boxmill.store.exports.coco import write_coco
from boxmill.store.exports.folder import ExportFolder
from boxmill.store.exports.labelme import write_labelme
from boxmill.store.exports.labelstudio import write_labelstudio
from boxmill.store.exports.megadetector import write_megadetector
from boxmill.store.exports.source import ExportOptions, RunResults
from boxmill.store.exports.tables import write_csv, write_jsonl
from boxmill.store.exports.voc import write_voc
from boxmill.store.exports.yolo import write_yolo
from boxmill.store.run_header import read_header
from boxmill.store.states import load

__all__ = ["FORMATS", "ExportOptions", "Exported", "Format", "export"]


@dataclass(frozen=True, slots=True)
class Format:
    """One format."""

    write: Callable[[RunResults, ExportFolder], list[str]]  # returns remarks for people
    tags: bool = False  # can hold what a tagger says
    failures: bool = True  # can say which images failed, and why


FORMATS: Mapping[str, Format] = {
    "coco": Format(write_coco),
    "yolo": Format(write_yolo, failures=False),
    "voc": Format(write_voc, failures=False),
    "labelme": Format(write_labelme, failures=False),
    "labelstudio": Format(write_labelstudio, tags=True),
    "megadetector": Format(write_megadetector),
    "csv": Format(write_csv, tags=True),
    "jsonl": Format(write_jsonl, tags=True),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: str
    done: int  # inputs with a result
    failed: int
    left: int  # inputs that the run has not come to
    remarks: list[str]  # for people


def export(
    directory: str | os.PathLike[str],
    format: str,  # noqa: A002 - what the flag is called
    out: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
) -> Exported:
    """Writes a run's results in another format. Memory does not grow with the run, but for 12 bytes an input.

    The folder appears whole or not at all; an earlier export in its place is replaced, anything else never.

    Args:
        directory: the run's; nobody should be writing to it.
        format: one of FORMATS.
        out: the folder to write; None: `<run>/exports/<format>`.
        options: the threshold, and what concerns single formats.

    Raises:
        UsageError: not a run; a threshold below what was kept; a tagger's run in a format for boxes; `out` holds
            something else; two images that would share a file.
        OutputError: the journal cannot be read, or the folder cannot be written.
    """
    header, kind, chosen = read_header(directory), FORMATS[format], options or ExportOptions()
    if header.task == "tag" and not kind.tags:
        fitting = ", ".join(name for name, one in FORMATS.items() if one.tags)
        raise UsageError(f"--format {format}: holds boxes, and this run is a tagger's; formats for tags: {fitting}")
    run = RunResults.of(os.fspath(directory), header, chosen)
    states = load(directory, run.manifest.total)
    path = os.path.join(directory, "exports", format) if out is None else out
    with ExportFolder(path) as folder:
        remarks = kind.write(run, folder)
        folder.describe({"format": format, "run": printable(os.path.abspath(directory)), "conf": run.conf})
    failed, finished = states.tally().failed, states.finished()
    if failed and not kind.failures:
        remarks.append(f"{failed} images failed and are left out: {format} has no place for them")
    if finished < run.manifest.total:
        remarks.append(f"{run.manifest.total - finished} images are not in it: the run is not finished")
    return Exported(folder.path, finished - failed, failed, run.manifest.total - finished, remarks)
