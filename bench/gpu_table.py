"""The first article's table on a GPU: `boxmill compare` over 867 scenes that are made here. gpu_end_to_end.py calls it.

    boxmill demo glyphs .bench/glyphs.npz        # once, where the font is: then scenes can be made where it is not
    … bench/gpu_end_to_end.py --glyphs FILE      # default: BOXMILL_GLYPHS, .bench/glyphs.npz, then the font

Everything runs through PyTorch: the scripts as people write them, (c') in float16, and boxmill as it is. What a package
or the time is missing for is said, and nothing of it is claimed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["FACTOR", "Table", "factor_of", "table", "table_lines"]

WORK = Path(__file__).resolve().parent.parent / ".bench"
NEEDED = ("cv2", "cyclopts", "msgspec", "psutil", "rich", "yaml")  # modules
PASSING = 300  # candidates, about what a trained detector has on a scene of a shop
FACTOR = 11.0  # times the script that loads the network for each image
PATIENCE = 10.0  # seconds that an interrupted command has to end its programs


@dataclass(frozen=True)
class Table:
    """What is compared, and until when."""

    weights: Path  # a YOLOv9 checkpoint
    device: str  # cpu or cuda:N
    conf: float | None  # None: random weights; what `PASSING` anchors of the first scene pass
    glyphs: Path | None  # what `boxmill demo glyphs` wrote; None: found by `sheet_of`, or the font
    until: float  # time.monotonic()
    images: int = 867
    size: str = "1920x1080"
    imgsz: int = 640


class Late(Exception):
    """The time is over."""


def table(wanted: Table) -> dict[str, Any]:
    """`boxmill compare`'s JSON document, or {"not_measured": why there is none}."""
    if absent := [name for name in NEEDED if find_spec(name) is None]:
        return {"not_measured": f"not installed: {', '.join(absent)}"}
    try:
        folder = scenes(wanted)
        conf = passed(wanted, folder / "000000.jpg") if wanted.conf is None else wanted.conf
        document: dict[str, Any] = json.loads(boxmill(wanted.until, *compare_command(wanted, conf, folder)))
    except Late as error:
        return {"not_measured": f"the time was over during {error}"}
    except subprocess.CalledProcessError as error:
        return {"not_measured": f"boxmill {error.cmd[4]} ended with {error.returncode}, see above"}
    return document


def sheet_of(given: Path | None) -> Path | None:
    """A sheet of glyphs, where there is one."""
    named = os.environ.get("BOXMILL_GLYPHS")
    usual = WORK / "glyphs.npz"
    return given or (Path(named) if named else usual if usual.is_file() else None)


def scenes(wanted: Table) -> Path:
    folder = WORK / f"scenes{wanted.images}-{wanted.size}"
    if not (folder / "ground_truth.coco.json").exists():  # it is written last
        sheet = sheet_of(wanted.glyphs)
        font = () if sheet is None else ("--font", str(sheet))
        if folder.exists():  # of a run that was stopped
            for path in folder.iterdir():
                path.unlink()
        flags = ("--images", str(wanted.images), "--size", wanted.size, "--quiet")
        boxmill(wanted.until, "demo", "scenes", str(folder), *flags, *font)
    return folder


def passed(wanted: Table, picture: Path) -> float:
    """The score that `PASSING` anchors of a picture pass."""
    import cv2
    import numpy as np
    import torch

    from boxmill.models.checkpoint import read_checkpoint
    from boxmill.models.yolov9 import fuse, load

    pixels = cv2.resize(cv2.imread(str(picture))[..., ::-1], (wanted.imgsz, wanted.imgsz))
    image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    with torch.inference_mode():
        scores = fuse(load(read_checkpoint(wanted.weights)))(image)[0, 4:].amax(0).sort(descending=True).values
    return min(0.999, float(scores[min(PASSING, len(scores) - 1)]))


def compare_command(wanted: Table, conf: float, folder: Path) -> Sequence[str]:
    flags = ("--runtime", "torch", "--device", wanted.device, "--conf", f"{conf:.6g}", "--json")
    given = ("--weights", str(wanted.weights), "--imgsz", str(wanted.imgsz), "--out", str(WORK / "gpu-table"))
    return ("compare", str(folder), *given, *flags)


def boxmill(until: float, *parts: str) -> str:
    """Standard output of a command that ends with 0 in time.

    Raises:
        Late: it does not; it was interrupted, and has ended what it had started.
        subprocess.CalledProcessError: it ends with something else.
    """
    command = [sys.executable, "-P", "-m", "boxmill", *parts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise Late(f"boxmill {parts[0]}") from error
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return output


def table_lines(found: dict[str, Any]) -> list[str]:
    """The table for people, and what must hold of it."""
    if "not_measured" in found:
        return [f"the article's table               not measured: {found['not_measured']}"]
    lines = [f"the article's table, {found['images']} scenes, {found['network']}"]
    for row in found["rows"]:
        gpu = "–" if row["gpu_share"] is None else f"{row['gpu_share']:.0%}"
        times = ", ".join(
            f"{factor:.1f}x ({letter})" for letter, factor in row["times"].items() if letter != row["row"]
        )
        lines.append(
            f"  {'(' + row['row'] + ')':5}{row['title']:40}{1e3 * row['seconds_per_image']:9.1f} ms/image, CPU "
            f"{row['cpu_share']:.0%}, GPU {gpu}; {times}"
        )
    lines += [f"  ({one['row']}) did not take part: {one['reason']}" for one in found["missing"]]
    return [*lines, f"  boxmill is {factor_of(found):.1f} times (a) (wanted {FACTOR:g})"]


def factor_of(found: dict[str, Any]) -> float:
    """Times the default script; 0 where either did not take part."""
    mine = [row for row in found["rows"] if row["row"] == "d"]
    return float(mine[0]["times"].get("a", 0.0)) if mine else 0.0
