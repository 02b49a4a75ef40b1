"""Inputs that end their process: each fails alone, with the right code, and nobody else's result changes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from small_runs import documents, failures, journal, png, summary, write_card, write_photos

from boxmill.engine import Ending, Progress
from boxmill.mill import WORKER, Mill
from boxmill.settings import settings

EVIL_WORKER = (sys.executable, str(Path(__file__).with_name("evil_worker.py")))
TIMEOUT = 0.8  # seconds for one image where one hangs; a good one takes a hundredth of it
MEMORY = 0.3  # GiB; a worker of the fake runtime takes a fifth of it
BOUND = 60.0  # seconds for the whole run, where a hang alone would take 1000
CAUSES = {"crash": "crashed", "hang": "timeout", "eat": "memory"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 30)


def open_mill(photos: Path, worker: tuple[str, ...] = EVIL_WORKER, **flags: Any) -> Mill:
    base = photos.parent
    given = {
        "weights": write_card(base),
        "runtime": "fake",
        "project": base / "runs",
        "workers": 3,
        "image_timeout": 30.0,
        "memory_limit": MEMORY,
    }
    return Mill(settings(str(photos), {**given, **flags}), worker)


def execute(mill: Mill, observe: Any = lambda progress: None) -> tuple[Path, Ending]:
    try:
        ending = mill.work(observe)
        mill.finish(ending)
    finally:
        mill.close()
    return mill.run.directory, ending


def undisturbed(photos: Path) -> dict[str, bytes]:
    directory, ending = execute(open_mill(photos, tuple(WORKER), name="undisturbed"))
    assert ending.restarts == 0
    return documents(directory)


def assert_only_failed(run: Path, expected: dict[str, str], reference: dict[str, bytes]) -> None:
    found = documents(run)
    assert failures(run) == expected
    assert {key: text for key, text in found.items() if key.removesuffix(".json") not in expected} == {
        key: text for key, text in reference.items() if key.removesuffix(".json") not in expected
    }
    assert all(b'"failure"' in found[f"{key}.json"] for key in expected)
    assert summary(run)["processed"] == len(reference) - len(expected)


@contextmanager
def bounded() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < BOUND


@pytest.mark.parametrize("deed", CAUSES)
def test_one_evil_input_fails_alone(photos: Path, deed: str) -> None:
    evil = f"{deed}.png"
    (photos / evil).write_bytes(png(1000))
    reference = undisturbed(photos)
    with bounded():
        run, ending = execute(open_mill(photos, image_timeout=TIMEOUT if deed == "hang" else 30.0))
    cause = CAUSES[deed]
    assert_only_failed(run, {evil: cause}, reference)
    # once in company, then three times alone; a fifth worker does the rest, unless the company finished it meanwhile
    assert ending.deaths == summary(run)["deaths"] == {cause: 4}
    assert ending.restarts == summary(run)["restarts"]
    assert ending.restarts in (3, 4)
    attempts = [(record["key"], record["attempt"], record["cause"]) for record in journal(run) if "cause" in record]
    assert attempts == [(evil, 1, cause), (evil, 2, cause), (evil, 3, cause)]


@pytest.mark.parametrize("deed", CAUSES)
def test_an_evil_input_that_comes_first_fails_alone(tmp_path: Path, deed: str) -> None:
    """It is what the rehearsal takes, before the worker is ready."""
    photos, evil = tmp_path / "photos", f"{deed}.png"
    photos.mkdir()
    for name in (evil, "x1.png", "x2.png", "x3.png"):
        (photos / name).write_bytes(png(len(name)))
    reference = undisturbed(photos)
    with bounded():
        run, ending = execute(open_mill(photos, image_timeout=TIMEOUT if deed == "hang" else 30.0))
    assert_only_failed(run, {evil: CAUSES[deed]}, reference)
    assert ending.deaths == {CAUSES[deed]: 4}


def test_two_evil_inputs_next_to_each_other(photos: Path) -> None:
    for evil in ("crash.png", "hang.png"):
        (photos / evil).write_bytes(png(1000))
    reference = undisturbed(photos)
    with bounded():
        run, ending = execute(open_mill(photos, image_timeout=TIMEOUT))
    assert_only_failed(run, {"crash.png": "crashed", "hang.png": "timeout"}, reference)
    assert ending.restarts == sum(ending.deaths.values())
    assert ending.deaths["timeout"] >= 3
    assert ending.deaths["crashed"] >= 3


def test_nothing_but_evil_inputs(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        (photos / f"crash{number}.png").write_bytes(png(number))
    with bounded():
        run, ending = execute(open_mill(photos))
    assert failures(run) == {f"crash{number}.png": "crashed" for number in range(2)}
    assert ending.deaths == {"crashed": ending.restarts + 1}  # nothing is left for another worker


def worker_pid() -> int | None:
    """The process that this one has started as a worker, from /proc."""
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            with suppress(OSError):
                if EVIL_WORKER[1].encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
    return None


def test_a_worker_killed_from_outside_blames_nobody(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(9):
        (photos / f"slow{number:02}.png").write_bytes(png(number))
    reference = undisturbed(photos)
    mill = open_mill(photos)
    seen: dict[int, int] = {}  # pid -> when a result had last been written before it
    killed: list[int] = []

    def kill_three_at_work(progress: Progress) -> None:
        pid = worker_pid()
        written = [path.stat().st_mtime_ns for path in (mill.run.directory / "json").glob("*.json")]
        if pid is not None and pid not in killed and len(killed) < 3:
            latest = max(written, default=0)
            if latest > seen.setdefault(pid, latest):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    run, ending = execute(mill, kill_three_at_work)
    assert len(killed) == 3
    assert ending.deaths == {"crashed": 3}
    assert ending.restarts == 3
    assert failures(run) == {}
    assert documents(run) == reference
    assert summary(run)["status"] == "finished"


def test_deaths_alone_are_remembered_when_the_run_is_interrupted(photos: Path) -> None:
    """A crash three times alone is three times, however many starts of the run they are spread over."""
    (photos / "crash.png").write_bytes(png(1000))
    reference = undisturbed(photos)
    for start in (1, 2):
        mill = open_mill(photos)
        assert mill.run.resumed == (start == 2)

        def stop_after_a_death_alone(progress: Progress, mill: Mill = mill, wanted: int = start) -> None:
            if sum("cause" in record for record in journal(mill.run.directory)) >= wanted:
                mill.stop()
                mill.stop()

        run, ending = execute(mill, stop_after_a_death_alone)
        assert ending.interrupted
        assert summary(run)["status"] == "interrupted"
        assert [record["attempt"] for record in journal(run) if "cause" in record] == list(range(1, start + 1))
    again, ending = execute(open_mill(photos))
    assert again == run
    assert ending.deaths == {"crashed": 1}  # the third, at once: it is alone in the first worker already
    assert_only_failed(run, {"crash.png": "crashed"}, reference)
    counted = [record["key"] for record in journal(run) if record["status"] != "attempt"]
    assert len(counted) == len(set(counted)) == 31
