"""A comparison as a picture, by matplotlib: time of an image and peak memory, a bar for each program."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from boxmill.compare.markdown import memory
from boxmill.compare.rows import Comparison, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

_SCRIPT, _MILL, _LIMITED, _TEXT, _FAINT = "#9aa5b1", "#0072B2", "#56B4E9", "#1f2933", "#7b8794"  # blues: Okabe and Ito
_BAR = 0.62
_ROOM = 1.42  # of the longest bar, for the text behind it


def plot(found: Comparison) -> bytes | None:
    """A PNG; None: matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    rows, about = found.rows, found.facts
    figure = Figure(figsize=(11, 1.75 + 0.52 * len(rows)), layout="constrained")
    times, space = figure.subplots(1, 2, width_ratios=[2.2, 1], sharey=True)
    _bars(times, rows, [row.per_image * 1e3 for row in rows], [_label(found, row) for row in rows])
    times.set_yticks(range(len(rows)), [f"{row.title}  ({row.letter})" for row in rows])
    times.set_title("milliseconds an image", loc="left", fontsize=10, color=_TEXT)
    _bars(space, rows, [row.peak_memory / 2**20 for row in rows], [memory(row.peak_memory) for row in rows])
    space.set_title("peak memory", loc="left", fontsize=10, color=_TEXT)
    times.invert_yaxis()
    for tick, row in zip(times.get_yticklabels(), rows, strict=True):
        tick.set_fontweight(_weight(row))
    figure.suptitle(
        f"{about['images']} images, {about['network']}, {about['processor']}, {found.cores} cores",
        x=0.01, ha="left", fontsize=12, fontweight="bold", color=_TEXT,
    )  # fmt: skip
    if any(row.sampled for row in rows):
        figure.text(0.005, 0.0, f"hatched: measured on {_sampled(rows)}", fontsize=8, color=_FAINT, va="bottom")
        times.set_xlabel(" ", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _bars(axes: Axes, rows: Sequence[Row], values: Sequence[float], labels: Sequence[str]) -> None:
    drawn = axes.barh(range(len(rows)), values, height=_BAR, color=[_color(row) for row in rows])
    for bar, row in zip(drawn, rows, strict=True):
        if row.sampled:
            bar.set(hatch="///", edgecolor="white", linewidth=0)
    longest = max(values) or 1.0
    for number, (value, label, row) in enumerate(zip(values, labels, rows, strict=True)):
        place = value + 0.015 * longest
        axes.text(place, number, label, va="center", fontsize=9, color=_TEXT, fontweight=_weight(row))
    axes.set_xlim(0, _ROOM * longest)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_FAINT)


def _color(row: Row) -> str:
    """boxmill as it is stands out from boxmill with something taken away."""
    return _MILL if row.letter == "d" else _LIMITED if row.letter.startswith("d") else _SCRIPT


def _weight(row: Row) -> str:
    return "bold" if row.letter == "d" else "normal"


def _label(found: Comparison, row: Row) -> str:
    """Its time; behind boxmill's own, how many times as fast as the scripts it is."""
    value = row.per_image * 1e3
    text = f"{value:.1f}" if value < 100 else f"{value:.0f}"
    if not row.letter.startswith("d"):
        return text
    return text + "".join(f"   {row.times(base):.1f}× ({base.letter})" for base in found.bases)


def _sampled(rows: Sequence[Row]) -> str:
    row = next(row for row in rows if row.sampled)
    return f"{row.sampled} of {row.total_images} images"
