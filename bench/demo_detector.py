"""How good the demo's detector is on held-out scenes, by `boxmill eval` (needs boxmill[eval]).

    python bench/demo_detector.py [detector.onnx] [--images 20] [--only shop] [--glyphs unseen] [--write]

Scenes of `boxmill demo scenes --split held-out`, 640x640: their backgrounds, light and viewpoints are none of those
that training shows. Known glyphs are those of training; unseen ones show the same classes by glyphs that training never
shows, so only classes with such a glyph occur. Scenes are made at first use and kept in .bench/scenes.

Average precision as validators take it: candidates above .001, NMS at IoU .7, every class above the threshold;
precision and recall as a run shows objects: above .25, NMS at IoU .45, the best class. At most 300 objects a picture;
3000 in crowds and from above, where there may be hundreds of things.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import judging
import results
from judging import TRUTH, Project, Run, Scenes

from boxmill.demo.detector import shipped_detector
from boxmill.evaluate import confront, open_run, read_truth
from boxmill.evaluate.coco import evaluation

GLYPHS = ("known", "unseen")
WORST = 10
VISIBLE = 0.5  # share of a thing
ERRORS = {  # TIDE's (arXiv 2008.08115), by hotcoco's names
    "Bkg": "nothing there",
    "Loc": "badly placed",
    "Cls": "another class",
    "Both": "both",
    "Dupe": "found twice",
    "Miss": "not found",
}


@dataclass(frozen=True)
class Plan:
    """Scenes of one kind, and what is wanted of the detector on them."""

    images: int
    seed: int
    ap50: float
    ap: float | None = None
    many: bool = False  # hundreds of things in a picture


PLANS = {
    "single": Plan(300, 51, 0.9, 0.65),
    "shop": Plan(200, 52, 0.9, 0.65),
    "crowd": Plan(60, 53, 0.75, many=True),
    "aerial": Plan(60, 54, 0.75, many=True),
}


@dataclass(frozen=True)
class Row:
    """What was found of one kind of scenes."""

    kind: str
    glyphs: str
    precision: str  # of the network
    validated: dict[str, Any]  # eval's documents
    half_visible: dict[str, Any]
    shown: dict[str, Any]
    candidates: list[int]  # of each picture; empty where they are not counted
    errors: dict[str, float]  # AP50 that each kind of error costs
    chinese: dict[str, str]  # name of each class

    @property
    def numbers(self) -> dict[str, float]:
        numbers: dict[str, float] = self.validated["coco"]
        return numbers

    @property
    def title(self) -> str:
        return f"{self.kind}, {self.glyphs} glyphs"


def judge(weights: Path, kind: str, glyphs: str, images: int | None) -> Row:
    """Runs the detector over the scenes and evaluates it."""
    plan = PLANS[kind]
    folder = Scenes(kind, images or plan.images, "640x640", glyphs, plan.seed).folder()
    project = Project("demo_detector")
    limit = ("--max-det", 3000 if plan.many else 300)
    validated = project.run("validated", folder, weights, "--keep-conf", 0.001, "--iou", 0.7, "--multi-label", *limit)
    shown = project.run("shown", folder, weights, *limit)
    whole, half = folder / TRUTH, half_visible(folder / TRUTH, project.folder)
    documents = judging.evaluations(
        [(run.directory, "--gt", truth) for run, truth in ((validated, whole), (validated, half), (shown, whole))]
    )
    # an IoU is never above 1, so nothing is suppressed
    counted = project.run("candidates", folder, weights, "--iou", 1, "--max-det", 30_000) if plan.many else None
    categories = json.loads(whole.read_bytes())["categories"]
    return Row(
        kind,
        glyphs,
        shown.settings["precision"],
        *documents,
        [] if counted is None else objects_per_image(counted),
        errors(validated, whole),
        {one["name"]: one["name_zh"] for one in categories},
    )


def half_visible(truth: Path, folder: Path) -> Path:
    """The ground truth in which a thing that is hidden by more than half is not asked for."""
    document = json.loads(truth.read_bytes())
    for one in document["annotations"]:
        one["iscrowd"] = int(one["iscrowd"] or one["visible"] < VISIBLE)
    path = folder / "half_visible.coco.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def objects_per_image(run: Run) -> list[int]:
    lines = (run.directory / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [len(json.loads(line)["objects"]) for line in lines]


def errors(run: Run, truth: Path) -> dict[str, float]:
    """By how much AP50 would rise without each kind of error; they do not add up."""
    scene = confront(read_truth(truth), open_run(run.directory))
    found: dict[str, float] = evaluation(scene.views, scene.classes.used).tide_errors()["delta_ap"]
    return {kind: found[kind] for kind in ERRORS}


def main_table(rows: list[Row]) -> Iterator[str]:
    yield (
        "| scenes | images | things | AP | AP50 | AR | AP, half visible or more | precision | recall "
        "| candidates above .25: median, most |"
    )
    yield "|---|" + "---|" * 9
    for row in rows:
        one, shown = row.validated, row.shown["shown"]
        cells = [
            row.title, one["images"], one["objects"],
            *(number(row.numbers[name]) for name in ("AP", "AP50", "AR 100")),
            number(row.half_visible["coco"]["AP"]),
            number(shown["precision"]), number(shown["recall"]),
            f"{median(row.candidates):.0f}, {max(row.candidates)}" if row.candidates else "",
        ]  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def error_table(rows: list[Row]) -> Iterator[str]:
    yield f"| AP50 that errors cost | {' | '.join(ERRORS.values())} |"
    yield "|---|" + "---|" * len(ERRORS)
    for row in rows:
        yield f"| {row.title} | {' | '.join(number(row.errors[kind]) for kind in ERRORS)} |"


def worst_table(rows: list[Row]) -> Iterator[str]:
    yield f"| scenes | the {WORST} worst classes: AP (things) |"
    yield "|---|---|"
    for row in rows:
        there = sorted((one for one in row.validated["classes"] if one["ap"] is not None), key=lambda one: one["ap"])
        said = [f"{one['name']} {row.chinese[one['name']]} {one['ap']:.2f} ({one['objects']})" for one in there[:WORST]]
        yield f"| {row.title} | {', '.join(said)} |"


def verdicts(rows: list[Row]) -> Iterator[tuple[str, str, bool]]:
    """(what, measured against wanted, met) on known glyphs."""
    for row in rows:
        if row.glyphs != "known":
            continue
        for name, wanted in (("AP50", PLANS[row.kind].ap50), ("AP", PLANS[row.kind].ap)):
            if wanted is not None:
                value = row.numbers[name]
                yield f"{row.kind}, {name}", f"{value:.3f}, at least {wanted}", value >= wanted


def report(rows: list[Row], weights: Path, seconds: float) -> tuple[bool, str]:
    reached = list(verdicts(rows))
    lines = [
        "## The demo's detector on held-out scenes",
        "",
        results.environment(judging.PACKAGES),
        f"- Detector: {weights.stat().st_size / 1e6:.2f} MB, run in {rows[0].precision}. Took {seconds:.0f} s",
        "",
        "AP, AP50 and AR (100 objects of each class): all above .001, NMS at IoU .7, every class above the threshold.",
        "Precision and recall: shown above .25, NMS at IoU .45, the best class, IoU above .5. Candidates: before NMS.",
        "",
        *main_table(rows),
        "",
        *results.verdict_table("known glyphs", reached),
        "",
        *error_table(rows),
        "",
        *worst_table(rows),
    ]
    return all(met for _, _, met in reached), "\n".join(lines)


def main() -> int:
    parser = judging.parser(__doc__, PLANS)
    parser.add_argument("weights", type=Path, nargs="?", default=shipped_detector(), help="default: the shipped one")
    parser.add_argument("--glyphs", choices=GLYPHS, help="default: both")
    arguments = parser.parse_args()
    start, rows = time.perf_counter(), []
    for kind in arguments.only or PLANS:
        for glyphs in (arguments.glyphs,) if arguments.glyphs else GLYPHS:
            print(f"{kind}, {glyphs}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            rows.append(judge(arguments.weights, kind, glyphs, arguments.images))
    passed, body = report(rows, arguments.weights, time.perf_counter() - start)
    results.publish("demo-detector", body, arguments.write)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
