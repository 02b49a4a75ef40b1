"""A million inputs through the real command: memory of every process, and how long a resume of finished ones takes.

python bench/scale.py [--inputs 1000000] [--only memory|resume] [--rounds 5] [--folder .bench] [--write]

The inputs are hard links to small PNGs and the network is the fake one, so what is measured is everything around a
network. A million inputs take 3 GB and some ten minutes; everything is removed at the end.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from results import environment, write_section
from store import OBJECTS, forget_pages, outcome

from boxmill.mill import Mill
from boxmill.settings import settings
from boxmill.store import Entry, Journal, Manifest
from boxmill.store.records import encode
from boxmill.types import Outcome

LINKS = 10_000  # inputs of one inode; ext4 allows 65,000
WARM_UP = 0.1  # of the inputs, before memory has to stay level
MiB = 2**20
TARGET_SLOPE = 10.0  # MB per million inputs
TARGET_LISTING = 150.0  # bytes an input
TARGET_RESUME = 5.0  # seconds
CARD = """
version: 1
input: {size: [32, 32], color: RGB, scale: 0.00392156862745098, resize: letterbox}
head: {type: yolo, boxes: pixels, strides: [32]}
labels: [cat, dog, cow]
"""


def make_tree(folder: Path, total: int) -> None:
    """`total` inputs, one half in a single folder, the other in folders of LINKS; every LINKS are one picture."""
    for first in range(0, total, LINKS):
        part = folder / ("flat" if first < total // 2 else f"part_{first // LINKS:03}")
        part.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(first).integers(0, 256, (24, 32, 3), np.uint8)
        names = [f"{part}/photo_{index:07}.png" for index in range(first, min(first + LINKS, total))]
        Path(names[0]).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        for name in names[1:]:
            Path(name).hardlink_to(names[0])


def command(work: Path, *options: str) -> list[str]:
    program = [sys.executable, "-c", "import sys; from boxmill.cli import main; sys.exit(main())", "run"]
    flags = ["--runtime", "fake", "--weights", f"{work}/card.yaml", "--project", f"{work}/runs", "--no-image-json"]
    return [*program, f"{work}/tree", *flags, *options]


@dataclass
class Memory:
    """Resident bytes of one process over time."""

    times: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    peak: int = 0  # as the kernel knows it

    def sample(self, pid: int) -> None:
        """Adds how it stands now; nothing where the process has ended."""
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE)}
        if sizes:  # not a zombie
            self.times.append(time.perf_counter())
            self.resident.append(sizes["VmRSS"])
            self.peak = max(self.peak, sizes["VmHWM"])


def children(pid: int) -> dict[int, str]:
    """The processes that `pid` has started, by what they are: the worker, or the fork that lists."""
    found = {}
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            line = Path(f"/proc/{child}/cmdline").read_bytes()
            found[int(child)] = "worker" if b"boxmill.worker" in line else "lister"
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


class Observed:
    """One command, its processes' memory, and how many inputs it said were done at what time."""

    def __init__(self, line: list[str]) -> None:
        self.memory = {name: Memory() for name in ("supervisor", "worker", "lister")}
        self.done: list[tuple[float, int]] = []
        self.output: list[str] = []
        start = time.perf_counter()
        self._process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        while self._process.poll() is None:
            self._sample()
            time.sleep(1.0 if self.memory["worker"].times else 0.02)  # the lister's first moment is its base
        reader.join()
        self.seconds = time.perf_counter() - start
        if self._process.returncode:
            raise SystemExit(f"ended with {self._process.returncode}: {''.join(self.output)[-2000:]}")

    def _sample(self) -> None:
        pid = self._process.pid
        self.memory["supervisor"].sample(pid)
        for child, name in children(pid).items():
            self.memory[name].sample(child)

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.output.append(line)
            if match := re.match(r"(\d+)/\d+ ", line):
                self.done.append((time.perf_counter(), int(match[1])))

    def slope(self, name: str, total: int) -> tuple[float, float]:
        """MB per million inputs after warm-up, by least squares, and the MB between the lowest and the highest."""
        times, done = np.array([(self.memory["worker"].times[0], 0), *self.done]).T
        samples = np.array(self.memory[name].times)
        inputs = np.interp(samples, times, done)
        level = (inputs > WARM_UP * total) & (samples < times[-1])
        if np.count_nonzero(level) < 3:
            raise SystemExit("expected three samples after warm-up; give more --inputs")
        resident = np.array(self.memory[name].resident)[level] / 1e6
        return float(np.polyfit(inputs[level] / 1e6, resident, 1)[0]), float(np.ptp(resident))


def measure_memory(work: Path, total: int) -> list[str]:
    seen = Observed(command(work, "--name", "memory"))
    print("".join(seen.output), file=sys.stderr)
    return [*(_level_line(seen, name, total) for name in ("supervisor", "worker")), *_lister_lines(seen, total)]


def _level_line(seen: Observed, name: str, total: int) -> str:
    slope, spread = seen.slope(name, total)
    return (
        f"- Memory of the {name}: slope {slope:+.2f} MB per million inputs after the first {WARM_UP:.0%} (target below "
        f"{TARGET_SLOPE:g}: {_met(slope < TARGET_SLOPE)}; lowest to highest {spread:.1f} MB), "
        f"peak {seen.memory[name].peak / MiB:.0f} MiB"
    )


def _lister_lines(seen: Observed, total: int) -> list[str]:
    lister, worker, supervisor = (seen.memory[name] for name in ("lister", "worker", "supervisor"))
    each = (lister.peak - lister.resident[0]) / total
    began, (ended, done) = worker.times[0], seen.done[-1]
    at_work = [size for at, size in zip(supervisor.times, supervisor.resident, strict=True) if at < ended]
    return [
        f"- Memory of the process that lists: {each:.0f} bytes an input over the {lister.resident[0] / MiB:.0f} MiB it "
        f"began with (target at most {TARGET_LISTING:g}: {_met(each <= TARGET_LISTING)}); it ended after "
        f"{lister.times[-1] - lister.times[0]:.1f} s, before the worker began: {_yes(lister.times[-1] < began)}",
        f"- {total:,} inputs in {seen.seconds:.0f} s from start to exit, {done / (ended - began):,.0f} images/s; "
        f"summing up at the end took {(supervisor.peak - at_work[-1]) / 1e6:.1f} MB more in the supervisor",
    ]


def write_finished(work: Path, total: int) -> None:
    """A run whose journal has OBJECTS objects for every input; the first resume adds results.jsonl and the summary."""
    flags = {"weights": work / "card.yaml", "runtime": "fake", "project": work / "runs", "name": "finished"}
    mill = Mill(settings(f"{work}/tree", flags))
    directory = mill.run.directory
    mill.close()
    template = outcome(0)
    found = template.result
    found = type(found)(found.boxes, found.scores, found.classes % 3, found.indices)
    line = encode(Outcome("", 0, found, template.size, template.times))
    body = line[line.index(b',"status"') :]
    journal = Journal(directory, 1, 1)
    entries: list[Entry] = []
    for one in Manifest(directory):
        entry = b'{"v":1,"i":%d,"key":"%b"%b' % (one.index, one.key.encode(), body)
        entries.append(Entry(entry, Outcome(one.key, one.index, found, template.size)))
        if len(entries) == 4096 or one.index == total - 1:
            journal.commit(entries)
            entries.clear()
    journal.close()


def measure_resume(work: Path, total: int, rounds: int) -> list[str]:
    write_finished(work, total)
    resume = command(work, "--resume", "finished", "--quiet")
    first = _seconds(resume)
    warm, cold = [], []
    for _ in range(rounds):
        warm.append(_seconds(resume))
        forget_pages(work / "runs")
        cold.append(_seconds(resume))
    seconds = statistics.median(warm)
    return [
        f"- `boxmill run --resume` of {total:,} finished inputs, {OBJECTS} objects each, start to exit: "
        f"{seconds:.2f} s warm ({min(warm):.2f} to {max(warm):.2f}; target {TARGET_RESUME:g}: "
        f"{_met(seconds < TARGET_RESUME)}), {statistics.median(cold):.2f} s with the run's files out of the "
        f"page cache; median of {rounds}",
        f"  - {first:.0f} s where results.jsonl has to be made first",
    ]


def _seconds(line: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _met(condition: bool) -> str:
    return "met" if condition else "MISSED"


def _yes(condition: bool) -> str:
    return "yes" if condition else "NO"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("memory", "resume"), help="one half")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent.parent / ".bench")
    parser.add_argument("--write", action="store_true", help="refresh the section of bench/RESULTS.md")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="scale-", dir=options.folder))
    try:
        (work / "card.yaml").write_text(CARD)
        make_tree(work / "tree", options.inputs)
        lines = [] if options.only == "resume" else measure_memory(work, options.inputs)
        lines += [] if options.only == "memory" else measure_resume(work, options.inputs, options.rounds)
    finally:
        shutil.rmtree(work)
    body = "\n".join(lines)
    print(body)
    if options.write:
        write_section("scale", f"## Scale\n\n{body}\n\n{environment(('numpy', 'msgspec', 'opencv-python-headless'))}")


if __name__ == "__main__":
    main()
