"""A comparison as the table that people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from boxmill.compare.rows import Comparison, Row

__all__ = ["markdown"]


def markdown(found: Comparison, plot: str | None = None) -> str:
    """The whole document; `plot` is the picture's file name where there is one."""
    lines = ["# The same images, the same network", "", _setting(found), "", *_table(found), "", *_reading(found), ""]
    lines += [f"- {note}" for note in found.notes]
    lines += [f"- ({one.letter}) {one.title}: did not take part, {one.reason}" for one in found.missing]
    lines += ["", _picture(plot)]
    return "\n".join(lines) + "\n"


def _setting(found: Comparison) -> str:
    about = found.facts
    height, width = about["network_size"]
    iou = "no NMS" if about["iou"] is None else f"NMS at IoU {about['iou']:g}"
    gpu = f", {about['gpu']}" if "gpu" in about else ""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['images']} images of {about['source']}, network {about['network']} at {width}x{height}, scores above "
        f"{about['conf']:g}, {iou}, at most {about['max_det']} objects an image.\n\n"
        f"{about['processor']}, {found.cores} cores{gpu}, {about['system']}; {versions}."
    )


def _table(found: Comparison) -> Iterator[str]:
    bases, judged = found.bases, bool(found.facts["judged"])
    header = ["", "program", "ms/image", "total", "CPU", "GPU", "peak memory", *(["AP"] if judged else [])]
    header += [f"times ({base.letter})" for base in bases]
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in found.rows:
        cells = [f"({row.letter})", row.title.replace("|", "\\|"), milliseconds(row), total(row)]
        cells += [f"{row.cpu_share(found.cores):.0%}", _share(row.gpu_share), memory(row.peak_memory)]
        cells += [_ap(row)] if judged else []
        cells += ["1" if base is row else f"{row.times(base):.2f}" for base in bases]
        yield "| " + " | ".join(f"**{cell}**" if row.letter == "d" and cell else cell for cell in cells) + " |"


def milliseconds(row: Row) -> str:
    """Time of an image; with several rounds the median, fastest and slowest."""
    middle = _digits(row.per_image * 1e3)
    if len(row.samples) == 1:
        return middle
    low, high = (_digits(one * 1e3) for one in row.spread)
    return f"{middle} ({low} to {high})"


def total(row: Row) -> str:
    """Time of the whole source; an extrapolated one begins with ≈."""
    return f"{'≈ ' if row.sampled else ''}{_duration(row.total)}"


def memory(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{_digits(seconds)} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"


def _digits(value: float) -> str:
    """Three digits are what one run on one machine gives."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _ap(row: Row) -> str:
    if row.letter == "a":
        return "as (b)"
    return "–" if row.ap is None else f"{row.ap:.4f}"


def _reading(found: Comparison) -> Iterator[str]:
    rounds: Sequence[int] = [len(row.samples) for row in found.rows]
    middle = f" (median of {max(rounds)} rounds, fastest and slowest)" if max(rounds) > 1 else ""
    yield (
        f"ms/image: from the first image to the last result{middle}; loading is in it only where it is done for each "
        "image. Total: all images, with the start and the end of the process. CPU: share of all cores' time. GPU: "
        "share of time in which it computed, – where there is none to ask. Peak memory: of the process and its "
        "children. Times (x): how many times as fast as (x) by ms/image. Each program ran in a fresh process, after "
        "every file had been read once."
    )
    for row in found.rows:
        if row.sampled:
            yield ""
            yield f"≈: ({row.letter}) worked on {row.sampled} of {row.total_images} images; its total is extrapolated."


def _picture(plot: str | None) -> str:
    return "No plot: it needs matplotlib, pip install 'boxmill[plot]'." if plot is None else f"![the table]({plot})"
