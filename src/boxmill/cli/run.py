"""`boxmill run`: a detector over a source."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from boxmill.api import Prepared, prepare
from boxmill.cli.console import Reporter
from boxmill.engine import Run, TimeTable, keep_freed_memory
from boxmill.images import configure_opencv
from boxmill.settings import RunSettings, settings

Many = Parameter(consume_multiple=True, negative="")
Plain = Parameter(negative="")


def run(
    source: str,
    /,
    *,
    weights: Annotated[Path, Parameter(name=["--weights", "-w"])],
    card: Path | None = None,
    labels: Path | None = None,
    lang: Literal["en", "zh"] | None = None,
    imgsz: Annotated[list[int] | None, Many] = None,
    rect: bool | None = None,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    max_nms: int | None = None,
    classes: Annotated[list[str] | None, Many] = None,
    agnostic_nms: Annotated[bool | None, Plain] = None,
    multi_label: Annotated[bool | None, Plain] = None,
    workers: int | Literal["auto"] | None = None,
    precision: Literal["auto", "fp32", "bf16"] | None = None,
    runtime: Literal["openvino", "fake"] | None = None,
    project: Path | None = None,
    name: str | None = None,
    json: Annotated[bool, Plain] = False,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Run a detector over images: one JSON file for each image, and a summary.

    Examples:

        boxmill run photos/ --weights yolov8n.onnx

        boxmill run 'photos/**/*.jpg' -w yolox.onnx --card yolox.yaml --lang zh --conf 0.4

        boxmill run list.txt -w best.onnx --classes 0 2 person --imgsz 640

    Results are written to runs/NAME/json/ while the run goes on; a bad file becomes a failure with its reason and
    never stops the run. Exit codes: 0 all done, 2 usage, 3 source, 4 model, 5 interrupted, 6 disk full or write error,
    7 finished but some images failed (they are listed).

    Parameters
    ----------
    source
        An image, a folder (searched recursively), a quoted glob, or a .txt file with a path on each line.
    weights
        The detector, an ONNX file.
    card
        Model card: how images go in and boxes come out. Default: the .yaml beside the weights, if there is one.
    labels
        Class names: JSON, YAML or text, one a line. Default: those of the card or the weights.
    lang
        Language of the built-in COCO names: en or zh.
    imgsz
        Network input in pixels, one number or height and width. Default: what the network was exported for.
    rect
        Smallest shape of the image's own aspect ratio instead of a square. Default: wherever the network takes it.
    conf
        Keep objects that score above this. Default: 0.25.
    iou
        Overlap above which the lower-scored box of a class is suppressed. Default: 0.45.
    max_det
        At most this many objects an image. Default: 300.
    max_nms
        At most this many candidates an image go into suppression, best first. Default: 30000.
    classes
        Only these classes, by id or name.
    agnostic_nms
        Suppress across classes too.
    multi_label
        An anchor may yield several classes, as in validation.
    workers
        Images under way at the same time. Default: auto, one for each available core.
    precision
        auto is bf16 where the processor has it natively, else fp32.
    runtime
        What runs the network. fake needs no network: made-up boxes to try a pipeline with, from a card alone.
    project
        Folder for runs. Default: runs.
    name
        Name of this run. Default: the source's; a number is added where it is taken.
    json
        Print the summary as JSON on standard output.
    quiet
        Print nothing but errors.
    """
    flags = {key: value for key, value in locals().items() if key not in ("source", "json", "quiet")}
    if workers == "auto":
        flags["workers"] = None
    chosen = settings(source, flags)
    return _run(chosen, Reporter(quiet=quiet), as_json=json)


def _run(chosen: RunSettings, reporter: Reporter, *, as_json: bool) -> int:
    configure_opencv()
    keep_freed_memory()
    prepared = prepare(chosen)
    reporter.settings(prepared)
    run = Run(prepared.job)
    with _stop_on_signal(run, reporter) as interrupted, reporter.progress(len(prepared.listing)) as observe:
        table = run.execute(observe)
    summary = prepared.store.finish(_facts(prepared, table, interrupted=bool(interrupted)))
    reporter.summary(summary, prepared.store.directory)
    if as_json:
        reporter.json(summary)
    else:
        reporter.result(prepared.store.directory)
    if interrupted:
        return 5
    return 7 if summary["failed"]["count"] else 0


def _facts(prepared: Prepared, table: TimeTable, *, interrupted: bool) -> dict[str, Any]:
    """The engine's part of summary.json; seconds throughout."""
    tally = prepared.store.tally
    done = tally.processed + tally.failed
    return {
        "version": 1,
        "run": prepared.store.directory.name,
        "status": "interrupted" if interrupted else "finished",
        "total_images": len(prepared.listing),
        "wall": table.wall,
        "images_per_s": done / table.wall,
        "workers": table.workers,
        "stages": table.stages,
        "waits": table.waits,
        "unexplained": table.unexplained,
        "cpu": table.cpu,
        "startup": dict(prepared.startup),
        "peak_memory": _peak_memory(),
        "skipped": dict(prepared.listing.skipped),
        "settings": prepared.description["settings"],
    }


def _peak_memory() -> int:
    """Bytes; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def _stop_on_signal(run: Run, reporter: Reporter) -> Iterator[list[int]]:
    """First Ctrl-C or SIGTERM: finish what is under way. Second: stop now. Yields the signals received."""
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        received.append(number)
        if len(received) > 1:
            raise SystemExit(5)
        reporter.note("stopping: finishing the images under way; once more stops now")
        run.stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
