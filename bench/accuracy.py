"""What each shortcut costs in average precision, by `boxmill eval A B` (needs boxmill[eval]).

    python bench/accuracy.py [--images 16] [--only shop] [--write]

A is always the same: float32, squares, 30,000 candidates, whole decoding. B differs in one thing, or is what the
defaults make of it. Shop, crowd and aerial are held-out scenes of `boxmill demo scenes` (made at first use, kept in
.bench/scenes) for the demo's detector; the others are 128 photographs of the folder that BOXMILL_ASSETS names, for the
four networks there, and for the one of them that takes any shape once its file says so: rectangles on photographs
(this needs the package onnx).

Thresholds are those of validation: candidates above .001, the IoU that each network is evaluated with, once with the
best class of each anchor and once with every class above the threshold. Objects that differ are counted above .25.
At most 300 objects an image, as validators have it, but 3000 in crowds and from above, where there may be hundreds
of things and COCO's evaluator takes 100 of each class. What the default of 300 costs there is told apart.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import judging
import results
from judging import TRUTH, Project, Run, Scenes

from boxmill.coco80 import COCO80_EN
from boxmill.demo.detector import shipped_detector
from boxmill.runtimes.openvino import has_native_bf16

CARDS = judging.ROOT / "tests/cards"
BASE = ("--precision", "fp32", "--no-rect")
SMALL_LIMIT = "--max-det 300"
AS_DEFAULTS = "as the defaults"
VARIANTS: dict[str, tuple[object, ...]] = {  # the defaults come first: they say whether the network takes rectangles
    "defaults": (),
    "rect": ("--precision", "fp32"),
    "bf16": ("--precision", "bf16", "--no-rect"),
    "Top-1000": (*BASE, "--max-nms", 1000),
    "Top-500": (*BASE, "--max-nms", 500),
    "--fast-decode": (*BASE, "--fast-decode"),
    SMALL_LIMIT: BASE,
}
MODES: dict[str, tuple[str, ...]] = {"best class": (), "multi-label": ("--multi-label",)}
WANTED = {"defaults": -0.004, "rect": -0.001, "bf16": -0.004}  # AP that each may lose
REMARKS = {"Top-1000": "no default", "Top-500": "no default", "--fast-decode": "no default", SMALL_LIMIT: "the default"}
TITLES = {"defaults": "the defaults", "rect": "the defaults in float32: rect"}
SCENES = {  # 16:9 as most photographs of the demo's workload, and 8:5, whose rectangle has a margin
    "shop": Scenes("shop", 150, "1920x1080", seed=41),
    "crowd": Scenes("crowd", 60, "1280x800", seed=42),
    "aerial": Scenes("aerial", 60, "1280x800", seed=43),
}
OPEN = "yolox_nano_any_shape"
# IoU of NMS that each is evaluated with
NETWORKS = {"yolox_nano_416": 0.65, OPEN: 0.65, "yolov9t_relu_320_3cls": 0.65, "yolov5n_640": 0.6, "nanodet_320": 0.6}
# what the three-class network's makers mean by vehicle and animal
VEHICLES = ("bicycle", "car", "motorcycle", "bus", "truck")
ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")


@dataclass(frozen=True)
class Subject:
    """A network, images and what is on them."""

    name: str
    source: Path
    truth: Path
    weights: Path
    options: tuple[object, ...]
    evaluation: tuple[object, ...] = ()
    max_det: int = 300


@dataclass(frozen=True, eq=False)
class Findings:
    """`eval`'s documents of one subject in one mode."""

    name: str
    mode: str
    by_variant: dict[str, dict[str, Any] | str]  # in the order of VARIANTS; or why there is none

    def delta(self, variant: str) -> float | None:
        """AP of B less that of A; None where nothing was measured."""
        found = self.document(variant)
        return None if isinstance(found, str) else float(found["ground_truth"]["delta"]["AP"])

    def document(self, variant: str) -> dict[str, Any] | str:
        """`eval`'s, also where the variant is what the defaults are; or why there is none."""
        found = self.by_variant[variant]
        return self.by_variant["defaults"] if found == AS_DEFAULTS else found

    @property
    def measured(self) -> dict[str, Any]:
        """Any of the documents: A is the same in all of them."""
        return next(found for found in self.by_variant.values() if not isinstance(found, str))


def scene_subject(name: str, weights: Path, images: int | None) -> Subject:
    planned = SCENES[name]
    scenes = Scenes(name, images or planned.images, planned.size, seed=planned.seed)
    folder = scenes.folder()
    max_det = 300 if name == "shop" else 3000
    return Subject(name, folder, folder / TRUTH, weights, ("--iou", 0.7), max_det=max_det)


def photo_subject(name: str, assets: Path, images: int | None) -> Subject:
    """A real network on the first `images` of the 128 photographs."""
    document = json.loads((assets / "photos/train128.coco.json").read_bytes())
    kept = sorted(document["images"], key=lambda image: str(image["file_name"]))[:images]
    ids = {image["id"] for image in kept}
    document["images"] = kept
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in ids]
    folder = judging.WORK / "train128"
    folder.mkdir(parents=True, exist_ok=True)
    truth, source, mapped = (folder / f"{len(kept)}.{end}" for end in ("coco.json", "txt", "map.json"))
    truth.write_text(json.dumps(document), encoding="utf-8")
    paths = [assets / "photos/train128" / Path(image["file_name"]).name for image in kept]
    source.write_text("\n".join(map(str, paths)), encoding="utf-8")
    mapped.write_text(json.dumps({label: three_classes(label) for label in COCO80_EN}), encoding="utf-8")
    weights, card = assets / f"models/{name}.onnx", CARDS / f"{name}.yaml"
    if name == OPEN:
        weights, card = opened(assets / "models/yolox_nano_416.onnx", CARDS / "yolox_nano_416.yaml", folder)
    evaluation = ("--class-map", mapped) if name.endswith("3cls") else ()
    return Subject(name, source, truth, weights, ("--card", card, "--iou", NETWORKS[name]), evaluation)


def opened(weights: Path, card: Path, folder: Path) -> tuple[Path, Path]:
    """The network and its card, saying that height and width may be any: nothing inside it depends on them."""
    import onnx

    model = onnx.load(weights)
    for value, names in ((model.graph.input[0], ("N", "", "H", "W")), (model.graph.output[0], ("N", "anchors", ""))):
        for dim, symbol in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if symbol:
                dim.dim_param = symbol
    paths = folder / "open.onnx", folder / "open.yaml"
    onnx.save(model, paths[0])
    paths[1].write_text(card.read_text(encoding="utf-8").replace("dynamic: false", "dynamic: true"), encoding="utf-8")
    return paths


def three_classes(label: str) -> str | None:
    if label in VEHICLES:
        return "vehicle"
    return label if label == "person" else "animal" if label in ANIMALS else None


def measure(subject: Subject, mode: str) -> Findings:
    """Runs the subject in every way and compares."""
    project = Project("accuracy")
    common = ("--conf", 0.25, "--keep-conf", 0.001, *subject.options, *MODES[mode])
    limit = ("--max-det", subject.max_det)
    base = project.run("A", subject.source, subject.weights, *common, *limit, *BASE)
    runs: dict[str, Run] = {}
    reasons: dict[str, str] = {}
    for number, (variant, options) in enumerate(VARIANTS.items()):
        reason = left_out(variant, subject, runs)
        if reason:
            reasons[variant] = reason
            continue
        most = ("--max-det", 300) if variant == SMALL_LIMIT else limit
        runs[variant] = project.run(f"B{number}", subject.source, subject.weights, *common, *most, *options)
    pairs = [(base.directory, one.directory, "--gt", subject.truth, *subject.evaluation) for one in runs.values()]
    documents = dict(zip(runs, judging.evaluations(pairs), strict=True))
    found = {variant: reasons.get(variant) or documents[variant] for variant in VARIANTS}
    return Findings(subject.name, mode, found)


def left_out(variant: str, subject: Subject, runs: dict[str, Run]) -> str:
    """Why a variant would be nothing new; empty: it is run."""
    if variant == SMALL_LIMIT and subject.max_det == 300:
        return "in all"
    if variant == "defaults":
        return ""
    taken, precision = (runs["defaults"].settings[name] for name in ("rect", "precision"))
    if variant == "rect" and not taken:
        return "squares only"
    if variant == "rect" and precision == "fp32":
        return AS_DEFAULTS
    if variant == "bf16" and not has_native_bf16():
        return "not here"
    return AS_DEFAULTS if variant == "bf16" and not taken and precision == "bf16" else ""


def loss_table(rows: list[Findings]) -> Iterator[str]:
    yield f"| images, candidates | AP of A | {' | '.join(VARIANTS)} |"
    yield "|---|---|" + "---|" * len(VARIANTS)
    for row in rows:
        ap = row.measured["ground_truth"]["a"]["coco"]["AP"]
        yield f"| {row.name}, {row.mode} | {ap:.3f} | {' | '.join(map(loss_cell, row.by_variant.values()))} |"


def loss_cell(found: dict[str, Any] | str) -> str:
    if isinstance(found, str):
        return found
    interval = found["ground_truth"]["bootstrap"]["AP"]
    return f"{interval['delta']:+.4f} ({interval['low']:+.4f} to {interval['high']:+.4f})"


def difference_table(rows: list[Findings]) -> Iterator[str]:
    yield f"| images, candidates | objects of A | {' | '.join(VARIANTS)} |"
    yield "|---|---|" + "---|" * len(VARIANTS)
    for row in rows:
        cells = " | ".join(map(difference_cell, row.by_variant.values()))
        yield f"| {row.name}, {row.mode} | {row.measured['objects'][0]} | {cells} |"


def difference_cell(found: dict[str, Any] | str) -> str:
    if isinstance(found, str):
        return found
    counts = found["difference_counts"]
    return f"{counts['only A']}, {counts['only B']}, {counts['class']}; {counts['moved']}, {counts['score']}"


def worst(rows: list[Findings], variant: str) -> Findings | None:
    """Where the loss is largest; None where the variant was nowhere measured."""
    deltas = {row: delta for row in rows if (delta := row.delta(variant)) is not None}
    return min(deltas, key=deltas.__getitem__, default=None)


def verdict_table(rows: list[Findings]) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether what it says is as wanted."""
    yield "| | worst ΔAP | where | wanted | |", True
    yield "|---|---|---|---|---|", True
    for variant in VARIANTS:
        row = worst(rows, variant)
        if row is None:
            continue
        if variant in WANTED:
            met = (row.delta(variant) or 0.0) >= WANTED[variant]
            said = f"{WANTED[variant]:+.3f} or better | {'met' if met else 'MISSED'}"
        else:
            met, said = True, f"{REMARKS[variant]} |"
        cell = loss_cell(row.document(variant))
        yield f"| {TITLES.get(variant, variant)} | {cell} | {row.name}, {row.mode} | {said} |", met


def report(rows: list[Findings], seconds: float) -> tuple[bool, str]:
    verdicts = list(verdict_table(rows))
    defaults = "bf16" if has_native_bf16() else "float32, as this processor has no bfloat16 instructions"
    lines = [
        "## What each shortcut costs in accuracy",
        "",
        results.environment(judging.PACKAGES),
        f"- Took {seconds:.0f} s. The defaults' precision here: {defaults}",
        "",
        "A: float32, squares, at most 30,000 candidates, whole decoding. B: A but for what the column says; the",
        "defaults are precision auto and rect. Average precision from all above .001, B less A, with the middle 95 %",
        "of a paired bootstrap over images.",
        "",
        *loss_table(rows),
        "",
        "Objects above .25 that are not alike: only in A, only in B, of another class; moved by more than a pixel, and",
        "else with a score that changed by more than .01.",
        "",
        *difference_table(rows),
        "",
        *(line for line, _ in verdicts),
    ]
    return all(met for _, met in verdicts), "\n".join(lines)


def main() -> int:
    parser = judging.parser(__doc__, (*SCENES, *NETWORKS))
    parser.add_argument("--demo", type=Path, default=shipped_detector(), help="default: the shipped detector")
    arguments = parser.parse_args()
    assets = os.environ.get("BOXMILL_ASSETS")
    chosen = arguments.only or [*SCENES, *(NETWORKS if assets else ())]
    start, rows = time.perf_counter(), []
    for name in chosen:
        if name in NETWORKS and not assets:
            parser.error(f"{name}: set BOXMILL_ASSETS to the folder of networks and photographs")
        subject = (
            scene_subject(name, arguments.demo, arguments.images)
            if name in SCENES
            else photo_subject(name, Path(assets or ""), arguments.images)
        )
        for mode in MODES:
            print(f"{name}, {mode}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            rows.append(measure(subject, mode))
    passed, body = report(rows, time.perf_counter() - start)
    results.publish("accuracy", body, arguments.write)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
