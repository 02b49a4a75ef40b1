"""`boxmill export`: a run's results in the format of another tool."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from boxmill.errors import UsageError

Kind = Literal["coco", "yolo", "voc", "labelme", "labelstudio", "megadetector", "csv", "jsonl"]


def export(
    run: Path,
    /,
    *,
    format: Annotated[Kind, Parameter(name=["--format", "-f"])],  # noqa: A002 - what people call it
    conf: float | None = None,
    out: Path | None = None,
    images: Path | None = None,
    coco_ids: Literal["80", "91", "class"] | None = None,
    save_conf: Annotated[bool, Parameter(negative="")] = False,
    url_prefix: str = "/data/local-files/?d=",
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a run's results in another tool's format, into a folder of its own.

    Examples:

        boxmill export runs/photos --format csv

        boxmill export runs/photos --format yolo --conf 0.5 --out dataset

        boxmill export runs/photos --format coco --coco-ids 91

    What is written: coco instances.json and results.json; yolo labels/, images/ (links) and data.yaml; voc
    Annotations/; labelme annotations/; labelstudio tasks.json and config.xml; megadetector results.json; csv
    results.csv; jsonl results.jsonl. A tagger's run: csv, jsonl or labelstudio.

    The folder appears whole or not at all. The same command again replaces what it wrote, and never anything else.
    Exit codes: 0 written, 2 usage, 6 something cannot be read or written.

    Parameters
    ----------
    run
        The run's folder, such as runs/photos.
    format
        coco, yolo, voc, labelme, labelstudio, megadetector, csv or jsonl.
    conf
        Only objects that score above this; no lower than the run's --keep-conf. Default: the run's --conf.
    out
        The folder to write. Default: RUN/exports/FORMAT.
    images
        yolo, labelme: the source's folder, where it has moved since.
    coco_ids
        coco: category ids. 91: COCO's own ids of its 80 classes. 80: those 1 to 80. class: class ids, from 0. Default:
        class id + 1.
    save_conf
        yolo: the score at the end of each line; leave it out for training.
    url_prefix
        labelstudio: what an image's path below the source is appended to.
    quiet
        Print nothing but errors.
    """
    from boxmill.store import RunLock
    from boxmill.store.exports import ExportOptions
    from boxmill.store.exports import export as write

    if not (run / "run.json").is_file():
        raise UsageError(f"{str(run)!r} is no run: it holds no run.json; expected a folder such as runs/photos")
    for flag, given, formats in (
        ("--images", images is not None, ("yolo", "labelme")),
        ("--coco-ids", coco_ids is not None, ("coco",)),
        ("--save-conf", save_conf, ("yolo",)),
        ("--url-prefix", url_prefix != "/data/local-files/?d=", ("labelstudio",)),
    ):
        if given and format not in formats:
            raise UsageError(f"{flag} is for --format {' or '.join(formats)}; leave it out with {format}")
    moved = None if images is None else str(images)
    with RunLock(run) if os.access(run, os.W_OK) else nullcontext():  # nobody writes to what is read-only
        written = write(run, format, out, ExportOptions(conf, coco_ids, save_conf, moved, url_prefix))
    if not quiet:
        print(f"{written.done} images, {written.failed} failed", file=sys.stderr)
        for remark in written.remarks:
            print(remark, file=sys.stderr)
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(written.path) + b"\n")
        sys.stdout.buffer.flush()
    return 0
