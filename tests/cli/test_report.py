"""`boxmill report` as people type it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import boxmill, write_photos

from boxmill.cli import run_command
from boxmill.store import RunLock


@pytest.fixture
def run(photos: Path, fake: list[str], runs: Path) -> Path:
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run_command(["run", str(photos), *fake, "--quiet", "--allow-failed", "1"]) == 0
    return runs / "photos"


def test_a_run_gets_its_page(run: Path, photos: Path) -> None:
    write_photos(photos, 2, 100)  # not of the run
    process = boxmill("report", run)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, f"{run}/report.html\n")
    assert err.endswith("0.1 MB, 7 images\n")
    text = (run / "report.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 6
    for section in ("times", "throughput", "scores", "classes", "failures", "run", "gallery"):
        assert f'<section id="{section}">' in text
    assert "unexplained" in text
    assert "written by an older version" not in text


def test_options(run: Path, photos: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out = tmp_path / "报告.html"
    assert run_command(["report", str(run), "-o", str(out), "--lang", "zh", "--images", "0"]) == 0
    assert capsysbinary.readouterr().out == f"{out}\n".encode()
    text = out.read_text(encoding="utf-8")
    assert "时间花在哪里" in text
    assert "Where the time went" not in text
    assert "data:image" not in text.replace("data:image/jpeg;base64,", "data:image") or "<image" not in text
    photos.rename(tmp_path / "moved")
    assert run_command(["report", str(run)]) == 0
    assert b"6 of them without their picture (see --source)" in capsysbinary.readouterr().err
    assert run_command(["report", str(run), "--source", str(tmp_path / "moved"), "--quiet"]) == 0
    assert capsysbinary.readouterr() == (b"", b"")


def test_what_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(tmp_path / "nothing")]) == 2
    assert "no run" in capsys.readouterr().err
    assert run_command(["report", str(run), "--images", "-1"]) == 2
    assert run_command(["report", str(run), "--lang", "fr"]) == 2
    assert "boxmill report --help" in capsys.readouterr().err
    lock = RunLock(run)
    assert run_command(["report", str(run)]) == 2
    lock.close()
    assert run_command(["report", str(run), "--output", str(tmp_path / "no/where.html")]) == 6
    assert "no/where.html" in capsys.readouterr().err
