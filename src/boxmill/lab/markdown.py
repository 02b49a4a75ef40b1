"""A study as tables that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from boxmill.lab.claims import claims
from boxmill.lab.growth import Growth
from boxmill.lab.study import BASE, SceneResult, Study

__all__ = ["markdown"]


def markdown(study: Study, plot: str | None = None) -> str:
    """The whole document; `plot` is the picture's file name where there is one."""
    lines = ["# NMS on this machine", "", *_setting(study)]
    for scene in study.scenes:
        lines += ["", *_scene(scene)]
    if study.scenes:
        lines += ["", *_internals(study.scenes)]
    lines += ["", *_growth(study.growth, plot), "", *_claims(study), "", *_notes(study)]
    return "\n".join(lines) + "\n"


def _setting(study: Study) -> Iterator[str]:
    machine, chosen = study.machine, study.settings
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; Python {machine['python']}, numpy "
        f"{machine['numpy']}, boxmill {machine['boxmill']}. One thread, called from Python, every side from the same "
        "float32 and int64 arrays; rounds interleaved in one process."
    )
    yield ""
    yield (
        f"Candidates: {_selection(chosen)}. IoU {chosen['iou']:g}; soft: linear above IoU "
        f"{chosen['soft_iou']:g}, Gaussian sigma {chosen['sigma']:g}, scores above {chosen['soft_conf']:g}."
    )
    for remark in study.remarks:
        yield f"\n{remark}."


def _selection(chosen: Mapping[str, Any]) -> str:
    if chosen["source"] == "synthetic":
        return f"synthetic, seed {chosen['seed']}"
    threshold = "conf such that the counts are as asked" if chosen["candidates"] else f"conf {chosen['conf']:g}"
    classes = "every class of an anchor" if chosen["multi_label"] else "the best class of an anchor"
    return f"heads of the run {chosen['source']}, {threshold}, {classes}"


def _scene(scene: SceneResult) -> Iterator[str]:
    least, middle, most = scene.candidates
    many = f"{scene.images} images, {least} to {most} candidates, median {middle}"
    yield f"## {scene.name}: {many if scene.images > 1 else f'{middle} candidates'}"
    yield ""
    header = [
        "back-end",
        "median µs",
        "p95 µs",
        f"times {BASE}",
        "kept",
        "missing",
        "extra",
        "score difference",
    ]
    if scene.accuracy:
        header += ["AP", "AP50", "ΔAP"]
    base = scene.latency[BASE].median
    rows = []
    for name, latency in scene.latency.items():
        unlike = scene.difference[name]
        score = "" if unlike.score is None else f"{unlike.score:.2g}"
        kept = unlike.expected - unlike.missing + unlike.extra
        row = [name, micros(latency.median), micros(latency.p95), f"{latency.median / base:.1f}"]
        row += [str(kept), str(unlike.missing), str(unlike.extra), score]
        if scene.accuracy:
            found = scene.accuracy[name]
            row += [f"{found.ap:.4f}", f"{found.ap50:.4f}", f"{round(found.delta, 4) + 0.0:+.4f}"]
        rows.append(row)
    yield from _table(header, rows)
    if scene.compared < scene.images:
        yield f"\nKept, missing and extra: the first {scene.compared} images."
    if scene.empty:
        yield f"\n{scene.empty} images had no candidate and were not timed."
    if scene.whole is not None:
        yield (
            f"\nRaw head to final boxes, everything included (boxmill.post.Postprocessor): median "
            f"{micros(scene.whole.median)} µs, p95 {micros(scene.whole.p95)} µs."
        )


def _internals(scenes: Sequence[SceneResult]) -> Iterator[str]:
    yield "## NMS internals"
    yield ""
    yield "What boxmill's hard NMS does inside one call, without the way from Python and back; medians, µs by step."
    yield ""
    header = ["scene", "candidates", "IoU tests", "of all pairs", "kept", "filter", "group", "sort", "suppress"]
    rows = []
    for scene in scenes:
        one = scene.internals
        pairs = max(one.candidates * (one.candidates - 1) // 2, 1)
        steps = (one.filter, one.group, one.sort, one.suppress)
        counts = [str(one.candidates), str(one.tests), f"{one.tests / pairs:.1%}", str(one.kept)]
        rows.append([scene.name, *counts, *(f"{step:.1f}" for step in steps)])
    yield from _table(header, rows)


def _growth(growth: Growth, plot: str | None) -> Iterator[str]:
    yield "## Time against the number of candidates"
    yield ""
    yield "One synthetic crowd of 80 classes for each size; median µs."
    yield ""
    rows = [[name, *(micros(latency.median) for latency in latencies)] for name, latencies in growth.latency.items()]
    yield from _table(["back-end", *map(str, growth.sizes)], rows)
    yield ""
    if plot is None:
        yield "No plot: it needs matplotlib, pip install 'boxmill[plot]'."
    else:
        yield f"![time against N]({plot})"
    yield ""
    if not growth.crossovers:
        yield "No two hard back-ends change places between these sizes."
    for one in growth.crossovers:
        yield f"- up to about {one.size:.0f} candidates {one.below} is faster than {one.above}, above it slower"


def _claims(study: Study) -> Iterator[str]:
    yield "## What is said, and what holds here"
    yield ""
    yield from _table(["statement", "verdict", "evidence"], [[c.text, c.verdict, c.evidence] for c in claims(study)])


def _notes(study: Study) -> Iterator[str]:
    yield "## Back-ends"
    yield ""
    for one in study.used:
        yield f"- {one.name} {one.version}" + (f": {one.note}" if one.note else "")
    for missing in study.missing:
        yield f"- {missing.name}: did not take part, {missing.reason}"
    yield ""
    yield (
        "Missing: kept by the reference (boxmill.post.reference, the full set, same method) and not by the back-end. "
        "Extra: the other way round. Score difference: the largest of a decayed score, soft methods only, which are "
        "compared among themselves. A quick back-end is called five times in a round, the first time with cold caches: "
        "that is what its p95 shows."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def micros(value: float) -> str:
    """Three digits are what a shared machine gives."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
