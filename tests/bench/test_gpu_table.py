"""The article's table on a GPU: what is asked of `boxmill compare`, and what is said where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench import gpu_table
from bench.gpu_table import Late, Table, factor_of, table, table_lines


def wanted(tmp_path: Path, **changes: Any) -> Table:
    return Table(
        **{"weights": tmp_path / "s.pt", "device": "cuda:0", "conf": 0.3, "glyphs": None, "until": 0.0, **changes}
    )


def row(letter: str, seconds: float, cpu: float, gpu: float | None, times: float) -> dict[str, Any]:
    shares = {"cpu_share": cpu, "gpu_share": gpu}
    return {"row": letter, "title": "program", "seconds_per_image": seconds, "times": {"a": times}, **shares}


DOCUMENT: dict[str, Any] = {
    "images": 867,
    "network": "s.pt",
    "rows": [row("a", 0.5, 0.1, None, 1.0), row("d", 0.005, 0.9, 0.7, 100.0)],
    "missing": [{"row": "c'", "title": "half", "reason": "no such file"}],
}


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that would have been run."""
    commands: list[tuple[str, ...]] = []

    def boxmill(until: float, *parts: str) -> str:
        commands.append(parts)
        return json.dumps(DOCUMENT) if parts[0] == "compare" else ""

    monkeypatch.setattr(gpu_table, "WORK", tmp_path)
    monkeypatch.setattr(gpu_table, "boxmill", boxmill)
    monkeypatch.delenv("BOXMILL_GLYPHS", raising=False)
    return commands


def test_scenes_are_made_and_all_programs_run_on_the_device(tmp_path: Path, said: list[tuple[str, ...]]) -> None:
    assert table(wanted(tmp_path, glyphs=tmp_path / "sheet.npz")) == DOCUMENT
    made, compared = said
    assert made[:2] == ("demo", "scenes")
    assert made[-2:] == ("--font", str(tmp_path / "sheet.npz"))
    assert compared[:2] == ("compare", made[2])
    pairs = dict(pairwise(compared))
    assert (pairs["--runtime"], pairs["--device"], pairs["--conf"]) == ("torch", "cuda:0", "0.3")


def test_a_sheet_is_found_where_it_usually_lies(
    tmp_path: Path, said: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table(wanted(tmp_path))
    assert "--font" not in said[0]
    (tmp_path / "glyphs.npz").write_bytes(b"")
    table(wanted(tmp_path))
    assert said[2][-1] == str(tmp_path / "glyphs.npz")
    monkeypatch.setenv("BOXMILL_GLYPHS", "/elsewhere.npz")
    table(wanted(tmp_path))
    assert said[4][-1] == "/elsewhere.npz"


def test_scenes_that_are_there_are_not_made_again(tmp_path: Path, said: list[tuple[str, ...]]) -> None:
    folder = tmp_path / "scenes867-1920x1080"
    folder.mkdir()
    (folder / "000000.jpg").write_bytes(b"half of them")
    table(wanted(tmp_path))
    assert list(folder.iterdir()) == []
    (folder / "ground_truth.coco.json").write_bytes(b"{}")
    table(wanted(tmp_path))
    assert [parts[0] for parts in said] == ["demo", "compare", "compare"]


def test_what_is_missing_is_said(tmp_path: Path, said: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_table, "NEEDED", ("no_such_module",))
    found = table(wanted(tmp_path))
    assert found == {"not_measured": "not installed: no_such_module"}
    assert table_lines(found)[0].endswith("not measured: not installed: no_such_module")
    assert not said


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (Late("boxmill demo"), "the time was over during boxmill demo"),
        (subprocess.CalledProcessError(4, [*"abcd", "compare"]), "boxmill compare ended with 4, see above"),
    ],
)
def test_what_stopped_it_is_said(
    tmp_path: Path, said: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, raised: Exception, text: str
) -> None:
    def boxmill(until: float, *parts: str) -> str:
        raise raised

    monkeypatch.setattr(gpu_table, "boxmill", boxmill)
    assert table(wanted(tmp_path)) == {"not_measured": text}


def test_a_command_that_takes_too_long_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setattr(gpu_table, "PATIENCE", 0.5)  # where whoever runs the tests ignores SIGINT, so does `sleep`
    began = time.monotonic()
    with pytest.raises(Late, match="boxmill compare"):
        gpu_table.boxmill(began + 0.1, "compare", "x")
    assert time.monotonic() - began < 50


def test_the_lines_have_every_program_and_what_is_wanted() -> None:
    lines = table_lines(DOCUMENT)
    assert "GPU –" in lines[1]
    assert "5.0 ms/image, CPU 90%, GPU 70%; 100.0x (a)" in lines[2]
    assert "(c') did not take part: no such file" in lines[3]
    assert lines[-1] == "  boxmill is 100.0 times (a) (wanted 11)"
    assert factor_of({"rows": DOCUMENT["rows"][:1]}) == 0.0
