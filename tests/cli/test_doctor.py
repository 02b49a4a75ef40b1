"""`boxmill doctor`: says what is wrong with a run, and what mends it (weights: test_doctor_weights)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import documents, write_card, write_photos

from boxmill.cli import run_command


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    photos = write_photos(tmp_path / "photos", 6)
    return ["run", str(photos), "--runtime", "fake", "-w", str(write_card(tmp_path)), "--quiet"]


@pytest.fixture
def run(command: list[str], tmp_path: Path) -> Path:
    assert run_command(command) == 0
    return tmp_path / "runs/photos"


def said(capfd) -> list[str]:
    out, err = capfd.readouterr()
    assert err == ""
    return out.splitlines()


def test_a_whole_run(run: Path, capfd) -> None:
    assert run_command(["doctor", str(run)]) == 0
    assert said(capfd) == [f"{run}: 6 of 6 images are done, 0 of them failed"]
    assert run_command(["doctor", str(run), "--verify"]) == 0
    assert said(capfd) == [f"{run}: 6 of 6 images are done, 0 of them failed", "nothing is wrong"]


def test_a_folder_that_is_no_run(tmp_path: Path, capfd) -> None:
    assert run_command(["doctor", str(tmp_path)]) == 2
    assert "is no run: it holds no run.json" in capfd.readouterr().err


def test_missing_and_damaged_json_are_mended_by_a_resume(run: Path, command: list[str], capfd) -> None:
    before = documents(run)
    (run / "json/001.png.json").unlink()
    (run / "json/002.png.json").write_bytes(before["002.png.json"][:20])
    (run / "json/003.png.json").write_bytes(before["004.png.json"])
    assert run_command(["doctor", str(run), "--verify"]) == 0
    lines = said(capfd)[1:]
    assert lines[0] == "note: json/001.png.json: missing"
    assert lines[1].startswith("note: json/002.png.json: damaged: ")
    assert lines[2] == "note: json/003.png.json: it is of '004.png'"
    assert lines[3:] == ["0 damaged, 3 that the next resume mends"]
    assert run_command([*command, "--resume", "photos"]) == 0
    assert documents(run) == before
    assert run_command(["doctor", str(run), "--verify"]) == 0


def test_a_flipped_bit_in_the_journal_is_found(run: Path, command: list[str], capfd) -> None:
    before = documents(run)
    segment = next((run / "journal").glob("seg-*.jsonl"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 3] ^= 4
    segment.write_bytes(data)
    assert run_command(["doctor", str(run), "--verify"]) == 6
    lines = said(capfd)[1:]
    assert any(line.startswith(f"damage: journal/{segment.name}: ") for line in lines)
    assert "that the next resume mends" in lines[-1]
    assert documents(run) == before
    (run / "json/005.png.json").unlink()  # can no longer be rebuilt, which must be said
    assert run_command([*[flag for flag in command if flag != "--quiet"], "--resume", "photos"]) == 0
    assert "1 JSON files cannot be rebuilt: the journal is damaged" in capfd.readouterr().err


def test_a_damaged_manifest(run: Path, capfd) -> None:
    path = run / "manifest-0.jsonl"
    path.write_bytes(path.read_bytes().replace(b"003.png", b"003.pnf"))
    assert run_command(["doctor", str(run), "--verify"]) == 6
    assert any(line.startswith("damage: manifest: manifest-0.jsonl: expected crc32") for line in said(capfd))
    path.write_bytes(path.read_bytes()[:-40])
    assert run_command(["doctor", str(run), "--verify"]) == 6
    err = capfd.readouterr().err
    assert "manifest is damaged" in err
    assert "Traceback" not in err


def test_a_run_without_json_files_misses_none(command: list[str], tmp_path: Path, capfd) -> None:
    assert run_command([*command, "--no-image-json"]) == 0
    run = tmp_path / "runs/photos"
    assert json.loads((run / "run.json").read_bytes())["image_json"] is False
    assert not (run / "json").exists()
    assert len((run / "results.jsonl").read_bytes().splitlines()) == 6
    assert run_command(["doctor", str(run), "--verify"]) == 0
    assert said(capfd)[1:] == ["nothing is wrong"]


def test_json_that_was_deleted_altogether_is_missed(run: Path, capfd) -> None:
    for path in (run / "json").iterdir():
        path.unlink()
    (run / "json").rmdir()
    assert run_command(["doctor", str(run), "--verify"]) == 0
    assert said(capfd)[-1] == "0 damaged, 6 that the next resume mends"


def test_failures_are_counted(command: list[str], tmp_path: Path, capfd) -> None:
    (tmp_path / "photos/bad.png").write_bytes(b"no picture")
    assert run_command(command) == 7
    assert run_command(["doctor", str(tmp_path / "runs/photos")]) == 0
    assert said(capfd) == [f"{tmp_path}/runs/photos: 7 of 7 images are done, 1 of them failed"]
