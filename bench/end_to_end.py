"""Photos to boxes, whole programs against whole programs: boxmill, ultralytics as it is used, and a plain script.

    scripts/setup_peers                      # once: the environment of the peers
    BOXMILL_ASSETS=... python bench/end_to_end.py [--quick] [--check]

100 JPEGs of 1920x1080 and one network (YOLOv8n structure, random weights, about 15 boxes an image, made by
bench/peers/make_model.py). Every peer is a program of its own that loads once and is then timed from the first photo to
the last box; boxmill's time is the steady wall of its own summary, which leaves out loading in the same way, and the
whole command is shown beside it. Rounds interleave all of them in rotating order, with a rest between two programs,
because some leave threads spinning; figures are medians. The fastest peer of each target then meets boxmill again in a
final, side by side: five runs each do not tell ten percent apart on a machine that is not alone. Boxes are compared
before times are.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import agreement
from mill import OURS, run_mill
from photos import make_photos
from racers import PEERS, PeerProgram
from results import environment, write_section

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench"
MODELS = WORK / "models"
BASE = "boxmill"  # everything is compared with this one
REST = 0.5  # seconds between two programs


@dataclass(frozen=True)
class Target:
    """boxmill shall be `factor` times as fast as the fastest of `peers`."""

    name: str
    peers: tuple[str, ...]
    factor: float


TARGETS = (
    Target("its best", tuple(name for name in PEERS if name.startswith("ultralytics")), 1.1),
    Target("ultralytics, default OpenVINO export", ("ultralytics OpenVINO, default export",), 1.6),
    Target("ultralytics .pt", ("ultralytics .pt, batch 1", "ultralytics .pt, batch 8"), 3.3),
    Target("plain script, float32", ("plain script, float32",), 5.0),
)
WALL_OVER_CPU = 1.12  # wall <= this x CPU time / cores
UNEXPLAINED = 0.03  # share of workers x wall that stages and waits may leave open


def main():
    arguments = parse()
    assets = os.environ.get("BOXMILL_ASSETS")
    if not assets:
        raise SystemExit("set BOXMILL_ASSETS to the folder with the test assets; the photos are made from it")
    count, rounds = (20, 2) if arguments.quick else (100, arguments.rounds)
    folder = WORK / f"photos{count}"
    make_photos(Path(assets), folder, count)
    make_model(arguments.peers, Path(assets))
    with ExitStack() as stack:
        peers = {}
        for name, peer in PEERS.items():
            command = peer.command(arguments.peers, folder, MODELS, WORK)
            peers[name] = stack.enter_context(PeerProgram(command, WORK / "peers.log"))
        shares = agreement.shares(peers, folder, MODELS, WORK)
        programs = all_programs(peers, folder)
        samples = race(programs, rounds)
        rivals = dict.fromkeys(fastest(samples, target) for target in TARGETS)
        final = race({name: programs[name] for name in (BASE, *rivals)}, 2 if arguments.quick else arguments.final)
    versions = {key: value for peer in peers.values() for key, value in peer.versions.items()}
    met, body = report(samples, final, shares, count, versions)
    print(body)
    if not arguments.quick:
        write_section("end-to-end", body)
    return 0 if met or not arguments.check else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers/bin/python", help="Python of the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--final", type=int, default=12, help="rounds of the final")
    parser.add_argument("--quick", action="store_true", help="20 photos, 2 rounds, nothing recorded")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    arguments = parser.parse_args()
    if not arguments.peers.exists():
        raise SystemExit(f"no peers' Python at {arguments.peers}; run scripts/setup_peers or name it with --peers")
    return arguments


def make_model(python, assets):
    """Lets the peer make and export the network, once, from all 100 photos."""
    wanted = ("yolov8n.pt", "yolov8n.onnx", "yolov8n-dynamic.onnx")
    if all((MODELS / name).exists() for name in wanted):
        return
    MODELS.mkdir(parents=True, exist_ok=True)
    make_photos(assets, WORK / "photos100", 100)
    script = ROOT / "bench/peers/make_model.py"
    command = [python, "-W", "ignore", script, "--photos", WORK / "photos100", "--out", MODELS]
    subprocess.run([str(part) for part in command], check=True)


def all_programs(peers, folder):
    """{name: function that runs it once}."""
    programs = {name: peer.run for name, peer in peers.items()}
    for name, options in OURS.items():
        programs[name] = lambda options=options: run_mill(folder, MODELS / "yolov8n-dynamic.onnx", options, WORK)
    return programs


def race(programs, rounds):
    """Samples by program: [{"wall", "cpu", "boxes", "stages", ...}], one a round; the order rotates."""
    names = list(programs)
    samples = {name: [] for name in names}
    for number in range(rounds):
        start = number * len(names) // rounds
        for name in names[start:] + names[:start]:
            time.sleep(REST)
            samples[name].append(programs[name]())
            print(f"round {number + 1}/{rounds} {name}: {samples[name][-1]['wall']:.2f} s", file=sys.stderr)
    return samples


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def report(samples, final, shares, count, versions):
    """Whether every target is met, and the section's text."""
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    lines = [
        "## End to end: photos to boxes",
        "",
        environment(()),
        f"- Peers' versions: {listed}",
        f"- {count} JPEGs of 1920x1080; median of {len(samples[BASE])} interleaved rounds; loading is not timed.",
        "",
        *time_table(samples, count),
        "",
        f"The final, {len(final[BASE])} rounds:",
        "",
        *time_table(final, count),
        "",
        start_line(samples),
        "",
        *target_lines(samples, final),
        "",
        *factor_lines(samples, count),
        "",
        *(
            f"- Boxes, {name}: {share:.1%} matched (same class; IoU at least .9 or within a pixel)"
            for name, share in shares.items()
        ),
    ]
    met = all(passed for _, _, passed in verdicts(samples, final)) and min(shares.values()) >= agreement.REQUIRED
    return met, "\n".join(lines)


def time_table(samples, count):
    base = median(samples[BASE], "wall")
    yield "| program | ms/image | fastest to slowest | CPU ms/image | boxes | times boxmill's |"
    yield "|---|---|---|---|---|---|"
    for name, runs in sorted(samples.items(), key=lambda item: median(item[1], "wall")):
        ms = [run["wall"] / count * 1e3 for run in runs]
        cpu = median(runs, "cpu") / count * 1e3
        ratio = median(runs, "wall") / base
        spread = f"{min(ms):.1f} to {max(ms):.1f}"
        yield f"| {name} | {statistics.median(ms):.1f} | {spread} | {cpu:.1f} | {runs[-1]['boxes']} | {ratio:.2f} |"


def start_line(samples):
    base, whole = (median(samples[BASE], key) for key in ("wall", "whole"))
    return f"The whole `boxmill run` command took {whole:.2f} s for {base:.2f} s of steady work; the rest is start-up."


def fastest(samples, target):
    return min(target.peers, key=lambda name: median(samples[name], "wall"))


def verdicts(samples, final):
    """(what, measured against wanted, passed) for each target."""
    for target in TARGETS:
        name = fastest(samples, target)
        ratio = median(final[name], "wall") / median(final[BASE], "wall")
        yield f"against {target.name} ({name})", f"{ratio:.2f}, at least {target.factor}", ratio >= target.factor
    over = statistics.median(run["wall"] / (run["cpu"] / os.cpu_count()) for run in samples[BASE])
    yield "wall over CPU time / cores", f"{over:.2f}, at most {WALL_OVER_CPU}", over <= WALL_OVER_CPU
    open_share = median(samples[BASE], "unexplained")
    figures = f"{open_share:.1%}, at most {UNEXPLAINED:.0%}"
    yield "unexplained share of workers x wall", figures, open_share <= UNEXPLAINED


def target_lines(samples, final):
    yield "| target | measured, wanted | |"
    yield "|---|---|---|"
    for what, figures, passed in verdicts(samples, final):
        yield f"| {what} | {figures} | {'met' if passed else 'MISSED'} |"


def factor_lines(samples, count):
    """Where the speed comes from: boxmill with one thing taken away, and pre- and post-processing stage by stage."""
    base = median(samples[BASE], "wall")
    yield "| taken away | boxmill ms/image | factor |"
    yield "|---|---|---|"
    for name in OURS:
        wall = median(samples[name], "wall")
        yield f"| {name} | {wall / count * 1e3:.1f} | {wall / base:.2f} |"
    like = min(TARGETS[0].peers, key=lambda name: median(samples[name], "wall"))
    yield ""
    yield f"Stage times, ms/image, as each program measures them itself: boxmill, then {like}."
    yield ""
    for name in (BASE, like):
        stages = samples[name][-1]["stages"]
        medians = {stage: statistics.median(run["stages"][stage] for run in samples[name]) for stage in stages}
        values = [f"{stage} {seconds / count * 1e3:.2f}" for stage, seconds in medians.items()]
        yield f"- {name}: {', '.join(values)}"


if __name__ == "__main__":
    sys.exit(main())
