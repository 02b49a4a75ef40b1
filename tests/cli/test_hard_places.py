"""Runs over strange names, in places that refuse, beside another process, and under signals."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from small_runs import boxmill, computed, documents, leave_unfinished, png, summary, write_photos

from boxmill.cli import run_command
from boxmill.store import Manifest, load

# names


def test_names_that_are_long_strange_or_alike_and_loops(fake: list[str], runs: Path, tmp_path: Path, capfd) -> None:
    root = os.fsencode(tmp_path / "photos")
    names = [b"n" * 246 + b".png", "图".encode() * 82 + b".png", b"stray\xff\xfe.png", b"100%.png", b"a\nb.png",
             b"Photo.png", b"photo.png", b"PHOTO.PNG", b"sub/Photo.png", b"photo.png.json/x.png",
             b"d" * 255 + b"/deep.png", b"a.jpg", b"a.png"]  # fmt: skip
    for number, name in enumerate(names):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(png(number))
    os.symlink(root, os.path.join(root, b"loop"))
    os.symlink(b"..", os.path.join(root, b"sub/up"))
    assert run_command(["run", str(tmp_path / "photos"), *fake]) == 0
    assert "passed over: 2 symbolic link" in capfd.readouterr().err
    run = runs / "photos"
    keys = [one["image"] for one in summary(run)["results"]]
    assert len(keys) == len(set(keys)) == len({key.casefold() for key in keys}) == len(names)
    assert {"stray%FF%FE.png", "100%25.png", "a\nb.png", "a.jpg", "a.png"} <= set(keys)
    found = documents(run)
    assert sorted(found) == sorted(f"{key}.json" for key in keys)
    assert {name: json.loads(text)["image"] for name, text in found.items()} == {f"{key}.json": key for key in keys}
    assert all(len(part.encode()) <= 255 for name in found for part in name.split("/"))
    paths = {os.path.relpath(one.path, root) for one in Manifest(run)}
    assert paths == set(names)
    assert run_command(["doctor", str(run), "--verify"]) == 0
    leave_unfinished(run, 5)
    assert run_command(["run", str(tmp_path / "photos"), *fake]) == 0
    assert documents(run) == found


def test_a_folder_whose_name_is_not_utf8(fake: list[str], runs: Path, tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/stray\xff")
    write_photos(Path(folder), 3)
    card = shutil.copy("fake.yaml", os.path.join(folder, "card.yaml"))
    command = ["run", folder, *fake, "--card", card]
    process = boxmill(*command)
    out, err = process.communicate()
    assert process.returncode == 0, err
    run = runs / os.fsdecode(b"stray\xff")
    assert out == os.fsdecode(b"runs/stray\xff\n")
    assert summary(run)["run"] == "stray\\udcff"
    leave_unfinished(run, 1)
    assert run_command(command) == 0
    assert sorted(computed(run)) == [0, 1, 2]
    assert run_command(["doctor", str(run), "--verify"]) == 0


def test_a_folder_with_a_module_of_the_name_of_a_library(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the folder that boxmill is called in is imported, in the worker neither."""
    words = [os.path.abspath(word) if os.path.exists(word) else word for word in fake]
    place = tmp_path / "scripts"
    place.mkdir()
    for name in ("numpy", "json", "boxmill"):
        (place / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(place)
    assert run_command(["run", str(photos), *words, "--project", str(runs)]) == 0
    assert summary(runs / "photos")["processed"] == len(list(photos.iterdir()))


def test_a_glob_through_a_loop_of_links(photos: Path, fake: list[str], runs: Path) -> None:
    for name in ("one", "two"):
        (photos / name).symlink_to(".")
    assert run_command(["run", f"{photos}/**/*.png", *fake]) == 0
    assert summary(runs / "photos")["total_images"] == 6


# places and processes


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with a finished and an unfinished run of `photos` that nobody, root included, may write to."""
    if os.geteuid() != 0:
        pytest.skip("needs a read-only file system, and only root may mount one")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"needs a read-only file system, and mount failed: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_target_that_is_read_only(photos: Path, fake: list[str], read_only: Path, capfd) -> None:
    command = ["run", str(photos), *fake, "--project", str(read_only)]
    assert run_command(command) == 0
    leave_unfinished(read_only / "photos", 2)
    subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
    capfd.readouterr()
    for flags in ([], ["--fresh"], ["--name", "new", "--exist-ok"], ["--resume", "photos"]):
        assert run_command([*command, *flags]) == 6
        out, err = capfd.readouterr()
        assert out == ""
        assert str(read_only) in err
        assert "Read-only file system" in err
        assert "Traceback" not in err
    subprocess.run(["mount", "-o", "remount,rw", str(read_only)], check=True)
    assert run_command(command) == 0
    assert os.listdir(read_only) == ["photos"]


def test_a_project_that_is_a_file(photos: Path, fake: list[str], capfd) -> None:
    Path("runs").write_text("not a folder")
    assert run_command(["run", str(photos), *fake]) == 6
    assert "cannot make the run directory 'runs/photos': Not a directory" in capfd.readouterr().err
    assert run_command(["run", str(photos), *fake, "--name", "x", "--exist-ok"]) == 6
    assert "cannot make the run directory 'runs/x'" in capfd.readouterr().err


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough photos that a run of them can be interrupted."""
    folder = tmp_path_factory.mktemp("source") / "many"
    folder.mkdir()
    data = png(0, side=600)
    for number in range(400):
        (folder / f"{number:03}.png").write_bytes(data)
    return folder


def wait_for_work(process: subprocess.Popen[str], run: Path) -> None:
    while not (run / "json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_second_process_is_refused_and_told_who_has_the_run(
    many: Path, fake: list[str], runs: Path, tmp_path: Path
) -> None:
    longer = tmp_path / "longer"  # than the second process takes to start, on the busiest machine
    longer.mkdir()
    for number in range(5000):
        os.link(many / "000.png", longer / f"{number:04}.png")
    command = ["run", str(longer), *fake, "--workers", "1"]
    first = boxmill(*command)
    wait_for_work(first, runs / "longer")
    second = boxmill(*command)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (2, "")
    assert f"is held by process {first.pid}; wait for it or stop it" in err
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 5
    assert os.listdir(runs) == ["longer"]


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_interrupted_and_completed(many: Path, fake: list[str], runs: Path, number: int, times: int) -> None:
    command = ["run", str(many), *fake, "--workers", "1"]
    process = boxmill(*command)
    wait_for_work(process, runs / "many")
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.05)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 5, err
    assert "stopping: finishing the images under way" in err
    assert "the same command goes on where it stopped" in err
    assert "Traceback" not in err
    kept = computed(runs / "many")
    assert summary(runs / "many")["status"] == "interrupted"
    assert summary(runs / "many")["processed"] == load(runs / "many", 400).finished() == len(kept) < 400
    assert run_command([*command[:-2], "--workers", "2", "--quiet"]) == 0
    assert sorted(computed(runs / "many")) == list(range(400))
    assert computed(runs / "many")[: len(kept)] == kept
    assert len(documents(runs / "many")) == 400


def test_the_command_of_a_fresh_run_would_begin_another_and_that_is_said(
    many: Path, fake: list[str], runs: Path
) -> None:
    command = ["run", str(many), *fake, "--workers", "1", "--name", "new"]
    process = boxmill(*command, "--fresh")
    wait_for_work(process, runs / "new")
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 5, err
    assert "interrupted: --resume new in place of --fresh goes on where it stopped" in err
    assert run_command([*command, "--resume", "new", "--quiet"]) == 0
    assert os.listdir(runs) == ["new"]
    assert sorted(computed(runs / "new")) == list(range(400))


def opened_for_writing(pipe: str) -> int:
    """The end of a named pipe that somebody has begun to read; a signal before that may hit an import."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:  # ENXIO: nobody reads it yet
                raise
            time.sleep(0.02)


def test_ctrl_c_before_there_is_anything_to_finish(photos: Path, fake: list[str], runs: Path) -> None:
    """While it is read what to do: here a card that is a named pipe, and nobody writes to it."""
    os.mkfifo("endless.yaml")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored here is ignored there too
    process = boxmill("run", str(photos), "--runtime", "fake", "-w", "fake.yaml", "--card", "endless.yaml")
    signal.signal(signal.SIGINT, before)
    pipe = opened_for_writing("endless.yaml")
    err = ""
    for _ in range(6):  # a signal between opening and reading is only noticed after the reading: press again
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            err = process.communicate(timeout=10)[1]
            break
    os.close(pipe)
    assert (process.returncode, err) == (5, "boxmill: interrupted; the same command goes on where it stopped\n")
    assert not runs.exists()
