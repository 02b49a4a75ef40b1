"""Archives through the real command: the same results as the folder they were made of, and the same grammar of runs."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from small_runs import boxmill, computed, documents, failures, leave_unfinished, png, summary, write_photos

from boxmill.cli import run_command

KINDS = ("zip", "tar", "tar.gz")


def pack(folder: Path, path: Path, more: Sequence[tuple[str, bytes]] = ()) -> Path:
    """An archive of a folder's files, by name, and of more."""
    files = [(one.name, one.read_bytes()) for one in sorted(folder.iterdir())] + list(more)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files:
                archive.writestr(zipfile.ZipInfo(name), data)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def unprefixed(run: Path, prefix: str) -> dict[str, bytes]:
    return {
        key.removeprefix(prefix): value.replace(prefix.encode(), b"") for key, value in documents(run).items()
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_gives_what_its_folder_gives(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, kind: str
) -> None:
    path = pack(photos, tmp_path / f"in.{kind}")
    assert run_command(["run", str(photos), *fake]) == 0
    assert run_command(["run", str(path), *fake]) == 0
    name = path.name
    assert unprefixed(runs / name, f"{name}!/") == documents(runs / "photos")
    assert (runs / name / "json" / f"{name}!" / "000.png.json").is_file()
    assert sorted(os.listdir(tmp_path)) == sorted(["fake.yaml", "photos", "runs", name])


@pytest.mark.parametrize("kind", KINDS)
def test_it_resumes_where_it_was(photos: Path, fake: list[str], runs: Path, tmp_path: Path, kind: str) -> None:
    path = pack(photos, tmp_path / f"in.{kind}")
    command = ["run", str(path), *fake]
    assert run_command(command) == 0
    run = runs / path.name
    reference = documents(run)
    leave_unfinished(run, 2)
    assert run_command(command) == 0
    assert documents(run) == reference
    assert sorted(computed(run)) == list(range(6))


@pytest.mark.parametrize("kind", KINDS)
def test_it_resumes_where_it_has_moved_to(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = pack(photos, tmp_path / f"in.{kind}")
    command = ["run", str(path), *fake]
    assert run_command(command) == 0
    run = runs / path.name
    reference = documents(run)
    leave_unfinished(run, 3)
    moved = tmp_path / f"elsewhere.{kind}"
    shutil.copyfile(path, moved)  # which does not keep the time
    path.unlink()
    assert run_command(command) == 3
    assert run_command(["run", str(photos), *fake, "--resume", path.name]) == 3
    assert "are not in" in capfd.readouterr().err
    assert run_command(["run", str(moved), *fake, "--resume", path.name]) == 0
    assert documents(run) == reference
    assert summary(run)["computed"] == 3
    assert "have appeared" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_been_appended_is_reported_and_added(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = pack(photos, tmp_path / f"in.{kind}")
    command = ["run", str(path), *fake]
    assert run_command(command) == 0
    run = runs / path.name
    leave_unfinished(run, 2)
    pack(photos, path, [("sub/new.png", png(99))])
    assert run_command(command) == 0
    assert "1 inputs have appeared since this run began" in capfd.readouterr().err
    assert summary(run)["processed"] == 6
    assert run_command([*command, "--add"]) == 0
    assert "1 inputs have been added" in capfd.readouterr().err
    assert f"{path.name}!/sub/new.png.json" in documents(run)
    assert (summary(run)["processed"], summary(run)["total_images"]) == (7, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_was_exchanged_fails_as_changed(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, kind: str
) -> None:
    path = pack(photos, tmp_path / f"in.{kind}")
    assert run_command(["run", str(path), *fake]) == 0
    leave_unfinished(runs / path.name, 2)
    pack(write_photos(tmp_path / "others", 6, first=50), path)
    assert run_command(["run", str(path), *fake]) == 7
    assert list(failures(runs / path.name).values()) == ["changed"] * 4


def test_bad_members_are_failures_and_what_is_passed_over_is_said(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = pack(photos, tmp_path / "in.zip", [("../../evil.png", png(1)), ("in.zip", b""), ("bad.png", b"no png")])
    assert run_command(["run", str(path), *fake]) == 7
    assert sorted(failures(runs / "in.zip").values()) == ["unsafe_name", "unsupported"]
    assert not list(tmp_path.rglob("evil.png*"))
    assert "archives within the source are passed over; give each as a source of its own" in capfd.readouterr().err
    assert summary(runs / "in.zip")["skipped"] == {"archive": 1}
    assert summary(runs / "in.zip")["processed"] == 6


def test_a_source_that_is_no_archive_ends_with_3(tmp_path: Path, fake: list[str], runs: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4")
    assert run_command(["run", "cut.zip", *fake]) == 3
    assert not runs.exists() or not list(runs.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: processes are found in /proc")
def test_a_compressed_tar_survives_kills_of_the_worker_and_of_all(tmp_path: Path, fake: list[str], runs: Path) -> None:
    path = pack(write_photos(tmp_path / "photos", 300), tmp_path / "in.tar.gz")
    assert run_command(["run", str(path), *fake, "--name", "whole"]) == 0
    command = ["run", str(path), *fake, "--name", "killed"]
    for victim in ("worker", "supervisor"):
        with boxmill(*command) as process:
            _wait_for_results(runs / "killed", process)
            if victim == "supervisor":
                process.kill()
            else:
                for child in _children(process.pid):
                    _kill(child)
            process.communicate()
    assert run_command([*command, "--exist-ok"]) == 0
    assert documents(runs / "killed") == documents(runs / "whole")
    assert sorted(set(computed(runs / "killed"))) == list(range(300))
    assert summary(runs / "killed")["failed"]["count"] == 0


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended in the meantime
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, signal.SIGKILL)


def _wait_for_results(run: Path, process: subprocess.Popen[str]) -> None:
    folder, deadline = run / "json/in.tar.gz!", time.monotonic() + 60
    before = len(os.listdir(folder)) if folder.is_dir() else 0
    while process.poll() is None and time.monotonic() < deadline:
        if folder.is_dir() and len(os.listdir(folder)) >= before + 10:
            return
        time.sleep(0.02)
