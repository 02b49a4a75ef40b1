"""Nothing is lost: runs that are killed at random moments end as if nobody had disturbed them."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from crash_checks import decoded_again, json_files, run_directory, violations
from crashing import Kill, Killer, Ordeal, Scene, Trial, kill

PHOTOS = 300
FAILURES = 7  # exit code: finished, but some photos are bad

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes to kill in /proc")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene.fake(tmp_path_factory.mktemp("scene"), PHOTOS, seed=0, decoding=10.0)


@pytest.fixture(scope="module")
def undisturbed(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    trial = Trial(scene, tmp_path_factory.mktemp("undisturbed") / "trial")
    assert trial.run() == FAILURES, trial.tail()
    return trial


def killed_after(trial: Trial, results: int) -> Kill:
    """Starts the trial and kills worker and supervisor once so many results are in the journal."""
    supervisor = trial.start()
    try:
        while supervisor.poll() is None and len(trial.snapshot().lines) < results:
            time.sleep(0.01)
        return kill(trial, supervisor, "both")
    finally:
        supervisor.kill()
        supervisor.wait()


def test_eight_kills_at_random_moments_lose_nothing(undisturbed: Trial, tmp_path: Path) -> None:
    summary = json.loads((run_directory(undisturbed) / "summary.json").read_bytes())
    killer = Killer(8, seed=1, wall=summary["wall"] + 1.0)  # a second to start
    ordeals: list[Ordeal] = []
    while killer.left:
        name = "named" if len(ordeals) % 2 else None
        ordeals.append(killer.torment(Trial(undisturbed.scene, tmp_path / str(len(ordeals)), name)))
        assert violations(ordeals[-1], undisturbed, FAILURES) == []
    landed = [one.landed for ordeal in ordeals for one in ordeal.kills]
    assert len(landed) == 8
    assert landed.count("between") >= 6


def test_json_files_deleted_and_damaged_after_a_kill_come_back(undisturbed: Trial, tmp_path: Path) -> None:
    trial = Trial(undisturbed.scene, tmp_path / "trial")
    killed = killed_after(trial, 100)
    journalled = [json.loads(line)["key"] for _, line in sorted(killed.after.lines.items())]
    assert 100 <= len(journalled) < PHOTOS
    files = [run_directory(trial) / "json" / f"{key}.json" for key in journalled]
    for path in files[10:20]:
        path.unlink()
    files[30].write_bytes(files[30].read_bytes()[:-20])  # cut off
    files[31].write_bytes(b"")  # what a loss of power leaves of a file that was not synchronised
    code = trial.run()
    assert violations(Ordeal(trial, [killed], code), undisturbed, FAILURES) == []
    assert json_files(run_directory(trial)) == json_files(run_directory(undisturbed))
    assert "12 JSON files were rebuilt from the journal" in trial.output.read_text()
    summary = json.loads((run_directory(trial) / "summary.json").read_bytes())
    assert summary["computed"] == PHOTOS - len(journalled)


def test_what_these_tests_look_for_would_be_found(undisturbed: Trial, tmp_path: Path) -> None:
    trial = Trial(undisturbed.scene, tmp_path / "trial")
    shutil.copytree(undisturbed.folder, trial.folder, dirs_exist_ok=True)
    directory = run_directory(trial)
    ordeal = Ordeal(trial, [Kill("both", 1, trial.snapshot(), "after")], FAILURES)
    assert violations(ordeal, undisturbed, FAILURES) == []

    first, second = sorted(json_files(directory))[:2]
    (directory / first).write_bytes((directory / first).read_bytes().replace(b"0.", b"1.", 1))
    (directory / second).unlink()
    segment = next((directory / "journal").iterdir())
    segment.with_name("seg-2-1-0.jsonl").write_bytes(segment.read_bytes())  # every result once more
    key = json.loads(ordeal.kills[0].after.lines[0])["key"]
    with trial.log.open("a") as log:
        log.write(f"1 {time.monotonic_ns()} {key}\n")
    found = "\n".join(violations(ordeal, undisturbed, 0))
    for expected in (
        "exit code 7, expected 0",
        "input 0 has 2 results",
        f"JSON files that only one run has: ['{second}']",
        f"JSON files that differ from the undisturbed run's: ['{first}']",
        f"journalled, and decoded again: ['{key}']",
        "work was lost by workers that nobody killed",
        "doctor --verify, exit code 6",
    ):
        assert expected in found
    assert decoded_again(ordeal) == [key]


def test_a_start_killed_before_there_is_a_run_does_not_stand_in_the_way(undisturbed: Trial, tmp_path: Path) -> None:
    trial = Trial(undisturbed.scene, tmp_path / "trial", "named")
    left = trial.folder / "runs" / "named"
    left.mkdir(parents=True)
    for name in ("run.lock", "manifest-0.jsonl.tmp", "run.json.tmp"):
        (left / name).write_text("1\n")
    shutil.copy(run_directory(undisturbed) / "manifest-0.jsonl", left)
    assert trial.run() == FAILURES, trial.tail()
    assert violations(Ordeal(trial, [], FAILURES), undisturbed, FAILURES) == []


def test_a_folder_of_something_else_is_still_refused(undisturbed: Trial, tmp_path: Path) -> None:
    trial = Trial(undisturbed.scene, tmp_path / "trial", "named")
    kept = trial.folder / "runs" / "named" / "novel.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("Chapter 1")
    assert trial.run() == 2
    assert "holds something that is no run" in trial.tail()
    assert kept.read_text() == "Chapter 1"
