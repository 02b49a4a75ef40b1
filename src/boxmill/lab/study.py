"""One visit to the lab: which scenes, which back-ends, and everything that was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from boxmill import __version__, _native
from boxmill.errors import UsageError
from boxmill.lab.accuracy import Accuracy, accuracies, read_truth
from boxmill.lab.candidates import Scene, Selection, dumped_scenes
from boxmill.lab.growth import SIZES, Growth, measure_growth
from boxmill.lab.measure import Difference, Internals, Latency, differences, internals, latencies, whole_latency
from boxmill.lab.synthetic import synthetic_scenes
from boxmill.post.backends import BACKENDS, Backend, Missing, Rule, load_backend
from boxmill.store import read_dump_header

__all__ = ["Plan", "SceneResult", "Study", "Used", "study"]

BASE = "boxmill"  # what others are compared with
COMPARED = 16  # so many images of a scene go through the reference, which is slow


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    run: Path | None = None  # folder of a run with dumps; None: synthetic scenes
    selection: Selection = field(default_factory=Selection)
    rule: Rule = field(default_factory=Rule)
    backends: tuple[str, ...] = ()  # empty: all
    truth: Path | None = None  # COCO ground truth of the dumps
    sizes: tuple[int, ...] = SIZES  # of the crowds for time against N
    seconds: float = 1.0  # for each scene and each size, about
    seed: int = 0  # of what is synthetic


@dataclass(frozen=True, slots=True)
class Used:
    """A back-end that took part."""

    name: str
    version: str
    method: str
    note: str


@dataclass(frozen=True, slots=True)
class SceneResult:
    """What was measured on one scene."""

    name: str
    images: int  # with candidates
    empty: int  # without
    candidates: tuple[int, int, int]  # least, median, most an image
    compared: int  # images that went through the reference
    latency: Mapping[str, Latency]  # by back-end, one image
    difference: Mapping[str, Difference]
    accuracy: Mapping[str, Accuracy]  # empty without ground truth
    internals: Internals  # of boxmill's hard NMS
    whole: Latency | None  # raw head to boxes, one image; None: synthetic


@dataclass(frozen=True, slots=True)
class Study:
    """Everything; as JSON it is the document that the lab writes."""

    format: int
    machine: Mapping[str, str]
    settings: Mapping[str, Any]
    used: tuple[Used, ...]
    missing: tuple[Missing, ...]
    scenes: tuple[SceneResult, ...]
    growth: Growth
    stages: Mapping[str, float]  # of the run the dumps are from: seconds by stage; empty where there is none
    remarks: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


def study(plan: Plan, observe: Callable[[str], None] = lambda step: None) -> Study:
    """Measures what `plan` says; `observe` is told each step.

    Raises:
        UsageError: a back-end is unknown, or the plan's parts do not fit each other.
        SourceError: dumps or ground truth cannot be read.
    """
    _check(plan)
    observe("loading the back-ends")
    found = [load_backend(name, plan.rule) for name in dict.fromkeys((BASE, *(plan.backends or BACKENDS)))]
    backends = [one for one in found if isinstance(one, Backend)]
    if plan.run is None:
        scenes, remarks = synthetic_scenes(plan.seed), list[str]()
    else:
        scenes, remarks = dumped_scenes(plan.run, plan.selection)
    results = []
    for scene in scenes:
        if not scene.sets:
            remarks.append(f"{scene.name}: no candidate above {plan.selection.conf:g}; left out")
            continue
        observe(f"{scene.name}: {len(scene.sets)} candidate sets")
        results.append(_measure(scene, backends, plan))
    observe(f"time against N, {len(plan.sizes)} sizes")
    return Study(
        format=1,
        machine=_machine(),
        settings=_settings(plan),
        used=tuple(Used(one.name, one.version, one.method, one.note) for one in backends),
        missing=tuple(one for one in found if isinstance(one, Missing)),
        scenes=tuple(results),
        growth=measure_growth(backends, plan.sizes, plan.seconds, plan.seed),
        stages={} if plan.run is None else _stages(plan.run),
        remarks=tuple(remarks),
    )


def _check(plan: Plan) -> None:
    if plan.truth is not None and plan.run is None:
        raise UsageError("--gt is the ground truth of dumped images; give the run's folder, not --synthetic")
    if not plan.sizes or min(plan.sizes) < 1 or list(plan.sizes) != sorted(set(plan.sizes)):
        raise UsageError(f"--sizes: expected growing numbers of 1 or more, got {' '.join(map(str, plan.sizes))}")
    if not 0 < plan.seconds < 3600:
        raise UsageError(f"--seconds: expected a number above 0 and below 3600, got {plan.seconds:g}")
    if plan.selection.images < 1 or any(count < 1 for count in plan.selection.counts):
        raise UsageError("--images, --candidates: expected 1 or more")
    if not 0 <= plan.rule.iou <= 1:
        raise UsageError(f"--iou: expected a number from 0 to 1, got {plan.rule.iou:g}")
    if not 0 <= plan.selection.conf <= 1:
        raise UsageError(f"--conf: expected a number from 0 to 1, got {plan.selection.conf:g}")


def _measure(scene: Scene, backends: Sequence[Backend], plan: Plan) -> SceneResult:
    sizes = np.array([len(one) for one in scene.sets])
    compared = scene.sets[:COMPARED]
    accuracy: Mapping[str, Accuracy] = {}
    if plan.truth is not None and plan.run is not None:
        truth = read_truth(plan.truth, scene.sets, len(read_dump_header(plan.run).names))
        accuracy = accuracies(backends, scene.sets, truth)
    return SceneResult(
        name=scene.name,
        images=len(scene.sets),
        empty=scene.empty,
        candidates=(int(sizes.min()), int(np.median(sizes)), int(sizes.max())),
        compared=len(compared),
        latency=latencies(backends, scene.sets, plan.seconds),
        difference={one.name: differences(one, compared, plan.rule) for one in backends},
        accuracy=accuracy,
        internals=internals(scene.sets, plan.rule.iou),
        whole=whole_latency(scene.heads, min(plan.seconds, 0.5)),
    )


def _machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "boxmill": f"{__version__} ({_native.isa()})",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _settings(plan: Plan) -> dict[str, Any]:
    selection = plan.selection
    return {
        "source": "synthetic" if plan.run is None else plan.run.name,
        "conf": selection.conf,
        "candidates": list(selection.counts),
        "multi_label": selection.multi_label,
        "iou": plan.rule.iou,
        "soft_iou": plan.rule.soft_iou,
        "sigma": plan.rule.sigma,
        "soft_conf": plan.rule.conf,
        "threads": 1,
        "seconds": plan.seconds,
        "seed": plan.seed,
    }


def _stages(run: Path) -> dict[str, float]:
    """Where the time of the run went, from its summary."""
    try:
        stages = msgspec.json.decode((run / "summary.json").read_bytes())["stages"]
        return {str(name): float(spent) for name, spent in stages.items()}
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return {}  # the run is not finished; its dumps are as good without
