"""`boxmill convert`: a YOLOv9 checkpoint as an ONNX file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from boxmill.errors import UsageError


def convert(
    weights: Path,
    target: Path | None = None,
    /,
    *,
    half: Annotated[bool, Parameter(negative="")] = False,
    imgsz: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a YOLOv9 checkpoint as an ONNX file that runs everywhere.

    Examples:

        boxmill convert yolov9-s.pt

        boxmill convert yolov9-s.pt yolov9-s-half.onnx --half --imgsz 480 640

    The checkpoint is read without executing anything in it. The file holds the main branch, fused, with batch, height
    and width open, and the names, stride and size that `boxmill run` and other tools read. Before it takes its place,
    the same pictures go through PyTorch in float64 and through every runtime that is installed; the differences are
    printed. Needs pip install 'boxmill[torch]'. Exit codes: 0 written, 2 usage, 4 the checkpoint cannot be converted or
    a runtime gives other results (then no file is written), 6 the file cannot be written.

    Parameters
    ----------
    weights
        The checkpoint (.pt), as YOLOv9's training writes it.
    target
        The file to write. Default: the checkpoint's name with .onnx. A file that is there is replaced.
    half
        Weights and feature maps in float16: half the size. Images, boxes and scores stay float32.
    imgsz
        Default input in pixels, one number or height and width. Default: 640. Other multiples of the stride run too.
    quiet
        Print nothing but errors.
    """
    from boxmill.convert import ConvertOptions
    from boxmill.convert import convert as write

    target = target or weights.with_suffix(".onnx")
    done = write(weights, target, ConvertOptions("fp16" if half else "fp32", _size(imgsz)))
    if not quiet:
        size = f"{done.size / 2**20:.1f} MiB, {done.parameters:,} parameters"
        print(f"{done.verdict.table()}\n{size}", file=sys.stderr)
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(done.path) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def _size(values: list[int] | None) -> tuple[int, int]:
    if values is None:
        return 640, 640
    if len(values) not in (1, 2):
        raise UsageError(f"--imgsz: expected one size, or height and width, got {' '.join(map(str, values))}")
    return values[0], values[-1]
