"""`boxmill report`: a run as one HTML page."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from boxmill.errors import UsageError

_MOST_IMAGES = 500  # more are never shown: the page stays small


def report(
    run: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    lang: Literal["zh", "en", "both"] = "both",
    images: int = 60,
    source: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a run's report: one HTML file that needs no network.

    Examples:

        boxmill report runs/photos

        boxmill report runs/photos --lang zh --output report-zh.html

    Numbers, failures with their messages, where the time went, throughput, scores, classes, and some of the images with
    their boxes. It stays under 5 MB. Exit codes: 0 written, 2 usage, 6 something cannot be read or written.

    Parameters
    ----------
    run
        The run's folder, such as runs/photos.
    output
        The file to write. Default: RUN/report.html.
    lang
        zh, en, or both with a switch; both begins with the language of the run's labels.
    images
        How many images are shown at most, up to 500; fewer where they would make the file too large. 0 for none.
    source
        The source's folder or archive, where it has moved since.
    quiet
        Print nothing but errors.
    """
    from boxmill.images import configure_opencv
    from boxmill.report import ReportOptions, write_report
    from boxmill.store import RunLock

    if not (run / "run.json").is_file():
        raise UsageError(f"{str(run)!r} is no run: it holds no run.json; expected a folder such as runs/photos")
    if not 0 <= images <= _MOST_IMAGES:
        raise UsageError(f"--images {images}: expected 0 to {_MOST_IMAGES}")
    configure_opencv()
    moved = None if source is None else str(source)
    with RunLock(run) if os.access(run, os.W_OK) else nullcontext():  # nobody writes to what is read-only
        written = write_report(run, output, ReportOptions(lang, images, moved))
    if not quiet:
        pictures = f"{written.shown} images"
        if written.missing:
            pictures += f", {written.missing} of them without their picture (see --source)"
        print(f"{written.size / 1e6:.1f} MB, {pictures}", file=sys.stderr)
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(written.path) + b"\n")
        sys.stdout.buffer.flush()
    return 0
