"""`boxmill lab` as people type it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from boxmill.cli import run_command
from boxmill.store import read_dump, walk_dumps

QUICK = ["--seconds", "0.001", "--sizes", "20", "40", "--backends", "OpenCV NMSBoxesBatched"]


def test_a_run_with_dumps_is_replayed(photos: Path, fake: list[str], runs: Path, tmp_path: Path, capfd) -> None:
    assert run_command(["run", str(photos), *fake, "--dump-heads", "--quiet"]) == 0
    assert len([read_dump(runs / "photos", path) for path in walk_dumps(runs / "photos")]) == 6
    assert run_command(["lab", str(runs / "photos"), "--conf", "0.05", *QUICK]) == 0
    out, err = capfd.readouterr()
    document = json.loads((tmp_path / "lab/lab.json").read_bytes())
    assert [scene["name"] for scene in document["scenes"]] == [f"{number:03}.png" for number in range(6)]
    assert all(scene["whole"]["median"] > 0 for scene in document["scenes"])
    assert document["stages"]["postprocess"] > 0
    assert (tmp_path / "lab/lab.md").read_text(encoding="utf-8") == out
    assert "written: lab" in err


def test_the_synthetic_scenes_need_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["lab", "--synthetic", "--out", str(tmp_path / "deep/lab"), "--json", *QUICK]) == 0
    document = json.loads(capfd.readouterr().out)
    assert json.loads((tmp_path / "deep/lab/lab.json").read_bytes()) == document
    assert [scene["name"] for scene in document["scenes"]] == ["single target", "crowd", "small targets"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_without_matplotlib_the_tables_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run_command(["lab", "--synthetic", "--out", str(tmp_path), *QUICK]) == 0
    out, err = capfd.readouterr()
    assert "pip install 'boxmill[plot]'" in out
    assert "pip install 'boxmill[plot]'" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.json", "lab.md"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "or --synthetic"),
        (["{run}", "--synthetic"], 2, "or --synthetic"),
        (["{run}"], 3, "--dump-heads"),
        (["--synthetic", "--gt", "x.json"], 2, "--gt"),
        (["--synthetic", "--sizes", "40", "20"], 2, "--sizes"),
        (["--synthetic", "--seconds", "0"], 2, "--seconds"),
        (["--synthetic", "--iou", "1.5"], 2, "--iou"),
        (["--synthetic", "--conf", "-1"], 2, "--conf"),
        (["--synthetic", "--images", "0"], 2, "--images"),
        (["--synthetic", "--backends", "powerbox"], 2, "there are: boxmill"),
        (["--synthetic", "--out", "{file}/lab"], 6, "--out"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], code: int, message: str, tmp_path: Path, capfd,
                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    places = {"run": str(tmp_path / "run"), "file": str(tmp_path / "file")}
    assert run_command(["lab", *(one.format(**places) for one in arguments)]) == code
    assert message in capfd.readouterr().err
