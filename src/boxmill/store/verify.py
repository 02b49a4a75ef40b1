"""Whether a run is as it was written: every frame, every sum, one record for every input, every projection."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from boxmill.errors import OutputError
from boxmill.store.contents import Contents
from boxmill.store.documents import PLAIN, JsonStyle
from boxmill.store.journal import Segment, scan, segments
from boxmill.store.manifest import Manifest
from boxmill.store.projections import JsonFiles, damaged_json
from boxmill.store.replay import replay
from boxmill.store.states import OPEN, load

__all__ = ["Finding", "verify"]

MAX_OF_A_KIND = 100  # findings of one kind that are listed; a run of a million can lose a million files


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    severity: Literal["damage", "note"]  # note: the next resume mends it
    path: str  # file, relative to the run's directory
    message: str


def verify(directory: str | os.PathLike[str], *, json_files: bool = True, style: JsonStyle = PLAIN) -> list[Finding]:
    """Reads a whole run and changes nothing.

    Args:
        directory: the run's; nobody should be writing to it.
        json_files: whether the run keeps a JSON file for each image.
        style: how those are named.

    Raises:
        OutputError: a file cannot be read at all.
    """
    findings = [finding for segment in segments(directory) for finding in _check_segment(segment)]
    try:
        manifest = Manifest(directory)
        findings += [Finding("damage", "manifest", problem) for problem in manifest.check()]
        findings += _check_inputs(directory, manifest, JsonFiles(directory, (), style) if json_files else None)
    except OutputError as error:
        findings.append(Finding("damage", "manifest", str(error)))
    return _shortened(findings)


def _check_segment(segment: Segment) -> Iterator[Finding]:
    name = f"journal/{os.path.basename(segment.path)}"
    contents = Contents()
    with scan(segment.path) as records:
        for _, record in records:
            contents.add_record(record)
    if records.problem is not None:
        severity: Literal["damage", "note"] = "damage" if segment.sealed else "note"
        yield Finding(severity, name, f"{records.problem}, at byte {records.end}, behind {contents.count} records")
    elif not segment.sealed:
        yield Finding("note", name, f"not sealed; {contents.count} records")
    elif records.footer is None:
        yield Finding("damage", name, "sealed, but without a footer")
    elif records.footer != contents.footer(_sha256(segment.path, records.body)):
        yield Finding("damage", name, "the footer does not tell what the records are")


def _sha256(path: str, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while size and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def _check_inputs(directory: str | os.PathLike[str], manifest: Manifest, files: JsonFiles | None) -> Iterator[Finding]:
    states = load(directory, manifest.total)
    yield from (Finding("damage", "journal", problem) for problem in states.damage)
    if left := states.status.count(OPEN):
        yield Finding("note", "journal", f"{left} of {manifest.total} inputs have no outcome yet")
    records = replay(directory, manifest.total)
    record = next(records, None)
    for entry in manifest:
        if record is not None and record.i == entry.index:
            if record.key != entry.key:
                yield Finding("damage", "journal", f"input {entry.index} is {entry.key!r}, its record {record.key!r}")
            record = next(records, None)
        elif states.status[entry.index] != OPEN:
            yield Finding("damage", "journal", f"the record of input {entry.index} ({entry.key!r}) cannot be read")
    if files is not None:
        for _, key, problem in damaged_json(files, manifest, states):
            yield Finding("note", os.path.relpath(files.path(key), directory), problem)


def _shortened(findings: Sequence[Finding]) -> list[Finding]:
    """The first findings of each kind in each folder, and how many more there are."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.path.partition("/")[0]), []).append(finding)
    listed = []
    for (_, folder), group in groups.items():
        listed += group[:MAX_OF_A_KIND]
        if len(group) > MAX_OF_A_KIND:
            listed.append(Finding(group[0].severity, folder, f"and {len(group) - MAX_OF_A_KIND} more"))
    return listed
