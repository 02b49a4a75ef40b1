"""Which folder a command means, and what is in it: the resume grammar of FORMATS, the lock, the frozen manifest."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from boxmill.engine import die_with_parent
from boxmill.errors import BoxmillError, OutputError, SourceError, UsageError
from boxmill.settings import OutputSettings
from boxmill.sources import Listing, Place, list_source, locate
from boxmill.store import (
    Manifest,
    NewInput,
    RunLock,
    States,
    create_run_directory,
    differences,
    digest,
    load,
    next_epoch,
    pretty,
    printable,
    recover,
    write_file,
    write_manifest,
)
from boxmill.types import Archive

__all__ = ["Child", "OpenRun", "Request", "open_run"]

# what a process that is killed before run.json is written may leave; nothing has been computed then
_BEFORE_BEGUN = {"run.lock", "manifest-0.jsonl", "manifest-0.jsonl.tmp", "run.json.tmp"}
_MOVED_LOOKED_AT = 100  # inputs, to tell whether a source can have moved to where it is said to be
_LOCK_PATIENCE = 5.0  # seconds that the worker of a supervisor that was killed may take to notice


@dataclass(frozen=True, slots=True)
class Request:
    """What a command asks for."""

    source: str
    output: OutputSettings
    fingerprint: Mapping[str, object]
    description: Mapping[str, Any]  # the rest of run.json: settings, conclusions, model, versions


@dataclass(slots=True)
class OpenRun:
    """A run's directory, locked by this process, with its inputs frozen and its journal whole."""

    directory: Path
    lock: RunLock
    manifest: Manifest
    states: States
    epoch: int
    moved_to: bytes | None  # where the source lies now, if not where it was
    resumed: bool
    skipped: dict[str, int] = field(default_factory=dict)  # entries of the source that were passed over
    remarks: list[str] = field(default_factory=list)  # for people
    newcomers: Child | None = None  # counts the inputs that have appeared since the run began


class Child:
    """A forked process that does one piece of work and then gives all its memory back: listing a source, above all."""

    def __init__(self, work: Callable[[], dict[str, Any]]) -> None:
        """Starts it; `work` returns JSON, or raises a BoxmillError that `result` raises again."""
        self._over = False
        self._read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:  # nothing of the parent may run here any more, so leave by os._exit only
            code = 1
            try:
                for number in (signal.SIGINT, signal.SIGTERM):  # they reach the parent too, which decides
                    signal.signal(number, signal.SIG_IGN)
                die_with_parent()
                os.close(self._read)
                with os.fdopen(write, "w") as pipe:
                    json.dump(_outcome(work), pipe)
                code = 0
            finally:
                os._exit(code)
        os.close(write)

    def result(self) -> dict[str, Any]:
        """Waits for the work's result. Raises what the work raised."""
        self._over = True
        with os.fdopen(self._read) as pipe:
            text = pipe.read()
        _, status = os.waitpid(self._pid, 0)
        if status != 0 or not text:
            raise BoxmillError(f"the process that lists the source died (wait status {status}); is memory short?")
        outcome: dict[str, Any] = json.loads(text)
        if "error" in outcome:
            kind = {"SourceError": SourceError, "OutputError": OutputError}.get(outcome["error"], BoxmillError)
            raise kind(outcome["message"])
        return outcome

    def abandon(self) -> None:
        """Ends it; its result is not wanted any more. Does nothing after `result`."""
        if not self._over:
            self._over = True
            os.close(self._read)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _outcome(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except BoxmillError as error:
        return {"error": type(error).__name__, "message": str(error)}


def open_run(request: Request) -> OpenRun:
    """Finds the run that the request goes on with, or makes a new one.

    Raises:
        UsageError: the run was begun with other settings, is held by another process, or does not exist.
        SourceError: the source is not there or holds no image.
        OutputError: the directory cannot be written.
    """
    output, place = request.output, locate(request.source)
    directory = _existing(request, place)
    if directory is not None:
        return _resume(request, place, directory)
    if output.exist_ok and output.name is not None:
        directory = output.project / output.name
        _make(directory)
    else:
        directory = create_run_directory(output.project, output.name or place.name)
    return _begin(request, place, directory)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not {path.name for path in directory.iterdir()} <= _BEFORE_BEGUN:
            raise UsageError(f"{str(directory)!r} holds something that is no run of boxmill; give another --name")
    except OSError as error:
        raise OutputError(f"cannot make the run directory {str(directory)!r}: {error.strerror}") from error


def _existing(request: Request, place: Place) -> Path | None:
    """The run to go on with, checked against the settings; None: a new one."""
    output, project = request.output, request.output.project
    if output.resume is not None:
        directory = project / output.resume
        if _header(directory) is None:
            known = ", ".join(sorted(path.name for path in project.glob("*") if _header(path))) or "none"
            raise UsageError(f"--resume: there is no run {output.resume!r} in {str(project)!r}; runs there: {known}")
    elif output.exist_ok and output.name is not None:
        directory = project / output.name
        header = _header(directory)
        if header is None:
            return None
        if header.get("source") != _named(request.source):
            raise UsageError(
                f"--exist-ok: the run {output.name!r} is of another source, {header.get('source')!r}; "
                f"give another --name, or --resume {output.name} if that source has moved"
            )
    else:
        found = None if output.fresh else _newest(project, output.name or place.name, request.source)
        if found is None or (_is_finished(found) and not (output.add or output.retry_failed)):
            return None
        directory = found
    _check_fingerprint(directory, request)
    return directory


def _newest(project: Path, name: str, source: str) -> Path | None:
    """The run called `name`, `name2`, … with the highest number that is of this source."""
    pattern = re.compile(re.escape(name) + r"(\d*)")
    numbered = []
    for path in project.iterdir() if project.is_dir() else ():
        match = pattern.fullmatch(path.name)
        header = _header(path) if match else None
        if match and header and header.get("source") == _named(source):
            numbered.append((int(match[1] or 1), path))
    return max(numbered)[1] if numbered else None


def _named(source: str) -> str:
    """A source as run.json names it."""
    return printable(os.path.abspath(source))


def _header(directory: Path) -> dict[str, Any] | None:
    """run.json; None where there is none, so where there is no run."""
    try:
        header = json.loads((directory / "run.json").read_bytes())
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) else None


def _is_finished(directory: Path) -> bool:
    try:
        summary = json.loads((directory / "summary.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and summary.get("status") == "finished"


def _check_fingerprint(directory: Path, request: Request) -> None:
    header = _header(directory) or {}
    changed = differences(header.get("fingerprint", {}).get("fields", {}), _plain(request.fingerprint))
    if changed:
        listed = "\n  ".join(changed)
        state = "is finished" if _is_finished(directory) else "is not finished"
        raise UsageError(
            f"the run {directory.name!r} {state} and was begun with other settings:\n  {listed}\n"
            "go on with the same settings, or begin a new run with --fresh or another --name"
        )


def _plain(fields: Mapping[str, object]) -> dict[str, object]:
    """As it reads back from JSON."""
    plain: dict[str, object] = json.loads(json.dumps(fields))
    return plain


def _begin(request: Request, place: Place, directory: Path) -> OpenRun:
    try:
        lock = _patient_lock(directory)
    except OutputError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    try:
        listed = Child(lambda: _freeze(request.source, directory)).result()
        header = {
            "format": 1,
            "source": _named(request.source),
            "fingerprint": {"sha256": digest(request.fingerprint), "fields": dict(request.fingerprint)},
            **request.description,
        }
        write_file(directory / "run.json", pretty(header), durable=True)
    except BaseException:  # no run has begun, so nothing of it should stay
        lock.close()
        shutil.rmtree(directory, ignore_errors=True)
        raise
    manifest = Manifest(directory)
    run = OpenRun(directory, lock, manifest, States.empty(manifest.total), 1, None, resumed=False)
    run.skipped = listed["skipped"]
    run.remarks += listed["remarks"]
    return run


def _freeze(source: str, directory: Path) -> dict[str, Any]:
    """Lists the source into manifest-0; for a child process."""
    listing = list_source(source)
    path = directory / "manifest-0.jsonl"
    write_manifest(path, listing.root, _entries(listing), archive=listing.archive)
    remarks = list(listing.remarks)
    if listing.skipped["archive"]:
        remarks.append("archives within the source are passed over; give each as a source of its own")
    return {"skipped": {name: count for name, count in listing.skipped.items() if count}, "remarks": remarks}


def _entries(listing: Listing, chosen: Container[str] | None = None) -> Iterator[NewInput]:
    """The listed inputs, or those of which the keys are chosen, to be frozen."""
    if listing.archive is None:
        for key in listing.keys:
            if chosen is None or key in chosen:
                yield _entry(listing.path(key), key, listing.paths.get(key))
        return
    for key, member in zip(listing.keys, listing.members, strict=True):
        if chosen is None or key in chosen:
            yield NewInput(key, listing.paths.get(key), member.size, -1, member.where, member.refused)


def _entry(path: bytes, key: str, relative: bytes | None) -> NewInput:
    try:
        now = os.stat(path)
    except OSError:  # named in a list, but not there: it fails when it is read
        return NewInput(key, relative, -1, 0)
    return NewInput(key, relative, now.st_size, now.st_mtime_ns)


def _resume(request: Request, place: Place, directory: Path) -> OpenRun:
    lock = _patient_lock(directory)
    newcomers: Child | None = None
    try:
        header = _header(directory) or {}
        moved_to = None if header.get("source") == _named(request.source) else place.root
        manifest = Manifest(directory, moved_to)
        remarks = _version_remarks(header, request)
        newcomers = Child(lambda: _newcomers(request, directory))
        if request.output.add:
            added, newcomers = newcomers.result()["new"], None
            manifest = Manifest(directory, moved_to)
            remarks.append(f"{added} inputs have been added")
        remarks += [f"journal: {one.path}: {one.problem}" for one in recover(directory) if one.problem]
        epoch = next_epoch(directory)
        states = load(directory, manifest.total, retry_before=epoch if request.output.retry_failed else 0)
        remarks += [f"journal damaged: {damage}; those inputs are computed again" for damage in states.damage]
        if moved_to is not None:
            _check_moved(manifest, states, request.source)
        if states.finished() < manifest.total:  # an earlier summary would say that nothing is left to do
            (directory / "summary.json").unlink(missing_ok=True)
    except BaseException:
        if newcomers is not None:
            newcomers.abandon()
        lock.close()
        raise
    return OpenRun(directory, lock, manifest, states, epoch, moved_to, True, {}, remarks, newcomers)


def _check_moved(manifest: Manifest, states: States, source: str) -> None:
    """Whether any input that is left can be in the place given; else each of them would fail as missing."""
    left = list(islice(manifest.open_inputs(states.status), _MOVED_LOOKED_AT))
    if left and not any(os.path.exists(one.path) if one.archive is None else os.path.isfile(one.file) for one in left):
        raise SourceError(
            f"--resume: the inputs that are left, such as {left[0].key!r}, are not in {source!r}; "
            "give the source that the run was begun with, or the place that it has moved to"
        )


def _patient_lock(directory: Path) -> RunLock:
    """The lock; a worker or a listing that outlives its killed supervisor for a moment is waited for."""
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return RunLock(directory)
        except UsageError as error:
            if "which has ended" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _newcomers(request: Request, directory: Path) -> dict[str, Any]:
    """Counts inputs that the manifests do not have, and freezes them where --add says so; for a child process."""
    with suppress(SourceError):
        manifest = Manifest(directory)
        if _is_unchanged(manifest.archive, locate(request.source)):
            return {"new": 0}
        listing = list_source(request.source)
        unknown = set(listing.keys)  # shares the listing's strings: 40 bytes an input
        unknown.difference_update(manifest.keys())
        # the few by path too: a key may be another once a name that differs in case only has come
        paths = {listing.path(key) for key in unknown}
        if paths:
            paths.difference_update(entry.path for entry in Manifest(directory, listing.root))
        fresh = [key for key in listing.keys if key in unknown and listing.path(key) in paths]
        if request.output.add and fresh:
            path = directory / f"manifest-{len(manifest.paths)}.jsonl"
            entries = _entries(listing, set(fresh))
            write_manifest(path, listing.root, entries, first=manifest.total, archive=listing.archive)
        return {"new": len(fresh)}
    return {"new": 0}


def _is_unchanged(archive: Archive | None, place: Place) -> bool:
    """Whether the source is an archive with the size and time that it had; then there is nothing new in it."""
    if archive is None or place.kind != "archive":
        return False
    now = os.stat(place.root.removesuffix(b"!"))
    return (now.st_size, now.st_mtime_ns) == (archive.size, archive.mtime_ns)


def _version_remarks(header: Mapping[str, Any], request: Request) -> list[str]:
    changed = differences(header.get("versions", {}), request.description["versions"])
    return [f"begun with other versions: {', '.join(changed)}"] if changed else []
