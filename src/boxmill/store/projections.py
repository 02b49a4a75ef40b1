"""What people read of a run, derived from the journal: per-image JSON, results.jsonl, the counts of summary.json."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from boxmill.store.documents import PLAIN, JsonStyle, image_document, pretty
from boxmill.store.durable import FileTree, WholeFile
from boxmill.store.journal import next_epoch
from boxmill.store.manifest import Manifest
from boxmill.store.replay import replay
from boxmill.store.states import FAILED, OK, OPEN, States
from boxmill.store.stems import stem
from boxmill.store.summary import MAX_LISTED_RESULTS, Tally
from boxmill.types import Outcome

__all__ = [
    "MAX_JSON_FILES",
    "JsonFiles",
    "RebuildReport",
    "damaged_json",
    "rebuild_json",
    "results_current",
    "run_tally",
    "write_results",
]

MAX_JSON_FILES = 100_000  # inputs up to which every image gets its own file unless asked otherwise
_CHUNK = 1 << 20  # bytes written at once


class JsonFiles:
    """The per-image JSON files of a run; usable from several threads at once."""

    def __init__(self, directory: str | os.PathLike[str], names: Sequence[str], style: JsonStyle = PLAIN) -> None:
        self._tree = FileTree(os.path.join(directory, "json"))
        self._names, self._style = names, style

    def path(self, key: str) -> str:
        """Where an input's file stands."""
        return self._tree.path((stem(key) if self._style.stems else key) + ".json")

    def write(self, outcome: Outcome) -> dict[str, object]:
        """Makes or replaces one file, whole or not at all; returns its document.

        Raises:
            OutputError: it cannot be written.
        """
        document = image_document(outcome, self._names, self._style)
        self._tree.write(self.path(outcome.key), pretty(document))
        return document


class _Glance(msgspec.Struct):
    """As much of a per-image document as tells whether it is the right one."""

    image: str
    failure: dict[str, str] | None = None


def damaged_json(files: JsonFiles, manifest: Manifest, states: States) -> Iterator[tuple[int, str, str]]:
    """(index, key, problem) of finished inputs whose file is missing, not readable, or of another outcome."""
    unfinished = states.status.translate(bytes.maketrans(bytes([OPEN, OK, FAILED]), bytes([1, 0, 0])))
    for entry in manifest.open_inputs(unfinished):
        problem = _problem(files.path(entry.key), entry.key, failed=states.status[entry.index] == FAILED)
        if problem is not None:
            yield entry.index, entry.key, problem


def _problem(path: str, key: str, *, failed: bool) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:
            glance = msgspec.json.decode(file.read(), type=_Glance)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    except msgspec.DecodeError as error:
        return f"damaged: {error}"
    if glance.image != key:
        return f"it is of {glance.image!r}"
    if (glance.failure is not None) != failed:
        return "it tells of an earlier outcome"
    return None


class RebuildReport(msgspec.Struct):
    """What `rebuild_json` did."""

    rebuilt: int
    lost: list[int]  # indices whose record lies behind damage in the journal


def rebuild_json(
    directory: str | os.PathLike[str],
    manifest: Manifest,
    states: States,
    names: Sequence[str],
    style: JsonStyle = PLAIN,
) -> RebuildReport:
    """Writes again every per-image JSON of a finished input that is missing, damaged, or out of date.

    Raises:
        OutputError: the journal cannot be read or a file cannot be written.
    """
    files = JsonFiles(directory, names, style)
    wanted = bytearray(manifest.total)
    for index, _, _ in damaged_json(files, manifest, states):
        wanted[index] = 1
    report = RebuildReport(0, [])
    if any(wanted):
        for record in replay(directory, manifest.total, wanted):
            files.write(record.seen())
            wanted[record.i] = 0
            report.rebuilt += 1
        report.lost = [index for index, want in enumerate(wanted) if want]
    return report


def run_tally(
    directory: str | os.PathLike[str], states: States, names: Sequence[str], style: JsonStyle = PLAIN
) -> Tally:
    """Everything counted of a run, with `results` where there are few enough of them.

    Raises:
        OutputError: the journal cannot be read.
    """
    tally = states.tally()
    if len(states.status) <= MAX_LISTED_RESULTS:
        tally.results_dropped = False
        for record in replay(directory, len(states.status)):
            tally.keep(record.i, image_document(record.seen(), names, style))
    return tally


def results_current(directory: str | os.PathLike[str]) -> bool:
    """Whether results.jsonl tells of all that the journal holds: a finished run wrote it, and no later epoch anything.

    summary.json is written after results.jsonl, and its `epoch` is the journal's last at that time.
    """
    try:
        with open(os.path.join(directory, "summary.json"), "rb") as file:
            summary = msgspec.json.decode(file.read(), type=_SummaryGlance)
    except (OSError, msgspec.DecodeError):
        return False
    written = os.path.isfile(os.path.join(directory, "results.jsonl"))
    return written and summary.status == "finished" and summary.epoch == next_epoch(directory) - 1


class _SummaryGlance(msgspec.Struct):
    """As much of summary.json as tells what it is about."""

    status: str
    epoch: int


def write_results(
    directory: str | os.PathLike[str], total: int, names: Sequence[str], style: JsonStyle = PLAIN
) -> None:
    """Writes results.jsonl: the document of every finished input, one a line, in the order of the listing.

    Raises:
        OutputError: the journal cannot be read or the file cannot be written; it is whole or not there.
    """
    encoder = msgspec.json.Encoder()
    with WholeFile(os.path.join(directory, "results.jsonl"), durable=True) as file:
        lines = bytearray()
        for record in replay(directory, total):
            lines += encoder.encode(image_document(record.seen(), names, style)) + b"\n"
            if len(lines) >= _CHUNK:
                file.write(lines)
                lines.clear()
        file.write(lines)
