"""Charts as inline SVG without text: the letters around them are HTML, so that they keep their size on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from boxmill.report.markup import Html, element, join

__all__ = ["Column", "Mark", "Part", "columns", "elapsed", "meter", "number", "seconds", "stacked_bar", "top_of"]

_WIDTH, _HEIGHT = 1000, 200  # units of a plot; stretched to the place it is given


class Part(NamedTuple):
    """One piece of a stacked bar."""

    share: float  # of the whole bar
    colour: str  # a class of the style sheet
    title: str


class Column(NamedTuple):
    """One column of a plot."""

    value: float
    title: str


class Mark(NamedTuple):
    """A vertical line in a plot."""

    at: float  # 0 left, 1 right
    title: str


def stacked_bar(parts: Sequence[Part], label: str) -> Html:
    """Parts side by side; where they are more than a whole, they are drawn in proportion."""
    whole = max(1.0, sum(max(part.share, 0.0) for part in parts))
    left, pieces = 0.0, []
    for part in parts:
        width = _WIDTH * max(part.share, 0.0) / whole
        pieces.append(_rect(left, 0, width, 40, part.title, part.colour))
        left += width
    return _svg(pieces, 40, label, "bar")


def meter(share: float) -> Html:
    """A thin bar that is filled up to `share`; it stands beside the number that it shows."""
    filled = element("rect", width=f"{100 * share:.2f}", height=8, rx=1, class_="column")
    return element("svg", filled, viewBox="0 0 100 8", preserveAspectRatio="none", class_="meter", aria_hidden="true")


def top_of(most: float) -> float:
    """A round number, not below `most`, that an axis may end at."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 2.5, 5, 10, 20) if step * power >= most * (1 - 1e-12))


def columns(
    values: Sequence[Column],
    below: Sequence[object],
    label: str,
    marks: Sequence[Mark] = (),
    level: float | None = None,
) -> Html:
    """Columns of equal width over an axis with what `below` has, evenly spread; `level` is a horizontal line."""
    top = top_of(max((column.value for column in values), default=0.0))
    step = _WIDTH / max(len(values), 1)
    pieces = [_rule(_HEIGHT * part / 2, "grid") for part in (0, 1)]
    for place, column in enumerate(values):
        height = _HEIGHT * column.value / top
        pieces.append(_rect(place * step, _HEIGHT - height, step * 0.94, height, column.title, "column"))
    for mark in marks:
        x = f"{_WIDTH * mark.at:.1f}"
        title = element("title", mark.title)
        pieces.append(element("g", title, element("line", x1=x, x2=x, y1=0, y2=_HEIGHT, class_="mark")))
    if level is not None:
        pieces.append(_rule(_HEIGHT * (1 - level / top), "level"))
    ticks = join(element("span", number(value)) for value in (top, top / 2, 0))
    axis = element("div", join(element("span", text) for text in below), class_="below")
    drawn = _svg(pieces, _HEIGHT, label, "plot")
    return element("div", element("div", ticks, class_="beside", aria_hidden="true"), drawn, axis, class_="chart")


def number(value: float) -> str:
    """With thousands set apart, and no more decimals than its size makes worth reading."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """A duration in the two units that matter."""
    if value < 60:
        return f"{value:.1f} s" if value >= 1 or value == 0 else f"{value * 1e3:.0f} ms"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def elapsed(value: float, span: float) -> str:
    """A time on an axis of `span` seconds: in one form at every place of it."""
    if span < 60:
        return f"{value:.{0 if span >= 20 else 1 if span >= 2 else 2}f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02}" if span < 3600 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _svg(pieces: Sequence[Html], height: int, label: str, kind: str) -> Html:
    box = f"0 0 {_WIDTH} {height}"
    return element("svg", *pieces, viewBox=box, preserveAspectRatio="none", class_=kind, role="img", aria_label=label)


def _rect(x: float, y: float, width: float, height: float, title: str, kind: str) -> Html:
    sides = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    return element("g", element("title", title), element("rect", **sides, class_=kind))


def _rule(y: float, kind: str) -> Html:
    return element("line", x1=0, x2=_WIDTH, y1=f"{y:.1f}", y2=f"{y:.1f}", class_=kind)
