"""What people see: settings before a run, progress during it, a table after it. All on stderr but for results."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from boxmill.engine import Progress
from boxmill.mill import Mill
from boxmill.store import pretty

__all__ = ["Reporter"]

_PLAIN_INTERVAL = 5.0  # seconds between progress lines where there is no terminal
_LISTED_FAILURES = 10


class Reporter:
    """Prints for people on stderr and results on stdout; `quiet` leaves only results."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)

    def note(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    def settings(self, mill: Mill) -> None:
        """The effective settings, and where each conclusion about the model came from."""
        self.note(mill.resolution.table())
        self.note(f"run       {', '.join(f'{name} {_shown(value)}' for name, value in mill.shown.items())}")
        for warning in mill.resolution.warnings:
            self.note(f"warning: {warning}")
        run = mill.run
        if run.skipped:
            self.note("passed over: " + ", ".join(f"{count} {kind}" for kind, count in sorted(run.skipped.items())))
        if run.resumed:
            done = run.states.finished()
            self.note(f"resuming {run.directory}: {done} of {run.manifest.total} images are done")
        else:
            self.note(f"{run.manifest.total} images -> {run.directory}")
        self._say(run.remarks)

    def _say(self, remarks: list[str]) -> None:
        for remark in remarks:
            self.note(remark)
        remarks.clear()

    @contextmanager
    def progress(self) -> Iterator[Callable[[Progress], None]]:
        """Yields the engine's observer: a bar on a terminal, a line every few seconds elsewhere."""
        if self._quiet:
            yield lambda progress: None
        elif self._console.is_terminal:
            with _bar(self._console) as bar:
                task = bar.add_task("", total=None, speed="")
                yield lambda p: bar.update(task, total=p.total, completed=p.done, speed=_speed(p))
        else:
            yield _PlainLines(self).observe

    def summary(self, summary: Mapping[str, Any], remarks: list[str], directory: Path) -> None:
        """Counts, failures, and where the time went."""
        if summary["computed"] and summary["wall"]:
            self._console.print(_time_table(summary))
        elif summary["computed"]:  # killed between its last result and its first report of times
            self.note("the worker process ended before it told where the time went")
        for device in summary.get("devices", [summary["device"]] if "device" in summary else []):
            self.note(_device_line(device))
        self._say(remarks)
        failed = summary["failed"]
        things = "tags" if summary["task"] == "tag" else "objects"
        self.note(
            f"{summary['processed']} ok ({summary['objects']} {things}, {summary['empty']} images without), "
            f"{failed['count']} failed, of {summary['total_images']}; "
            f"{summary['images_per_s']:.1f} images/s, {summary['wall']:.1f} s, "
            f"peak {summary['peak_memory'] / 2**20:.0f} MiB"
        )
        if summary["restarts"]:
            deaths = ", ".join(f"{count} {cause}" for cause, count in summary["deaths"].items())
            self.note(f"the worker process was replaced {summary['restarts']} times ({deaths})")
        if summary["truncated"]:
            self.note(f'{summary["truncated"]} images reached a limit (--max-det, --max-nms): marked "truncated"')
        if summary["nan_candidates"]:
            candidates = "scores" if things == "tags" else "candidate boxes"
            self.note(f"{summary['nan_candidates']} {candidates} were dropped because the network gave NaN")
        for row in failed["first"][:_LISTED_FAILURES]:
            self.note(f"failed: {row['image']}: {row['code']} ({row['stage']}): {row['message']}")
        if failed["count"] > _LISTED_FAILURES:
            self.note(f"… and {failed['count'] - _LISTED_FAILURES} more, in {directory / 'summary.json'}")

    def result(self, directory: Path) -> None:
        """The run's directory, for scripts, on stdout."""
        if not self._quiet:
            sys.stdout.flush()
            sys.stdout.buffer.write(os.fsencode(directory) + b"\n")  # whatever bytes the name has
            sys.stdout.buffer.flush()

    def json(self, summary: Mapping[str, Any]) -> None:
        """The summary as one JSON document on stdout."""
        sys.stdout.write(pretty(summary).decode())


class _PlainLines:
    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._last = reporter, perf_counter()

    def observe(self, progress: Progress) -> None:
        if perf_counter() - self._last >= _PLAIN_INTERVAL:
            self._last = perf_counter()
            self._reporter.note(f"{progress.done}/{progress.total}  {_speed(progress)}{_remaining(progress)}")


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "all"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _bar(console: Console) -> Bar:
    return Bar(
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn(), console=console
    )


def _speed(progress: Progress) -> str:
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"{(progress.done - progress.before) / max(progress.seconds, 1e-9):.1f} images/s{failed}"


def _remaining(progress: Progress) -> str:
    computed = progress.done - progress.before
    if computed == 0:
        return ""
    seconds = round((progress.total - progress.done) * progress.seconds / computed)
    return f", {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


def _device_line(device: Mapping[str, Any]) -> str:
    """How busy it was; what it did of a run on several; and what its driver says, where it says something."""
    name = f"{device['name']} ({device['hardware']})" if "hardware" in device else device["name"]
    parts = []
    if "idle_share" in device:
        parts.append(f"working {1 - device['idle_share']:.1%} of the time, else idle")
    if "images" in device:
        parts.append(f"{device['images']} images")
    if "utilization" in device:
        parts.append(
            f"utilization {device['utilization']:.0%}, peak {device['peak_memory'] / 2**20:.0f} MiB in use, "
            f"{device['sm_clock_mhz']:.0f} MHz"
        )
    return f"{name}: {'; '.join(parts)}"


def _time_table(summary: Mapping[str, Any]) -> Table:
    """Stages and waits of all workers; the rows add up to workers * wall."""
    done = max(summary["computed"], 1)
    whole = summary["workers"] * summary["wall"]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stage")
    for heading in ("ms/image", "share"):
        table.add_column(heading, justify="right")
    rows = [
        *summary["stages"].items(),
        *((f"wait: {name}", spent) for name, spent in summary["waits"].items()),
        ("unexplained", summary["unexplained"]),
    ]
    for name, seconds in rows:
        table.add_row(name, f"{seconds / done * 1e3:.2f}", f"{seconds / whole:.1%}")
    return table
