"""What it costs that nothing is lost: supervisor, journal and JSON files against the bare pipeline.

BOXMILL_ASSETS=... python bench/end_to_end.py    # once: makes the photos and the network
python bench/overhead.py [--rounds 5] [--write]

Bare is the same loop over the same photos in one process with a store that keeps nothing. Both are processes of their
own, interleaved, timed from the first photo to the last result; loading is not timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

from results import environment, write_section

from boxmill.api import make_postprocessor, make_runtime, resolve_model, worker_count
from boxmill.engine import Job, Run, keep_freed_memory, prove
from boxmill.images import configure_opencv
from boxmill.mill import Mill
from boxmill.settings import RunSettings, available_cpus, settings
from boxmill.sources import list_source
from boxmill.types import Outcome

WORK = Path(__file__).resolve().parent.parent / ".bench"
TARGET = 0.03  # of the bare pipeline
BUSY = 1.2  # wall over CPU time / cores; about 1.1 on a machine that does nothing else
Sample = dict[str, float]  # seconds


class Forgetful:
    """A store that keeps nothing."""

    def add(self, outcome: Outcome) -> None:
        """Nothing."""


def bare(chosen: RunSettings) -> Sample:
    """The pipeline as `boxmill.worker` sets it up, without anything to keep results or to watch it."""
    configure_opencv()
    keep_freed_memory()
    resolution, listing = resolve_model(chosen.model), list_source(chosen.source)
    workers = worker_count(chosen, len(listing))
    runtime = make_runtime(chosen, resolution, workers)
    postprocessor, network = make_postprocessor(chosen, resolution.spec), (384, 640)  # 1920x1080 in a rectangle
    prove(runtime, postprocessor, network)
    job = Job(
        items=listing,
        total=len(listing),
        runtime=runtime,
        postprocessor=postprocessor,
        store=Forgetful(),
        rect=resolution.rect,
        workers=workers,
        warm_up=network,
    )
    run = Run(job)
    run.warm_up()
    table = run.execute()
    return {"wall": table.wall, "cpu": table.cpu, "images": len(listing)}


def full(chosen: RunSettings) -> Sample:
    """`boxmill run` without its command line: a worker process and its supervisor, which is this one."""
    mill = Mill(chosen)
    start = process_time()
    ending = mill.work(lambda progress: None)
    supervisor = process_time() - start
    start = process_time()
    summary = mill.finish(ending)
    finish = process_time() - start
    mill.close()
    write, images = summary["stages"]["write"], summary["processed"]
    return {
        "wall": summary["wall"],
        "cpu": summary["cpu"] + supervisor,
        "images": images,
        "supervisor": supervisor,
        "write": write,
        "finish": finish,
    }


PROGRAMS: dict[str, Callable[[RunSettings], Sample]] = {"bare": bare, "full": full}


def sample(program: str, project: str) -> Sample:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--program", program, "--project", project]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    result: Sample = json.loads(done.stdout.splitlines()[-1])
    return result


def race(rounds: int) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory(dir=WORK) as scratch:
        for number in range(rounds):
            for name in sorted(PROGRAMS, reverse=bool(number % 2)):
                samples[name].append(sample(name, scratch))
                print(f"round {number + 1}/{rounds} {name}: {samples[name][-1]}", file=sys.stderr)
    return samples


def report(samples: dict[str, list[Sample]]) -> str:
    def median(name: str, key: str) -> float:
        """Milliseconds an image."""
        return statistics.median(one[key] / one["images"] for one in samples[name]) * 1e3

    rounds, lines = len(samples["full"]), []
    busy = median("bare", "wall") / median("bare", "cpu") * available_cpus()
    for key, what in (("cpu", "CPU time"), ("wall", "wall time")):
        values = {name: [one[key] / one["images"] * 1e3 for one in runs] for name, runs in samples.items()}
        share = median("full", key) / median("bare", key) - 1
        pairs = [f / b - 1 for f, b in zip(values["full"], values["bare"], strict=True)]
        verdict = "met" if share <= TARGET else "MISSED"
        if key == "wall" and busy > BUSY:
            verdict = f"NOT JUDGED, other processes took the machine: wall is {busy:.1f} times CPU time / cores"
        lines.append(
            f"- {what}: {share:+.1%} (target at most {TARGET:.0%}: {verdict}); "
            f"{median('full', key):.2f} against {median('bare', key):.2f} ms/image, medians of {rounds}; "
            f"round by round {min(pairs):+.1%} to {max(pairs):+.1%}, median {statistics.median(pairs):+.1%}"
        )
    lines.append(
        f"- Measured where it happens, ms/image: {median('full', 'write'):.2f} for JSON and hand-over to the journal, "
        f"{median('full', 'supervisor'):.2f} CPU time of the supervisor with the start of its worker; once at the end "
        f"{statistics.median(one['finish'] for one in samples['full']) * 1e3:.0f} ms for the summary"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="refresh the section of bench/RESULTS.md")
    parser.add_argument("--program", choices=PROGRAMS, help="run one of them once, and print its sample")
    parser.add_argument("--project", default=str(WORK / "runs"), help="for --program")
    options = parser.parse_args()
    weights, photos = WORK / "models/yolov8n-dynamic.onnx", WORK / "photos100"
    if not weights.exists() or not photos.exists():
        raise SystemExit("expected photos and network of bench/end_to_end.py in .bench; run that first")
    if options.program:
        chosen = settings(str(photos), {"weights": weights, "project": Path(options.project), "fresh": True})
        print(json.dumps(PROGRAMS[options.program](chosen)))
        return
    body = report(race(options.rounds))
    print(body)
    if options.write:
        intro = "100 JPEGs of 1920x1080 and the network of the end-to-end section."
        write_section("overhead", f"## What keeping costs\n\n{intro}\n\n{body}\n\n{environment()}")


if __name__ == "__main__":
    main()
