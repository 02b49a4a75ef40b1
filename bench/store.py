"""How fast outcomes become durable, and how long a resume looks at what is finished.

python bench/store.py [--rounds 5] [--outcomes 20000] [--inputs 1000000] [--folder .bench] [--write]

`--folder` decides which disk is measured; a million inputs take 1.3 GB there, removed at the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from results import environment, write_section

from boxmill.store import Entry, Journal, JournalWriter, JsonFiles, NewInput, write_manifest
from boxmill.store.durable import write_file
from boxmill.store.records import decode, encode
from boxmill.types import Detections, Outcome

OBJECTS = 15
THREADS = 2
TARGET_RATE = 5000  # durable outcomes/s
TARGET_RESUME = 5.0  # seconds for a million finished inputs, warm

RESUME = """
import sys, time
start = time.perf_counter()
from boxmill.store import Manifest, RunLock, load, next_epoch, recover
imported = time.perf_counter()
directory = sys.argv[1]
with RunLock(directory):
    next_epoch(directory)
    recover(directory)
    manifest = Manifest(directory)
    states = load(directory, manifest.total)
    left = sum(1 for _ in manifest.open_inputs(states.status))
    tally = states.tally()
seconds = time.perf_counter() - imported
assert (left, tally.processed, states.damage) == (0, manifest.total, []), (left, tally.processed, states.damage)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024
print(seconds, imported - start, peak)
"""


def outcome(index: int) -> Outcome:
    random = np.random.default_rng(index)
    boxes = random.random((OBJECTS, 4), np.float32) * np.float32(1920)
    classes, anchors = random.integers(0, 80, OBJECTS), random.integers(0, 8400, OBJECTS)
    found = Detections(boxes, random.random(OBJECTS, np.float32), classes.astype(np.int32), anchors.astype(np.int32))
    times = {"read": 0.123, "decode": 7.412, "preprocess": 1.153, "model": 18.212, "postprocess": 0.104}
    return Outcome(f"folder/photo_{index:07}.jpg", index, found, (1920, 1080), times)


def journal_rate(folder: Path, outcomes: list[Outcome]) -> float:
    """Outcomes/s from the first `add` to the end of `close`, every one of them synchronised."""
    kept: list[int] = []
    writer = JournalWriter(folder, 1, 1, kept.append)

    def work(first: int) -> None:
        for one in outcomes[first::THREADS]:
            writer.add(one)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    seconds = time.perf_counter() - start
    assert sum(kept) == len(outcomes)
    return len(outcomes) / seconds


def file_rate(folder: Path, outcomes: list[Outcome]) -> float:
    """Images/s with one synchronised file each: what the journal replaces."""
    start = time.perf_counter()
    for one in outcomes:
        write_file(folder / f"{one.index}.json", encode(one), durable=True)
    return len(outcomes) / (time.perf_counter() - start)


def json_rate(folder: Path, outcomes: list[Outcome]) -> float:
    """Per-image JSON files/s, written and renamed only."""
    files = JsonFiles(folder, [f"class {number}" for number in range(80)])
    start = time.perf_counter()
    for one in outcomes:
        files.write(one)
    return len(outcomes) / (time.perf_counter() - start)


def measure_writing(folder: Path, rounds: int, count: int) -> list[str]:
    outcomes = [outcome(index) for index in range(2000)]
    many = (outcomes * (count // len(outcomes) + 1))[:count]
    rates: dict[str, list[float]] = {"journal": [], "file": [], "json": [], "encode": [], "decode": []}
    lines = [encode(one) for one in outcomes]
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            rates["journal"].append(journal_rate(Path(scratch), many))
            rates["file"].append(file_rate(Path(scratch), outcomes[:50]))
            rates["json"].append(json_rate(Path(scratch), outcomes[:1000]))
        for name, work in (
            ("encode", lambda: [encode(one) for one in outcomes]),
            ("decode", lambda: [*map(decode, lines)]),
        ):
            start = time.perf_counter()
            work()
            rates[name].append(len(outcomes) / (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in rates.items()}
    low, high = min(rates["journal"]), max(rates["journal"])
    return [
        f"- Durable outcomes, {OBJECTS} objects each, {THREADS} threads: {median['journal']:,.0f}/s ({low:,.0f} to "
        f"{high:,.0f} in {rounds} rounds; target {TARGET_RATE:,}: {_met(median['journal'] >= TARGET_RATE)}), "
        f"{1e6 / median['journal']:.0f} us each, {statistics.mean(map(len, lines)):.0f} bytes each",
        f"- One synchronised file for each image instead: {median['file']:,.0f}/s, {_ratio(median)} times slower",
        f"- One thread alone: encode {1e6 / median['encode']:.0f} us, decode {1e6 / median['decode']:.0f} us; "
        f"per-image JSON (document, write, rename) {1e6 / median['json']:.0f} us",
    ]


def _met(condition: bool) -> str:
    return "met" if condition else "missed"


def _ratio(median: dict[str, float]) -> str:
    return f"{median['journal'] / median['file']:.0f}"


def write_run(directory: Path, total: int) -> None:
    """A finished run, written in large frames: only its bytes matter here."""
    template = outcome(0)
    line = encode(template)
    body = line[line.index(b',"status"') :]
    write_manifest(directory / "manifest-0.jsonl", b"/photos", _inputs(total))
    journal = Journal(directory, 1, 1)
    for first in range(0, total, 4096):
        indices = range(first, min(first + 4096, total))
        journal.commit(
            [
                Entry(
                    b'{"v":1,"i":%d,"key":"folder/photo_%07d.jpg"%b' % (index, index, body),
                    Outcome(template.key, index, template.result, template.size),
                )
                for index in indices
            ]
        )
    journal.close()


def _inputs(total: int) -> Iterator[NewInput]:
    return (NewInput(f"folder/photo_{index:07}.jpg", None, 345_678, 10**18 + index) for index in range(total))


def forget_pages(directory: Path) -> None:
    """Drops the files' pages from the page cache: they are clean, since all was synchronised."""
    for path in directory.rglob("*.jsonl"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resume(directory: Path) -> tuple[float, float, int]:
    """Seconds to know every state, seconds of imports, peak MiB, in a fresh process."""
    command = [sys.executable, "-c", RESUME, str(directory)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(output[0]), float(output[1]), int(output[2])


def measure_resume(folder: Path, rounds: int, total: int) -> list[str]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        directory = Path(scratch)
        write_run(directory, total)
        size = sum(path.stat().st_size for path in directory.rglob("*.jsonl"))
        resume(directory)
        warm, cold = [], []
        for _ in range(rounds):
            warm.append(resume(directory))
            forget_pages(directory)
            cold.append(resume(directory))
        first = directory / "journal" / "seg-1-1-0.jsonl"
        with first.open("r+b") as file:  # as if its writer had died: 64 MiB to scan and to seal
            file.truncate(first.stat().st_size - 1)
        first.rename(f"{first}.open")
        killed = resume(directory)
    seconds, uncached = statistics.median(one[0] for one in warm), statistics.median(one[0] for one in cold)
    return [
        f"- Resume of {total:,} finished inputs ({size / 1e9:.2f} GB): {seconds:.2f} s warm (target {TARGET_RESUME} s: "
        f"{_met(seconds < TARGET_RESUME)}), {uncached:.2f} s with the files out of the "
        f"page cache, {killed[0]:.2f} s warm with one unsealed segment of 64 MiB; median of {rounds}",
        f"  - peak memory {max(one[2] for one in warm)} MiB; imports {statistics.median(one[1] for one in warm):.2f} s",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--outcomes", type=int, default=20_000)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent.parent / ".bench")
    parser.add_argument("--write", action="store_true", help="refresh the section of bench/RESULTS.md")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    lines = measure_writing(options.folder, options.rounds, options.outcomes)
    lines += measure_resume(options.folder, options.rounds, options.inputs)
    body = "\n".join(lines)
    print(body)
    if options.write:
        write_section("store", f"## Store\n\n{body}\n\n{environment(('numpy', 'msgspec'))}")


if __name__ == "__main__":
    main()
