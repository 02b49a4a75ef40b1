"""Which run a command goes on with, and what it does with inputs that are not what they were (FORMATS)."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from small_runs import boxmill, computed, documents, failures, leave_unfinished, png, summary, write_photos

from boxmill.cli import run_command
from boxmill.settings import settings
from boxmill.store import Manifest

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
