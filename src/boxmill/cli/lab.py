"""`boxmill lab`: candidates replayed through every NMS that is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from boxmill.errors import OutputError, UsageError

if TYPE_CHECKING:
    from boxmill.lab import Study

Many = Parameter(consume_multiple=True, negative="")
Plain = Parameter(negative="")


def lab(
    run: Path | None = None,
    /,
    *,
    synthetic: Annotated[bool, Plain] = False,
    conf: float = 0.25,
    candidates: Annotated[list[int] | None, Many] = None,
    multi_label: Annotated[bool, Plain] = False,
    iou: float = 0.45,
    backends: Annotated[list[str] | None, Many] = None,
    gt: Path | None = None,
    images: int = 256,
    sizes: Annotated[list[int] | None, Many] = None,
    seconds: float = 1.0,
    out: Path = Path("lab"),
    json: Annotated[bool, Plain] = False,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Time every NMS that is installed on the same candidates, and compare what each keeps with the reference.

    Examples:

        boxmill lab --synthetic

        boxmill run photos/ -w yolov8n.onnx --dump-heads && boxmill lab runs/photos

        boxmill lab runs/val --conf 0.001 --multi-label --iou 0.65 --gt instances_val.json

    Written to --out: lab.json, lab.md, and with matplotlib lab.png and lab.svg. What is not installed is listed, and
    everything else goes on. Exit codes: 0 done, 2 usage, 3 dumps or ground truth cannot be read, 6 nothing can be
    written.

    Parameters
    ----------
    run
        Folder of a run that was made with --dump-heads.
    synthetic
        Instead of a run: a single target (80 candidates), a crowd (1200), small targets (950).
    conf
        Candidates score above this.
    candidates
        Instead of --conf: about so many candidates for each image, one number for all, or one for each dump in the
        order of their names.
    multi_label
        An anchor may be a candidate for several classes, as in validation.
    iou
        Overlap above which the lower-scored box of a class is suppressed.
    backends
        Only these, by name as in the tables, beside boxmill. Default: all.
    gt
        COCO ground truth of the dumped images, for the average precision of each back-end. Needs boxmill[eval].
    images
        Only so many dumps are read.
    sizes
        Numbers of candidates for time against N. Default: 80 200 500 1000 1001 1200 2500 5000.
    seconds
        For each scene and each size, about.
    out
        Folder for the report.
    json
        Print the JSON document instead of the tables.
    quiet
        Print nothing but errors.
    """
    from boxmill.lab import SIZES, Plan, Selection, markdown, study
    from boxmill.post.backends import Rule
    from boxmill.store import pretty

    if (run is None) != synthetic:
        raise UsageError("give either the folder of a run with dumps (boxmill run … --dump-heads), or --synthetic")
    plan = Plan(
        run,
        Selection(conf, multi_label, tuple(candidates or ()), images),
        Rule(iou),
        tuple(backends or ()),
        gt,
        tuple(sizes or SIZES),
        seconds,
    )
    _make(out)
    found = study(plan, (lambda step: None) if quiet else lambda step: print(step, file=sys.stderr, flush=True))
    document = pretty(found.document())
    pictures = _draw(found)
    text = markdown(found, "lab.png" if pictures else None)
    _write(out, {"lab.json": document, "lab.md": text.encode(), **pictures})
    if not quiet:
        if not pictures:
            print("no plot: it needs matplotlib, pip install 'boxmill[plot]'", file=sys.stderr)
        print(f"written: {os.fspath(out)}", file=sys.stderr)
        sys.stdout.write(document.decode() if json else text)
    return 0


def _draw(found: Study) -> dict[str, bytes]:
    """The pictures by file name; none without matplotlib."""
    from boxmill.lab import plots

    title = f"NMS from Python, one thread, {found.machine['processor']}"
    drawn = plots(found.growth, {one.name: one.method for one in found.used}, title)
    return {f"lab.{kind}": data for kind, data in (drawn or {}).items()}


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out {str(out)!r} cannot be made: {error.strerror}; give another folder") from error


def _write(out: Path, files: dict[str, bytes]) -> None:
    from boxmill.store import write_file

    for name, data in files.items():
        write_file(out / name, data)
