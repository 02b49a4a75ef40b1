"""Settings of a run: defaults, checks, and where each value came from. Frozen, one dataclass for each room."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from boxmill.errors import UsageError

__all__ = [
    "EngineSettings",
    "ModelSettings",
    "OutputSettings",
    "PostSettings",
    "RunSettings",
    "available_cpus",
    "settings",
]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which network, and how its input and names are understood. None: concluded from the card and the weights."""

    weights: Path
    card: Path | None = None
    labels: Path | None = None
    lang: Literal["en", "zh"] | None = None
    imgsz: tuple[int, int] | None = None  # height, width
    rect: bool | None = None


@dataclass(frozen=True, slots=True)
class PostSettings:
    """Which boxes are results."""

    conf: float = 0.25
    keep_conf: float | None = None  # journal down to this score, so that exports can show more later; None: conf
    iou: float = 0.45
    max_det: int = 300
    max_nms: int = 30_000
    classes: tuple[str, ...] = ()  # ids or names; empty: all
    agnostic_nms: bool = False
    multi_label: bool = False


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What computes. None: chosen for this machine."""

    runtime: Literal["openvino", "fake"] = "openvino"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int | None = None
    fast_decode: bool = False  # JPEGs no larger than the network needs them; changes scores
    image_timeout: float = 60.0  # seconds; an image that takes longer loses its process
    memory_limit: float | None = None  # GiB that the worker process may hold


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Where results go, and which earlier run is gone on with (FORMATS, "Run directory").

    `name` None: the run is named after its source. `resume` names a run; `fresh` never resumes; `exist_ok` means
    exactly the folder `name`; `add` takes in inputs that appeared since; `retry_failed` tries failed ones again.
    """

    project: Path = Path("runs")
    name: str | None = None
    resume: str | None = None
    fresh: bool = False
    exist_ok: bool = False
    add: bool = False
    retry_failed: bool = False
    allow_failed: str = "0"  # a number of images, or a share such as 5%
    image_json: bool | None = None  # None: up to 100,000 inputs
    json_names: Literal["full", "stem"] = "full"  # a.jpg.json or a.json
    int_boxes: bool = False  # whole pixels in JSON
    save_txt: bool = False  # YOLO text
    save_conf: bool = False  # with scores in it
    save_crop: bool = False

    def failures_allowed(self, total: int) -> int:
        """How many of `total` images may fail without exit code 7."""
        text = self.allow_failed
        return math.floor(Fraction(text[:-1]) * total / 100) if text.endswith("%") else int(text)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything that `boxmill run` can be told."""

    source: str
    model: ModelSettings
    post: PostSettings = field(default_factory=PostSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    output: OutputSettings = field(default_factory=OutputSettings)


_ROOMS: Mapping[str, type] = {
    "model": ModelSettings,
    "post": PostSettings,
    "engine": EngineSettings,
    "output": OutputSettings,
}


def settings(source: str, flags: Mapping[str, Any]) -> RunSettings:
    """Settings from flags; a flag that is None was not given and keeps its default.

    Raises:
        UsageError: a value is out of its range.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if "classes" in given:
        given["classes"] = tuple(given["classes"])
    if "imgsz" in given:
        given["imgsz"] = _size(given["imgsz"])
    rooms = {
        room: kind(**{f.name: given[f.name] for f in fields(kind) if f.name in given}) for room, kind in _ROOMS.items()
    }
    chosen = RunSettings(source, **rooms)
    _check(chosen)
    return chosen


def _size(values: list[int]) -> tuple[int, int]:
    if len(values) not in (1, 2) or min(values) < 1:
        raise UsageError(
            f"--imgsz: expected one size, or height and width, in pixels; got {' '.join(map(str, values))}"
        )
    return values[0], values[-1]


def _check(chosen: RunSettings) -> None:
    for flag, share in (("--conf", chosen.post.conf), ("--iou", chosen.post.iou)):
        if not 0 <= share <= 1 or math.isnan(share):
            raise UsageError(f"{flag}: expected a number from 0 to 1, got {share:g}")
    _check_keep_conf(chosen.post)
    counts = {
        "--max-det": chosen.post.max_det,
        "--max-nms": chosen.post.max_nms,
        "--workers": chosen.engine.workers,
    }
    for flag, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{flag}: expected 1 or more, got {count}")
    if not 0 < chosen.engine.image_timeout < math.inf:
        raise UsageError(f"--image-timeout: expected seconds above 0, got {chosen.engine.image_timeout:g}")
    if chosen.engine.memory_limit is not None and not 0 < chosen.engine.memory_limit < math.inf:
        raise UsageError(f"--memory-limit: expected GiB above 0, got {chosen.engine.memory_limit:g}")
    _check_output(chosen.output)


def _check_keep_conf(post: PostSettings) -> None:
    keep = post.keep_conf
    if keep is not None and not 0 <= keep <= post.conf:
        raise UsageError(
            f"--keep-conf: expected a number from 0 to --conf ({post.conf:g}), got {keep:g}; "
            "what scores above it is kept for exports, what scores above --conf is shown"
        )


def _check_output(output: OutputSettings) -> None:
    if not re.fullmatch(r"\d+|\d+(\.\d+)?%", output.allow_failed):
        raise UsageError(f"--allow-failed: expected a number of images or a share (5%), got {output.allow_failed!r}")
    if sum((output.resume is not None, output.fresh, output.exist_ok)) > 1:
        raise UsageError("--resume, --fresh and --exist-ok exclude each other; give one of them")
    if output.exist_ok and output.name is None:
        raise UsageError("--exist-ok means exactly the folder that --name names; give --name too")
    if output.fresh and (output.add or output.retry_failed):
        raise UsageError("--add and --retry-failed go on with an earlier run; leave --fresh out")
    if output.save_conf and not output.save_txt:
        raise UsageError("--save-conf writes scores into the files of --save-txt; give --save-txt too")
    for flag, name in (("--name", output.name), ("--resume", output.resume)):
        _check_name(flag, name)


def _check_name(flag: str, name: str | None) -> None:
    if name is not None and (name in ("", ".", "..") or "/" in name or "\0" in name):
        raise UsageError(f"{flag}: expected the name of one folder, got {name!r}; its place is set by --project")


def available_cpus() -> int:
    """Processors that this process may use: its affinity, and its control group's quota where there is one."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    count = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return count if quota is None else max(1, min(count, quota))


def _cgroup_quota() -> int | None:
    try:
        allowed, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return None if allowed == "max" else math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):
        return None
