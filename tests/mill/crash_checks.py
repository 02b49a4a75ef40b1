"""What must hold of a run that was killed, compared with one that was not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from crashing import THREADS, Ordeal, Trial, journal_lines

MAX_REDONE = 64 + THREADS  # a kill's price: outcomes not yet durable, and images under way

_COUNTED = ("total_images", "processed", "failed", "empty", "truncated", "objects", "classes", "results")


def run_directory(trial: Trial) -> Path:
    """Where the run is. Raises ValueError where none was begun."""
    if trial.directory is None:
        raise ValueError(f"expected a run in {trial.folder}, found none:\n{trial.tail()}")
    return trial.directory


def violations(ordeal: Ordeal, reference: Trial, code: int) -> list[str]:
    """Everything that is not as it must be; `code` is what the undisturbed `reference` exited with."""
    trial = ordeal.trial
    if not trial.finished():
        return [f"the run did not end, exit code {ordeal.code}; it printed:\n{trial.tail()}"]
    found = [] if ordeal.code in (None, code) else [f"exit code {ordeal.code}, expected {code}"]
    found += _results(ordeal, reference)
    found += _files(run_directory(trial), run_directory(reference))
    found += _work(ordeal)
    found += _doctor(run_directory(trial))
    return found


def results(directory: Path) -> dict[int, list[str]]:
    """The results of each input as they stand in the journal, but for their times."""
    found: dict[int, list[str]] = {}
    for line in journal_lines(directory):
        record = json.loads(line)
        if record["status"] != "attempt":
            record.pop("ms")
            record.pop("at")
            found.setdefault(record["i"], []).append(json.dumps(record, sort_keys=True))  # repr of every bit
    return found


def _results(ordeal: Ordeal, reference: Trial) -> Iterator[str]:
    directory = run_directory(ordeal.trial)
    ours, theirs = results(directory), results(run_directory(reference))
    if set(ours) != set(range(ordeal.trial.scene.total)):
        yield f"{len(ours)} of {ordeal.trial.scene.total} inputs have a result"
    for index, records in ours.items():
        if len(records) != 1:
            yield f"input {index} has {len(records)} results"
        if records != theirs.get(index):
            yield f"the result of input {index} differs from the undisturbed run's"
    lines = set(journal_lines(directory))
    for number, one in enumerate(ordeal.kills):
        if lost := [index for index, line in one.after.lines.items() if line not in lines]:
            yield f"kill {number}: journalled before it, not there any more: inputs {lost}"


def _files(ours: Path, theirs: Path) -> Iterator[str]:
    documents, expected = json_files(ours), json_files(theirs)
    if set(documents) != set(expected):
        yield f"JSON files that only one run has: {sorted(set(documents) ^ set(expected))}"
    if differing := [name for name, data in documents.items() if data != expected.get(name, data)]:
        yield f"JSON files that differ from the undisturbed run's: {differing}"
    if left := [str(path) for pattern in ("*.tmp", "*.open") for path in ours.rglob(pattern)]:
        yield f"left lying about: {left}"
    summary, expectation = (json.loads((path / "summary.json").read_bytes()) for path in (ours, theirs))
    for name in _COUNTED:
        if summary[name] != expectation[name]:
            yield f"summary.json: {name} differs from the undisturbed run's"


def json_files(directory: Path) -> dict[str, bytes]:
    """Per-image files by their names."""
    files = (path for path in (directory / "json").rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def redone(trial: Trial) -> Counter[int]:
    """Inputs that a worker, by its pid, had begun to decode and a later worker decoded again."""
    decodings = trial.decodings()
    last = {one.key: one.pid for one in decodings}
    return Counter(pid for pid, key in {(one.pid, one.key) for one in decodings} if last[key] != pid)


def decoded_again(ordeal: Ordeal) -> list[str]:
    """Keys decoded after they had been seen in the journal."""
    keys = {json.loads(line)["i"]: json.loads(line)["key"] for one in ordeal.kills for line in one.after.lines.values()}
    last: dict[str, int] = {}
    for one in ordeal.trial.decodings():
        last[one.key] = max(one.time, last.get(one.key, 0))
    return sorted(
        {keys[i] for kill in ordeal.kills for i in kill.after.lines if last.get(keys[i], 0) > kill.after.time}
    )


def _work(ordeal: Ordeal) -> Iterator[str]:
    if again := decoded_again(ordeal):
        yield f"journalled, and decoded again: {again}"
    price, decodings = redone(ordeal.trial), ordeal.trial.decodings()
    if (seen := len({one.key for one in decodings})) != ordeal.trial.scene.total:  # then nothing here tells anything
        yield f"the log tells of {seen} inputs decoded, of {ordeal.trial.scene.total}"
    times = Counter((one.pid, one.key) for one in decodings)
    for one in {one.pid: one for one in reversed(decodings)}.values():
        times[one.pid, one.key] -= 1  # a worker may rehearse with the first input that it decodes
    if twice := [key for key, count in times.items() if count > 1]:
        yield f"decoded twice by one worker: {twice}"
    if unexplained := set(price) - {one.worker for one in ordeal.kills}:
        yield f"work was lost by workers that nobody killed: {unexplained}"
    for pid, count in price.items():
        if count > MAX_REDONE:
            yield f"a kill cost {count} inputs, at most {MAX_REDONE} are allowed (worker {pid})"


def _doctor(directory: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "boxmill", "doctor", str(directory), "--verify"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "nothing is wrong" not in done.stdout:
        yield f"doctor --verify, exit code {done.returncode}:\n{done.stdout}{done.stderr}"
