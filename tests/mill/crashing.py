"""Runs that are killed at random moments: photos, processes, kills, and an own reading of the journal.

Linux only: processes are found in /proc. What must hold afterwards is in `crash_checks`.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

THREADS = 4  # images under way at the same time
PATIENCE = 120.0  # seconds for what takes a few
KILLS_A_RUN = 7  # then it may end undisturbed
TARGETS = ("worker", "supervisor", "both")

CARD = """
version: 1
input: {size: [64, 64], color: RGB, scale: 0.00392156862745098, resize: letterbox}
head: {type: yolo, boxes: pixels}
labels: [cat, dog, cow]
"""

_FRAME = re.compile(rb"F (\d+) ([0-9a-f]{8})\n")


def make_photos(folder: Path, count: int, seed: int) -> None:
    """Small JPEG and PNG files of many sizes; one in 25 is empty, cut off, or no image at all."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        height, width = rng.integers(24, 160, 2)
        pixels = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (int(width), int(height)))
        suffix = ".png" if index % 5 == 0 else ".jpg"
        data = cv2.imencode(suffix, pixels)[1].tobytes()
        if index % 25 == 7:
            data = (b"", data[: len(data) // 2], b"this is no image")[index // 25 % 3]
        path = folder / f"day{index % 4}" / f"{index:04}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the journal held at a time."""

    time: int  # nanoseconds of the monotonic clock, after it was read
    lines: dict[int, bytes]  # the result of each input that had one


def journal_lines(directory: Path) -> list[bytes]:
    """Every record in the whole frames of every segment, without the product's own reader."""
    while True:
        try:
            return [line for path in sorted((directory / "journal").glob("*")) for line in _whole(path.read_bytes())]
        except FileNotFoundError:  # sealed, so renamed, in this moment
            continue


def _whole(data: bytes) -> list[bytes]:
    lines: list[bytes] = []
    while header := _FRAME.match(data):
        payload, rest = data[header.end() :][: int(header[1])], data[header.end() + int(header[1]) :]
        if len(payload) < int(header[1]) or zlib.crc32(payload) != int(header[2], 16):
            break
        lines += [] if payload.startswith(b'{"footer":') else payload.splitlines()
        data = rest
    return lines


@dataclass(frozen=True, slots=True)
class Decoding:
    """A line of the workers' log."""

    pid: int
    time: int
    key: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What is run."""

    photos: Path
    total: int
    flags: tuple[str, ...]  # runtime, weights, card
    decoding: float  # milliseconds that a decoding takes at least, so that there is time to kill

    @classmethod
    def fake(cls, folder: Path, total: int, seed: int, decoding: float) -> Scene:
        """Photos for the fake runtime."""
        make_photos(folder / "photos", total, seed)
        card = folder / "fake.yaml"
        card.write_text(CARD)
        return cls(folder / "photos", total, ("--runtime", "fake", "--weights", str(card)), decoding)


class Trial:
    """One run, started as often as need be by the same command."""

    def __init__(self, scene: Scene, folder: Path, name: str | None = None) -> None:
        """`name`: of exactly the run's folder (--exist-ok); None: as the command chooses."""
        self.scene, self.folder = scene, folder
        self.log = folder / "decodings.log"
        self.output = folder / "output.log"
        self._named = () if name is None else ("--name", name, "--exist-ok")
        folder.mkdir(parents=True)

    def start(self) -> subprocess.Popen[bytes]:
        """The command."""
        script = Path(__file__).with_name("crash_process.py")
        process = [sys.executable, str(script), str(self.log), str(self.scene.decoding)]
        flags = [*self.scene.flags, "--workers", str(THREADS), "--project", str(self.folder / "runs"), *self._named]
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [*process, "run", str(self.scene.photos), *flags],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )

    def run(self) -> int:
        """Undisturbed to its end; returns the exit code."""
        return self.start().wait(PATIENCE)

    @property
    def directory(self) -> Path | None:
        """The run's folder; None before there is a run."""
        found = [path.parent for path in (self.folder / "runs").glob("*/run.json")]
        assert len(found) <= 1, f"one command has begun several runs: {found}"
        return found[0] if found else None

    def snapshot(self) -> Snapshot:
        """What is journalled now."""
        directory = self.directory
        results = {}
        for line in journal_lines(directory) if directory else ():
            record = json.loads(line)
            if record["status"] != "attempt":
                results[record["i"]] = line
        return Snapshot(time.monotonic_ns(), results)

    def finished(self) -> bool:
        """Whether the summary says so; then the same command would begin a new run."""
        path = self.directory and self.directory / "summary.json"
        return bool(path and path.is_file() and json.loads(path.read_bytes())["status"] == "finished")

    def decodings(self) -> list[Decoding]:
        """All that were begun, in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        rows = [line.split(" ", 2) for line in lines]
        return [Decoding(int(pid), int(when), key) for pid, when, key in rows]

    def tail(self) -> str:
        """What the command printed last."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-12:])


def worker_of(supervisor: int) -> int | None:
    """The process id of its worker, if it has one now; its other children list sources."""
    for task in Path(f"/proc/{supervisor}/task").glob("*/children"):
        for pid in task.read_text().split():
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"worker" in arguments[4:5]:
                return int(pid)
    return None


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(slots=True)
class Kill:
    """One kill and where it landed."""

    target: str
    worker: int | None  # pid of the worker that died of it
    after: Snapshot  # when all were dead
    landed: str


def kill(trial: Trial, supervisor: subprocess.Popen[bytes], target: str) -> Kill:
    """SIGKILL to the target, or to the supervisor where there is no worker now; returns when the dead are dead."""
    worker = worker_of(supervisor.pid)
    if worker is None:
        target = "supervisor"
    if target != "supervisor" and worker is not None:
        os.kill(worker, signal.SIGKILL)
    if target != "worker":
        supervisor.kill()
        supervisor.wait(PATIENCE)
    deadline = time.monotonic() + 10
    while worker is not None and alive(worker):
        assert time.monotonic() < deadline, f"worker {worker} outlives its supervisor"
        time.sleep(0.005)
    after = trial.snapshot()
    done = len(after.lines)
    landed = "before" if done == 0 else "after" if done == trial.scene.total else "between"
    return Kill(target, worker, after, landed)


@dataclass(slots=True)
class Ordeal:
    """A trial's story."""

    trial: Trial
    kills: list[Kill] = field(default_factory=list)
    code: int | None = None  # exit code of the process that was left in peace; None: killed behind the summary


class Killer:
    """Kills runs until it has killed often enough.

    The moments are uniform over the time that a process is expected to take from its start, or from the last kill, to
    its end. Once a sixth of the kills has missed the time from the first to the last frame, the rest is aimed there.
    """

    def __init__(self, kills: int, seed: int, wall: float) -> None:
        """`wall`: seconds that the undisturbed run took."""
        self.left, self._misses_left = kills, kills // 6
        self._rng = random.Random(seed)
        self._wall = wall

    def torment(self, trial: Trial) -> Ordeal:
        """Kills a trial's processes and starts it again until the run has ended, or the command fails."""
        ordeal = Ordeal(trial)
        supervisor = trial.start()
        try:
            while ordeal.code is None:
                if self.left == 0 or len(ordeal.kills) >= KILLS_A_RUN:
                    ordeal.code = supervisor.wait(PATIENCE)
                elif not self._wait(trial, supervisor):
                    ordeal.code = supervisor.poll()
                else:
                    self._note(ordeal, kill(trial, supervisor, self._rng.choice(TARGETS)))
                    if supervisor.returncode is not None:
                        if trial.finished():
                            break
                        supervisor = trial.start()
        finally:
            supervisor.kill()
            supervisor.wait(PATIENCE)
        return ordeal

    def _wait(self, trial: Trial, supervisor: subprocess.Popen[bytes]) -> bool:
        """Until a random moment; returns whether there still is something to kill."""
        done = len(trial.snapshot().lines)
        while self._misses_left <= 0 and done == 0 and supervisor.poll() is None:
            time.sleep(0.01)
            done = len(trial.snapshot().lines)
        share = 0.4 + 0.6 * (1 - done / trial.scene.total)  # starting and summing up take about 0.4 of a run
        try:
            supervisor.wait(self._rng.uniform(0, self._wall * share))
        except subprocess.TimeoutExpired:
            return self._misses_left > 0 or len(trial.snapshot().lines) < trial.scene.total
        return False

    def _note(self, ordeal: Ordeal, one: Kill) -> None:
        ordeal.kills.append(one)
        self.left -= 1
        self._misses_left -= one.landed != "between"
