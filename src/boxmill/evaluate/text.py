"""Evaluations as plain text for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from boxmill.evaluate.coco import NUMBERS
from boxmill.evaluate.difference import Difference, Side
from boxmill.evaluate.report import Comparison, Report, deltas
from boxmill.evaluate.scene import Scene

__all__ = ["comparison_text", "notes", "report_text"]

_STATES = {"failed": "failed", "open": "not finished yet", "absent": "not among the run's inputs"}
_CONFUSIONS = 10
_DIFFERENCES = 20


def report_text(report: Report, *, everything: bool = False) -> str:
    """The report of one run; `everything`: all confusions."""
    scene = report.scene
    parts = [
        _heading(scene),
        _numbers(report),
        "\n".join(_classes(report)),
        "\n".join(_shown(report, None if everything else _CONFUSIONS)),
        "\n".join(_share(report)),
    ]
    return "\n\n".join(parts) + "\n"


def _heading(scene: Scene) -> str:
    objects = sum(int((~view.crowd).sum()) for view in scene.views)
    return f"{len(scene.views)} images with {objects} objects in {scene.truth}"


def notes(report: Report) -> list[str]:
    """What has to be known of these numbers, a line each."""
    scene = report.scene
    pairs = scene.pairs
    paired = len(scene.views) - pairs.inputs.count(None)
    lines = [f"images matched: {paired} of {len(scene.views)}, {pairs.whole} by the whole path, the others by its end"]
    for state, count in scene.without_result().items():
        lines.append(f"{count} images have no result ({_STATES[state]}): their objects count as missed")
    if pairs.ambiguous:
        lines.append(
            f"{len(pairs.ambiguous)} of them are ambiguous and were not matched, such as {pairs.ambiguous[0]!r}"
        )
    if pairs.unused:
        lines.append(f"{pairs.unused} inputs of the run are not in the ground truth and are left out")
    lines += [*scene.remarks, *_class_text(scene)]
    if report.again is not None:
        lines.append(
            f"AP is not comparable with other figures: the run kept only what scores above {report.keep:g}; "
            f"for AP: {report.again} (and the run's other options)"
        )
    return lines


def _class_text(scene: Scene) -> list[str]:
    """How categories and classes were matched."""
    one = scene.classes
    alike = [left for left, right in one.pairs if left == right]
    shown = [f"{left} = {right}" for left, right in one.pairs if left != right]
    if alike:
        shown.insert(0, f"{len(alike)} with the same id and name ({', '.join(alike)})")
    lines = [f"classes matched {one.how}: {', '.join(shown)}"]
    if one.left_out:
        lines.append(f"categories that are no class, without objects or left out: {', '.join(one.left_out)}")
    if one.unused:
        lines.append(
            f"{len(one.unused)} classes of the model are no category and are left out: {', '.join(one.unused)}"
        )
    return lines


def _numbers(report: Report) -> str:
    values = report.numbers.values
    rows = [[name, _three(value)] for name, value in zip(NUMBERS, values, strict=True)]
    halves = [[*rows[place], *rows[place + 6]] for place in range(6)]
    text = _table([], halves, "lrlr")
    if report.published is None:
        return text
    known = report.published
    line = f"published for {known.model} on COCO val2017: {known.ap:.3f} ({known.source}; told by the file's name; "
    line += "at conf .001, IoU .7, 640x640, multi-label)"
    if report.val2017 and values[0] is not None:
        line += f"; this run: {values[0]:.3f}, {values[0] - known.ap:+.3f}"
    elif not report.val2017:
        line += f"; not comparable: that is of 5000 images, this of {len(report.scene.views)}"
    return f"{text}\n\n{line}"


def _classes(report: Report) -> list[str]:
    names = report.scene.names
    rows = [
        [str(one.class_id), names[one.class_id], str(one.objects), _three(one.ap), _three(one.ap50)]
        for one in report.numbers.classes
        if one.objects
    ]
    lines = [_table(["id", "class", "objects", "AP", "AP50"], rows, "rlrrr")]
    empty = sum(not one.objects for one in report.numbers.classes)
    return [*lines, f"{empty} more classes have no objects here"] if empty else lines


def _shown(report: Report, limit: int | None) -> list[str]:
    one, names = report.shown, report.scene.names
    lines = [
        f"shown above {one.conf:g}, IoU > .5: precision {_three(one.precision)}, recall {_three(one.recall)} "
        f"({one.right} right, {one.wrong} wrong, {one.missed} missed)"
    ]
    rows = [
        [_name(row.true, names, "(nothing)"), _name(row.shown, names, "(missed)"), str(row.count)]
        for row in one.confusions[:limit]
    ]
    if rows:
        lines += ["", _table(["is", "shown as", "times"], rows, "llr")]
    if limit is not None and len(one.confusions) > limit:
        lines.append(f"… and {len(one.confusions) - limit} more, with --all")
    return lines


def _name(class_id: int | None, names: Sequence[str], otherwise: str) -> str:
    return otherwise if class_id is None else names[class_id]


def _share(report: Report) -> list[str]:
    one = report.share
    if not one.images:
        return ["no image of the ground truth has an object, so none can be right"]
    sample = "all images that have an object" if one.seed is None else f"{one.images} sampled (seed {one.seed})"
    lines = []
    for count, what in (
        (one.right, "right: every object is shown with its class and IoU > .5"),
        (one.exact, "exact: right, and nothing else is shown"),
    ):
        low, high = one.interval(count)
        lines.append(
            f"{count / one.images:.1%} of {sample} ({count} of {one.images}, 95 %: {low:.1%}–{high:.1%}) {what}"
        )
    return lines


def comparison_text(comparison: Comparison, *, everything: bool = False) -> str:
    """The comparison of two runs; `everything`: all differences."""
    parts = [f"A {comparison.runs[0].directory}\nB {comparison.runs[1].directory}"]
    if comparison.reports is not None and comparison.intervals is not None:
        parts.append("\n".join(_delta(comparison)))
    parts += ["\n".join(_agreement(comparison)), "\n".join(_differences(comparison, everything=everything))]
    return "\n\n".join(parts) + "\n"


def _delta(comparison: Comparison) -> list[str]:
    if comparison.reports is None or comparison.intervals is None:
        return []
    a, b = comparison.reports
    gaps = [*zip(NUMBERS, a.numbers.values, b.numbers.values, deltas(a.numbers, b.numbers), strict=True)]
    rows = [[name, _three(x), _three(y), "–" if gap is None else f"{gap:+.4f}"] for name, x, y, gap in gaps]
    for row, one in zip(rows, comparison.intervals, strict=False):
        row.append(f"{one.low:+.4f} to {one.high:+.4f}")
    table = _table(["", "A", "B", "B - A", "95 %"], [row if len(row) == 5 else [*row, ""] for row in rows], "lrrrr")
    request = comparison.request
    return [
        _heading(a.scene),
        "",
        table,
        f"95 %: paired bootstrap over images, {request.draws} draws, seed {request.seed}",
    ]


def _agreement(comparison: Comparison) -> list[str]:
    found, pairs = comparison.agreement, max(comparison.agreement.pairs, 1)
    lines = [
        f"{found.images} images with a result in both, {found.alike} of them alike to the last bit",
        f"objects: {found.objects[0]} in A above {comparison.conf[0]:g}, {found.objects[1]} in B above "
        f"{comparison.conf[1]:g}",
        f"{found.share:.2%} have a partner of their class with IoU > .5: {found.pairs} pairs, {found.equal} equal; "
        f"mean IoU {found.iou_sum / pairs:.4f}, mean score difference {found.score_sum / pairs:.5f}, "
        f"largest {found.score_max:.4f}, largest move {found.pixels_max:.2f} px",
    ]
    for count, what in (
        (found.only_inputs[0], "inputs only A was given"),
        (found.only_inputs[1], "inputs only B was given"),
        (found.without_result[0], "common inputs have no result in A"),
        (found.without_result[1], "common inputs have no result in B"),
    ):
        if count:
            lines.append(f"{count} {what}")
    return lines


def _differences(comparison: Comparison, *, everything: bool) -> list[str]:
    found, names = comparison.agreement.differences, comparison.runs[0].header.names
    tolerance = comparison.request.tolerance
    if not found:
        return [f"no differences beyond {tolerance.pixels:g} px and {tolerance.score:g} of score"]
    counts = ", ".join(f"{count} {kind}" for kind, count in comparison.agreement.counts.items() if count)
    shown = found if everything else found[:_DIFFERENCES]
    rows = [[one.kind, one.key, _side(one.a, names), _side(one.b, names), _moved(one)] for one in shown]
    lines = [
        f"{len(found)} differences (moved: over {tolerance.pixels:g} px; score: by over {tolerance.score:g}): {counts}",
        "",
        _table(["what", "image", "A", "B", "px"], rows, "llllr"),
    ]
    if len(shown) < len(found):
        lines.append(f"… and {len(found) - len(shown)} more, with --all")
    return lines


def _side(side: Side | None, names: Sequence[str]) -> str:
    if side is None:
        return "–"
    box = ", ".join(f"{value:.1f}" for value in side.box)
    return f"{names[side.class_id]} {side.score:.3f} [{box}]"


def _moved(one: Difference) -> str:
    return "" if one.a is None or one.b is None else f"{one.pixels:.2f}"


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Columns two spaces apart; `align` has l or r for each."""
    lines = [*([headings] if headings else []), *rows]
    widths = [max((_width(line[place]) for line in lines), default=0) for place in range(len(align))]
    return "\n".join(
        "  ".join(_padded(cell, width, side) for cell, width, side in zip(line, widths, align, strict=True)).rstrip()
        for line in lines
    )


def _padded(text: str, width: int, side: str) -> str:
    space = " " * (width - _width(text))
    return text + space if side == "l" else space + text


def _width(text: str) -> int:
    """Cells on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
