"""`boxmill compare` on the first article's workload, and a run of it that is killed three times.

    PYTHONPATH=src python bench/compare.py            # prints the section
    PYTHONPATH=src python bench/compare.py --write    # and refreshes RESULTS.md
    PYTHONPATH=src python bench/compare.py --quick    # 40 scenes, one round

867 shop scenes of 1920x1080 with exact ground truth (`boxmill demo scenes`; needs the font Noto Color Emoji), the same
network in every program, rounds interleaved; about 25 minutes, on a machine that does nothing else. The comparison runs
a second time, once, with scores above .001: AP as it is published. Then the same folder again, with SIGKILL to the
worker, the supervisor and both, at a quarter, a half and three quarters of the results; what must hold of it is what
scripts/crash_test checks (tests/mill/crash_checks.py).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from judging import TRUTH, WORK
from results import environment, publish, verdict_table

from boxmill.demo.detector import shipped_detector

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/mill"))
from crash_checks import decoded_again, redone, violations
from crashing import TARGETS, Ordeal, Scene, Trial, kill

BATCHED = 3.0  # times as fast as the batched script, at least
POINTS = 0.2  # of AP that boxmill may lose to the scripts, 100 being perfect
STRICT = 0.001  # --conf of published figures
PATIENCE = 1800.0  # seconds for a run
PACKAGES = ("numpy", "opencv-python-headless", "openvino", "onnxruntime", "psutil")
Document = dict[str, Any]


def main() -> int:
    arguments = parse()
    count = 40 if arguments.quick else 867
    scenes = make_scenes(count)
    rounds = 1 if arguments.quick else arguments.rounds
    reload = 3 if arguments.quick else arguments.reload_images
    timed = compare(arguments.weights, scenes, rounds, ("--factors", "--reload-images", str(reload)))
    strict = compare(arguments.weights, scenes, 1, ("--conf", str(STRICT), "--factors", "--reload-images", "1"))
    ordeal, wrong = torment(arguments.weights, scenes, count)
    held = list(verdicts(timed, strict, ordeal, wrong))
    body = "\n".join(section(timed, strict, held))
    publish("compare", body, arguments.write)
    return 0 if all(met for _, _, met in held) or not arguments.check else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", type=Path, default=shipped_detector(), help="default: the shipped detector")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reload-images", type=int, default=20, help="that the script (a) works on")
    parser.add_argument("--quick", action="store_true", help="40 scenes, one round")
    parser.add_argument("--write", action="store_true", help="refresh RESULTS.md")
    parser.add_argument("--check", action="store_true", help="exit 1 when something does not hold")
    arguments = parser.parse_args()
    if arguments.quick and arguments.write:
        parser.error("--quick measures too little to be written; leave one out")
    arguments.weights = arguments.weights.resolve()
    return arguments


def boxmill(*parts: str | Path) -> str:
    """Standard output of a command that must end with 0; what it says meanwhile goes to the terminal."""
    command = [sys.executable, "-P", "-m", "boxmill", *map(str, parts)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def make_scenes(count: int) -> Path:
    folder = WORK / f"scenes{count}"
    if not (folder / TRUTH).exists():  # it is written last
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        boxmill("demo", "scenes", folder, "--images", str(count), "--size", "1920x1080")
    return folder


def compare(weights: Path, scenes: Path, rounds: int, flags: Sequence[str]) -> Document:
    given = ("--weights", weights, "--gt", scenes / TRUTH, "--rounds", str(rounds), "--out", WORK / "compare", "--json")
    document: Document = json.loads(boxmill("compare", scenes, *given, *flags))
    return document


def torment(weights: Path, scenes: Path, count: int) -> tuple[Ordeal, list[str]]:
    """A run that is killed three times, and everything about it that is not as it must be."""
    folder = WORK / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    slow = 0.0 if count > 500 else 500.0  # milliseconds a decoding, so that a short run can be killed on its way
    scene = Scene(scenes, count, ("--weights", str(weights)), slow)
    reference = Trial(scene, folder / "undisturbed")
    code = reference.start().wait(PATIENCE)
    ordeal = Ordeal(Trial(scene, folder / "killed"))
    supervisor = ordeal.trial.start()
    try:
        for quarter, target in enumerate(TARGETS, 1):
            until(ordeal.trial, supervisor, count * quarter // 4)
            ordeal.kills.append(kill(ordeal.trial, supervisor, target))
            if supervisor.returncode is not None:
                supervisor = ordeal.trial.start()
        ordeal.code = supervisor.wait(PATIENCE)
    finally:
        supervisor.kill()
        supervisor.wait()
    return ordeal, violations(ordeal, reference, code)


def until(trial: Trial, supervisor: subprocess.Popen[bytes], results: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(trial.snapshot().lines) < results:
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the run ended with {supervisor.poll()} before {results} results:\n{trial.tail()}")
        time.sleep(0.05)


def row(document: Document, letter: str) -> Document:
    found = [one for one in document["rows"] if one["row"] == letter]
    if not found:
        raise SystemExit(f"({letter}) did not take part: {document['missing']}")
    return dict(found[0])


def lost(document: Document, letter: str) -> float:
    """Points of AP below the batched script's."""
    return 100 * float(row(document, "c")["ap"] - row(document, letter)["ap"])


def verdicts(timed: Document, strict: Document, ordeal: Ordeal, wrong: list[str]) -> Iterator[tuple[str, str, bool]]:
    """(what, measured against wanted, held)."""
    times = row(timed, "d")["times"]
    yield "times the batched script (c)", f"{times['c']:.2f}, at least {BATCHED:g}", times["c"] >= BATCHED
    for name, document in ((f"above {timed['conf']:g}", timed), (f"above {STRICT:g}", strict)):
        points = lost(document, "d")
        figures = f"{-points:+.2f}, at least {-POINTS:g}"
        yield f"points of AP against (c), scores {name}", figures, points <= POINTS
    again = decoded_again(ordeal)
    landed = ", ".join(f"{one.target} at {len(one.after.lines)}" for one in ordeal.kills)
    on_the_way = [one.landed == "between" for one in ordeal.kills]
    figures = f"{sum(on_the_way)} of {len(on_the_way)}"
    yield f"kills on the way ({landed} of {ordeal.trial.scene.total} results)", figures, all(on_the_way)
    yield "journalled and computed again", f"{len(again)}", not again
    unsaved = sum(redone(ordeal.trial).values())
    figures = f"{len(wrong)} violations; {unsaved} inputs whose result no journal had were begun again"
    yield "the killed run against an undisturbed one", figures, not wrong


def section(timed: Document, strict: Document, held: list[tuple[str, str, bool]]) -> Iterator[str]:
    times = row(timed, "d")["times"]
    yield f"## {timed['images']} scenes of 1920x1080: the article's scripts and boxmill"
    yield ""
    yield environment(PACKAGES)
    yield (
        f"- Network {timed['network']}, the same in every program; scripts through ONNX Runtime; (a) sampled on "
        f"{row(timed, 'a')['extrapolated_from']} images; rounds, interleaved: {row(timed, 'd')['rounds']}; medians."
    )
    yield ""
    yield (
        f"boxmill is **{times['c']:.1f} times** as fast as the batched script (c), {times['b']:.1f} times the one that "
        f"loads once (b), {times['a']:.0f} times the one that loads for each image (a)"
        + (f"; {half:.1f} times the batched one in bf16 (c')." if (half := times.get("c'")) else ".")
    )
    yield ""
    yield from table(timed, strict)
    yield ""
    yield from verdict_table("what must hold", held)
    yield ""
    yield from (f"- {note}" for note in timed["notes"])


def table(timed: Document, strict: Document) -> Iterator[str]:
    bases = list(row(timed, "d")["times"])
    columns: dict[str, Callable[[Document], str]] = {
        "program": lambda one: f"({one['row']}) {one['title']}",
        "ms/image": lambda one: f"{one['seconds_per_image'] * 1e3:.1f}",
        "fastest to slowest": lambda one: " to ".join(f"{value * 1e3:.1f}" for value in one["spread"]),
        "total s": lambda one: f"{'≈ ' if one['extrapolated_from'] else ''}{one['total']:.1f}",
        "CPU": lambda one: f"{one['cpu_share']:.0%}",
        "peak MiB": lambda one: f"{one['peak_memory'] / 2**20:.0f}",
        "AP": lambda one: ap(one),
        f"AP, scores above {STRICT:g}": lambda one: ap(row(strict, one["row"])),
        **{f"times ({base})": lambda one, base=base: f"{one['times'][base]:.2f}" for base in bases},
    }
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for one in timed["rows"]:
        yield "| " + " | ".join(cell(one) for cell in columns.values()) + " |"


def ap(one: Document) -> str:
    return "as (b)" if one["ap"] is None else f"{one['ap']:.4f}"


if __name__ == "__main__":
    sys.exit(main())
