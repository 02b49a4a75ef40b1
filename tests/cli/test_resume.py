"""Which run a command goes on with, and what it does with inputs that are not what they were (FORMATS)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import boxmill, documents, failures, journal, png, summary, write_card, write_photos

from boxmill.cli import run_command
from boxmill.settings import settings
from boxmill.store import Manifest, load


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 6)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags that run without a network, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return ["--runtime", "fake", "-w", str(write_card(tmp_path))]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def leave_unfinished(run: Path, keep: int) -> list[dict[str, object]]:
    """Takes a finished run back to what a kill after `keep` results leaves; returns what the journal still has."""
    (segment,) = (run / "journal").glob("seg-*.jsonl")
    lines = [json.dumps(record, separators=(",", ":")) for record in journal(run)]
    from boxmill.store.frames import frame

    kept = b"".join(frame(line.encode() + b"\n") for line in lines[:keep])
    segment.unlink()
    segment.with_name(segment.name + ".open").write_bytes(kept + b"F 999 deadbeef\n{")
    (run / "summary.json").unlink()
    shutil.rmtree(run / "json")
    return journal(run)[:keep]


def computed(run: Path) -> list[int]:
    return [int(record["i"]) for record in journal(run)]


# which run


def test_the_same_command_resumes_an_unfinished_run_and_says_so(
    photos: Path, fake: list[str], runs: Path, capfd
) -> None:
    command = ["run", str(photos), *fake]
    assert run_command(command) == 0
    reference = documents(runs / "photos")
    leave_unfinished(runs / "photos", 2)
    capfd.readouterr()
    assert run_command(command) == 0
    assert "resuming runs/photos: 2 of 6 images are done" in capfd.readouterr().err
    assert documents(runs / "photos") == reference
    assert sorted(computed(runs / "photos")) == list(range(6))
    assert summary(runs / "photos")["computed"] == 4
    assert summary(runs / "photos")["processed"] == 6
    assert os.listdir(runs) == ["photos"]


def test_a_finished_run_is_left_alone_and_a_new_name_taken(photos: Path, fake: list[str], runs: Path) -> None:
    command = ["run", str(photos), *fake]
    assert [run_command(command) for _ in range(2)] == [0, 0]
    assert sorted(os.listdir(runs)) == ["photos", "photos2"]
    leave_unfinished(runs / "photos", 2)  # an older one is no more what is meant
    assert run_command(command) == 0
    assert sorted(os.listdir(runs)) == ["photos", "photos2", "photos3"]
    assert run_command([*command, "--name", "mine"]) == 0
    assert run_command([*command, "--name", "mine"]) == 0
    assert sorted(os.listdir(runs))[:2] == ["mine", "mine2"]


def test_other_settings_are_refused_and_listed(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    command = ["run", str(photos), *fake]
    assert run_command(command) == 0
    leave_unfinished(runs / "photos", 2)
    assert run_command([*command, "--conf", "0.5", "--classes", "dog", "--imgsz", "96"]) == 2
    err = capfd.readouterr().err
    assert "the run 'photos' is not finished and was begun with other settings:" in err
    assert '\n  classes: [] -> ["dog"]\n  conf: 0.25 -> 0.5\n  input.size: [64, 64] -> [96, 96]\n' in err
    assert "--fresh or another --name" in err
    # what decides nothing about the boxes may change
    assert run_command([*command, "--workers", "1", "--image-timeout", "9", "--no-image-json"]) == 0
    assert summary(runs / "photos")["processed"] == 6


def test_resume_takes_a_run_by_name(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    for name in ("one", "two"):
        assert run_command(["run", str(photos), *fake, "--name", name]) == 0
    leave_unfinished(runs / "one", 3)
    assert run_command(["run", str(photos), *fake, "--resume", "one", "--conf", "0.3"]) == 2
    assert "conf: 0.25 -> 0.3" in capfd.readouterr().err
    assert run_command(["run", str(photos), *fake, "--resume", "one"]) == 0
    assert sorted(computed(runs / "one")) == list(range(6))
    assert run_command(["run", str(photos), *fake, "--resume", "three"]) == 2
    assert "there is no run 'three' in 'runs'; runs there: one, two" in capfd.readouterr().err
    assert run_command(["run", str(photos), *fake, "--resume", "one", "--project", "nowhere"]) == 2
    assert "runs there: none" in capfd.readouterr().err


def test_resume_of_a_finished_run_rebuilds_what_was_deleted(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    assert run_command(["run", str(photos), *fake]) == 0
    reference = documents(runs / "photos")
    for name in ("000.png.json", "005.png.json"):
        (runs / "photos/json" / name).unlink()
    assert run_command(["run", str(photos), *fake, "--resume", "photos"]) == 0
    assert "2 JSON files were rebuilt from the journal" in capfd.readouterr().err
    assert documents(runs / "photos") == reference
    assert sorted(computed(runs / "photos")) == list(range(6))


def test_resume_with_a_source_that_has_moved(photos: Path, fake: list[str], runs: Path, tmp_path: Path, capfd) -> None:
    assert run_command(["run", str(photos), *fake]) == 0
    reference = documents(runs / "photos")
    leave_unfinished(runs / "photos", 2)
    moved = tmp_path / "elsewhere/pictures"
    shutil.copytree(photos, moved, copy_function=shutil.copyfile)  # which does not keep the times
    shutil.rmtree(photos)
    assert run_command(["run", str(photos), *fake]) == 3
    assert "source not found" in capfd.readouterr().err
    assert run_command(["run", str(tmp_path), *fake, "--resume", "photos"]) == 3
    assert f".png', are not in '{tmp_path}'; give the source that the run was begun with" in capfd.readouterr().err
    assert run_command(["run", str(moved), *fake, "--resume", "photos"]) == 0
    assert documents(runs / "photos") == reference
    assert sorted(computed(runs / "photos")) == list(range(6))


def test_another_source_of_the_same_name_takes_a_new_name(
    photos: Path, fake: list[str], runs: Path, tmp_path: Path
) -> None:
    assert run_command(["run", str(photos), *fake]) == 0
    leave_unfinished(runs / "photos", 2)
    other = write_photos(tmp_path / "other/photos", 2)
    assert run_command(["run", str(other), *fake]) == 0
    assert summary(runs / "photos2")["total_images"] == 2
    assert run_command(["run", str(photos), *fake]) == 0  # the unfinished one, although photos2 is newer
    assert summary(runs / "photos")["total_images"] == 6
    assert sorted(os.listdir(runs)) == ["photos", "photos2"]


def test_fresh_begins_a_new_run(photos: Path, fake: list[str], runs: Path) -> None:
    command = ["run", str(photos), *fake]
    assert run_command(command) == 0
    leave_unfinished(runs / "photos", 2)
    assert run_command([*command, "--fresh", "--conf", "0.4"]) == 0
    assert summary(runs / "photos2")["computed"] == 6
    assert not (runs / "photos/summary.json").exists()


def test_exist_ok_means_exactly_that_folder(photos: Path, fake: list[str], runs: Path, tmp_path: Path, capfd) -> None:
    command = ["run", str(photos), *fake, "--name", "mine", "--exist-ok"]
    assert run_command(command) == 0
    reference = documents(runs / "mine")
    leave_unfinished(runs / "mine", 2)
    assert run_command(command) == 0
    assert documents(runs / "mine") == reference
    assert run_command(command) == 0  # finished: nothing to do
    assert sorted(computed(runs / "mine")) == list(range(6))
    assert run_command([*command, "--conf", "0.4"]) == 2
    assert "is finished and was begun with other settings:\n  conf: 0.25 -> 0.4" in capfd.readouterr().err
    other = write_photos(tmp_path / "other", 2)
    assert run_command(["run", str(other), *fake, "--name", "mine", "--exist-ok"]) == 2
    err = capfd.readouterr().err
    assert f"the run 'mine' is of another source, '{photos}'" in err
    assert "--resume mine" in err
    assert os.listdir(runs) == ["mine"]


def test_exist_ok_refuses_a_folder_that_is_no_run(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    command = ["run", str(photos), *fake, "--name", "mine", "--exist-ok"]
    (runs / "mine").mkdir(parents=True)
    (runs / "mine/thesis.txt").write_text("years of work")
    assert run_command(command) == 2
    assert "holds something that is no run of boxmill" in capfd.readouterr().err
    assert (runs / "mine/thesis.txt").read_text() == "years of work"
    (runs / "mine/thesis.txt").rename(runs / "thesis.txt")
    assert run_command(command) == 0  # an empty one will do


def test_exist_ok_after_a_kill_before_the_run_had_begun(photos: Path, fake: list[str], runs: Path) -> None:
    (runs / "mine").mkdir(parents=True)
    (runs / "mine/run.lock").write_text("12345\n")
    (runs / "mine/manifest-0.jsonl.tmp").write_text("{")
    assert run_command(["run", str(photos), *fake, "--name", "mine", "--exist-ok"]) == 0
    assert summary(runs / "mine")["processed"] == 6


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--resume", "x", "--fresh"], "exclude each other"),
        (["--resume", "x", "--exist-ok", "--name", "y"], "exclude each other"),
        (["--fresh", "--exist-ok", "--name", "y"], "exclude each other"),
        (["--exist-ok"], "give --name too"),
        (["--fresh", "--add"], "leave --fresh out"),
        (["--fresh", "--retry-failed"], "leave --fresh out"),
        (["--resume", "a/b"], "--resume: expected the name of one folder"),
        (["--resume", ".."], "--resume: expected the name of one folder"),
        (["--allow-failed", "some"], "--allow-failed: expected a number of images or a share"),
        (["--allow-failed", "-1"], "--allow-failed"),
    ],
)
def test_flags_that_contradict_each_other(photos: Path, fake: list[str], flags: list[str], words: str, capfd) -> None:
    assert run_command(["run", str(photos), *fake, *flags]) == 2
    err = capfd.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not Path("runs").exists()


# inputs that come, go and change


def test_newcomers_are_reported_and_taken_in_only_with_add(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    command = ["run", str(photos), *fake]
    assert run_command(command) == 0
    leave_unfinished(runs / "photos", 2)
    write_photos(photos, 2, first=100)
    (photos / "0new.png").write_bytes(png(7))  # sorts before all others
    assert run_command(command) == 0
    assert "3 inputs have appeared since this run began and are left out; --add takes them in" in capfd.readouterr().err
    assert summary(runs / "photos")["total_images"] == 6
    assert run_command([*command, "--add"]) == 0  # also where the run is finished
    assert "3 inputs have been added" in capfd.readouterr().err
    assert (summary(runs / "photos")["total_images"], summary(runs / "photos")["computed"]) == (9, 3)
    assert sorted(computed(runs / "photos")) == list(range(9))
    assert len(documents(runs / "photos")) == 9
    assert run_command([*command, "--add"]) == 0
    assert "0 inputs have been added" in capfd.readouterr().err
    assert len(Manifest(runs / "photos").paths) == 2
    assert os.listdir(runs) == ["photos"]


def test_a_newcomer_that_differs_in_case_only_does_not_bring_the_old_one_back(
    photos: Path, fake: list[str], runs: Path
) -> None:
    """Both get other keys in a listing that has both; the file that is done is known by its path."""
    (photos / "Photo.png").write_bytes(png(8))
    assert run_command(["run", str(photos), *fake]) == 0
    (photos / "PHOTO.png").write_bytes(png(9))
    assert run_command(["run", str(photos), *fake, "--add"]) == 0
    assert (summary(runs / "photos")["total_images"], summary(runs / "photos")["computed"]) == (8, 1)
    keys = [one["image"] for one in summary(runs / "photos")["results"]]
    assert keys[6] == "Photo.png"
    assert keys[7].startswith("PHOTO.png-")


def test_added_inputs_are_not_forgotten_when_the_run_is_killed(photos: Path, fake: list[str], runs: Path) -> None:
    """The summary of the run that was finished before must not hide them."""
    command = ["run", str(photos), *fake]
    assert run_command(command) == 0
    write_photos(photos, 200, first=100, side=300)
    process = boxmill(*command, "--add")
    while process.poll() is None and len(documents(runs / "photos")) < 7:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert run_command(command) == 0
    assert os.listdir(runs) == ["photos"]
    assert summary(runs / "photos")["processed"] == 206


def test_retry_failed_supersedes_failures_and_nothing_else(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    command = ["run", str(photos), *fake]
    good = (photos / "003.png").read_bytes()
    (photos / "003.png").write_bytes(good[:-20])
    (photos / "bad.png").write_bytes(b"no picture")
    assert run_command(command) == 7
    before = documents(runs / "photos")
    assert failures(runs / "photos") == {"003.png": "truncated", "bad.png": "unsupported"}
    assert run_command([*command, "--retry-failed"]) == 7
    assert summary(runs / "photos")["computed"] == 2
    assert documents(runs / "photos") == before
    status = os.stat(photos / "003.png")
    (photos / "003.png").write_bytes(good)
    capfd.readouterr()
    assert run_command([*command, "--retry-failed"]) == 7
    assert failures(runs / "photos")["003.png"] == "changed"  # frozen is frozen: it is not the file that was listed
    assert "start a new run for it" in capfd.readouterr().err
    assert status.st_size != len(good)
    assert sorted(computed(runs / "photos")) == [*range(3), *[3] * 3, *range(4, 6), *[6] * 3]
    assert os.listdir(runs) == ["photos"]


def test_retry_failed_after_the_cause_is_gone(photos: Path, fake: list[str], runs: Path) -> None:
    command = ["run", str(photos), *fake]
    (photos / "003.png").rename(photos.parent / "away.png")
    listed = photos.parent / "list.txt"
    listed.write_text("\n".join(f"photos/{number:03}.png" for number in range(6)))
    command[1] = str(listed)
    assert run_command(command) == 7
    assert failures(runs / "list") == {"photos/003.png": "missing"}
    (photos.parent / "away.png").rename(photos / "003.png")
    assert run_command([*command, "--retry-failed"]) == 0
    assert failures(runs / "list") == {}
    assert summary(runs / "list")["computed"] == 1
    assert b'"objects"' in documents(runs / "list")["photos/003.png.json"]


def test_allow_failed(photos: Path, fake: list[str], runs: Path) -> None:
    for name in ("bad1.png", "bad2.png"):  # 2 of 8
        (photos / name).write_bytes(b"no picture")
    command = ["run", str(photos), *fake, "--name", "mine", "--exist-ok", "--quiet"]
    allowed = {"0": 7, "1": 7, "2": 0, "24%": 7, "24.9%": 7, "25%": 0, "100%": 0}
    assert {text: run_command([*command, "--allow-failed", text]) for text in allowed} == allowed
    assert len(computed(runs / "mine")) == 8  # asking again computes nothing


@pytest.mark.parametrize(("share", "total", "allowed"), [("7%", 100, 7), ("29%", 100, 29), ("0.1%", 1000, 1)])
def test_a_share_of_failures_is_exact(share: str, total: int, allowed: int) -> None:
    chosen = settings("photos", {"weights": Path("x.onnx"), "allow_failed": share})
    assert chosen.output.failures_allowed(total) == allowed


def test_inputs_that_vanish_or_change_while_the_run_is_away(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    command = ["run", str(photos), *fake]
    assert run_command(command) == 0
    reference = documents(runs / "photos")
    kept = [str(record["key"]) for record in leave_unfinished(runs / "photos", 2)]
    gone, larger, touched, same = [name for name in sorted(os.listdir(photos)) if name not in kept]
    (photos / gone).unlink()
    (photos / larger).write_bytes(png(50, side=60))
    os.utime(photos / touched, ns=(0, 12345))
    for name in kept:  # they are done: what becomes of them now does not matter
        (photos / name).unlink()
    assert run_command(command) == 7
    assert failures(runs / "photos") == {gone: "missing", larger: "changed", touched: "changed"}
    err = capfd.readouterr().err
    assert "is gone now" in err
    assert "the file has changed since it was listed (" in err
    assert "same size, other time" in err
    after = documents(runs / "photos")
    assert {name: after[f"{name}.json"] for name in (*kept, same)} == {
        name: reference[f"{name}.json"] for name in (*kept, same)
    }


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


def test_a_second_process_is_refused_and_told_who_has_the_run(many: Path, fake: list[str], runs: Path) -> None:
    command = ["run", str(many), *fake, "--workers", "1"]
    first = boxmill(*command)
    wait_for_work(first, runs / "many")
    second = boxmill(*command)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (2, "")
    assert f"is held by process {first.pid}; wait for it or stop it" in err
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 5
    assert os.listdir(runs) == ["many"]


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


def test_ctrl_c_before_there_is_anything_to_finish(photos: Path, fake: list[str], runs: Path) -> None:
    """While it is read what to do: here a card that is a named pipe, and nobody writes to it."""
    os.mkfifo("endless.yaml")
    process = boxmill("run", str(photos), "--runtime", "fake", "-w", "fake.yaml", "--card", "endless.yaml")
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=30)[1]
    assert (process.returncode, err) == (5, "boxmill: interrupted; the same command goes on where it stopped\n")
    assert not runs.exists()
