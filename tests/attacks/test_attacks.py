"""Evil checkpoints are refused and execute nothing: in a process with an audit hook and a memory limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attacks import assembler as asm
from attacks.evil import cases

import boxmill

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard reads its memory from /proc")

GUARD = Path(__file__).with_name("guard.py")
Report = dict[str, tuple[str | None, list[str]]]


def guarded(folder: Path, names: list[str], *flags: str) -> Report:
    command = [sys.executable, str(GUARD), str(folder), *flags]
    paths = {"PYTHONPATH": str(Path(boxmill.__file__).parents[1])}
    done = subprocess.run(
        command,
        input=json.dumps(names),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Report = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def listed(folder: Path) -> list[tuple[str, str]]:
    """Name and expected words of each evil file; its number is its name in the folder."""
    found = []
    for index, (label, raw, words) in enumerate(cases()):
        (folder / str(index)).write_bytes(raw)
        found.append((label, words))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("evil")
    (place / "good").write_bytes(asm.checkpoint(*asm.small()))
    (place / "warm").write_bytes(asm.checkpoint(*asm.small()))
    return place


def test_every_evil_file_is_refused_and_executes_nothing(folder: Path, listed: list[tuple[str, str]]) -> None:
    assert len(listed) == len({label for label, _ in listed}) > 200
    report = guarded(folder, [*map(str, range(len(listed))), "good"])
    assert report.pop("good") == [None, []]
    wrong = []
    for index, (label, words) in enumerate(listed):
        error, events = report[str(index)]
        if events or error is None or not error.startswith("ModelError: ") or words not in error or len(error) > 1000:
            wrong.append((label, words, error, events))
    assert not wrong, "\n".join(map(str, wrong))
    assert not (folder / "harmed").exists()


def test_the_guard_sees_what_pickle_would_have_executed(folder: Path, listed: list[tuple[str, str]]) -> None:
    (folder / "warm").write_bytes(asm.checkpoint(asm.program(asm.NONE), {}))
    labels = [label for label, _ in listed]
    wanted = {
        "REDUCE posix.system": "os.system",
        "REDUCE builtins.eval": "compile",
        "REDUCE builtins.exec": "compile",
        "REDUCE builtins.open": "open",
        "REDUCE subprocess.Popen": "subprocess.Popen",
        "REDUCE importlib.import_module": "open",
        "opcode INST": "os.system",
    }
    report = guarded(folder, [str(labels.index(label)) for label in wanted], "--unsafe")
    stopped = {label: report[str(labels.index(label))][1][-1].split()[0] for label in wanted}
    assert stopped == wanted
    assert not (folder / "harmed").exists()
