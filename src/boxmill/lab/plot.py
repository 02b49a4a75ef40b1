"""Time against N as a picture, PNG and SVG, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from boxmill.lab.growth import Growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plots"]

# Okabe and Ito's palette: told apart by people who see few colours, and by markers where two share one
_COLORS = ("#000000", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#7F7F7F", "#8B4513")
_CANDIDATES = "candidates (dotted: two hard back-ends change places)"
_MARKERS = "osD^vP*Xd"


def plots(growth: Growth, methods: dict[str, str], title: str) -> dict[str, bytes] | None:
    """{"png": …, "svg": …}; `methods` is the method of each back-end. None: matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots()
    for number, (name, latencies) in enumerate(growth.latency.items()):
        axes.plot(
            growth.sizes,
            [one.median for one in latencies],
            label=name,
            color=_COLORS[number % len(_COLORS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=2.2 if name == "boxmill" else 1.3,
            linestyle="-" if methods[name] == "hard" else "--",
            zorder=3 if name == "boxmill" else 2,
        )
    _decorate(axes, growth, title)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return {kind: _drawn(figure, kind) for kind in ("png", "svg")}


def _decorate(axes: Axes, growth: Growth, title: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=_CANDIDATES, ylabel="median time of one call, µs", title=title)
    sizes = _apart(growth.sizes)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for one in growth.crossovers:
        axes.axvline(one.size, color="#999999", linewidth=0.8, linestyle=":", zorder=1)


def _apart(sizes: Sequence[int]) -> list[int]:
    """Those whose labels do not meet on a logarithmic axis."""
    chosen = [sizes[0]]
    for size in sizes[1:]:
        if size >= 1.3 * chosen[-1]:
            chosen.append(size)
    return chosen


def _drawn(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150)
    return buffer.getvalue()
