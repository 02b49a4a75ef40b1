"""Settings of a run: defaults, checks, and where each value came from. Frozen, one dataclass for each room."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from boxmill.demo.detector import shipped_detector
from boxmill.errors import UsageError
from boxmill.types import HeadSpec, ModelSpec, NmsMethod

__all__ = [
    "DetectorPost",
    "EngineSettings",
    "Language",
    "ModelSettings",
    "OutputSettings",
    "PostSettings",
    "Precision",
    "RunSettings",
    "RuntimeName",
    "TaggerPost",
    "available_cpus",
    "effective_post",
    "settings",
]


Language = Literal["en", "zh"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
RuntimeName = Literal["openvino", "onnxruntime", "tensorrt", "torch", "fake"]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which network, and how its input and names are understood. None: concluded from the card and the weights."""

    weights: Path
    card: Path | None = None
    labels: Path | None = None
    lang: Language | None = None
    imgsz: tuple[int, int] | None = None  # height, width
    rect: bool | None = None
    converted: Path | None = None  # the ONNX file that was made of `weights` and runs in their place

    @property
    def network(self) -> Path:
        """The file that the runtime reads."""
        return self.converted or self.weights


@dataclass(frozen=True, slots=True)
class PostSettings:
    """Which boxes or tags are results. None: what suits the model's head, see `effective_post`."""

    conf: float | None = None
    keep_conf: float | None = None  # journal down to this score, so that exports can show more later
    iou: float | None = None
    max_det: int | None = None
    max_nms: int | None = None
    classes: tuple[str, ...] = ()  # ids or names; empty: all
    agnostic_nms: bool = False
    multi_label: bool = False
    nms: NmsMethod = "hard"
    top_k: int | Literal["all"] | None = None


@dataclass(frozen=True, slots=True)
class DetectorPost:
    """What decides which boxes are results, every value known."""

    conf: float  # shown above it
    keep_conf: float  # journalled above it
    iou: float | None  # None: no NMS, or the soft one that has no threshold
    max_det: int
    max_nms: int
    classes: tuple[str, ...]
    agnostic_nms: bool
    multi_label: bool
    nms: NmsMethod


@dataclass(frozen=True, slots=True)
class TaggerPost:
    """What decides which tags are results, every value known."""

    conf: float | None  # None: whatever the score
    top_k: int | None  # None: all of them
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What computes. None: chosen for this machine."""

    runtime: RuntimeName = "openvino"
    precision: Precision = "auto"
    device: str = "auto"  # of torch, onnxruntime, tensorrt: cpu, cuda, cuda:N, N, several GPUs with commas
    batch: int | None = None  # images that go through a GPU together; None: found by measuring
    compile: bool = False  # of the torch runtime: torch.compile
    workers: int | None = None
    fast_decode: bool = False  # JPEGs no larger than the network needs them; changes scores
    image_timeout: float | None = None  # seconds; an image that takes longer loses its process
    memory_limit: float | None = None  # GiB that the worker process may hold; several divide it

    @property
    def devices(self) -> tuple[str, ...]:
        """What `device` names, as it was written: several, or one."""
        return tuple(name.strip() for name in self.device.split(","))

    @property
    def effective_image_timeout(self) -> float:
        """Seconds; a compiler takes minutes for the first image of a shape, and that must not look like a hang."""
        if self.image_timeout is not None:
            return self.image_timeout
        return 1800.0 if self.compile or self.runtime == "tensorrt" else 60.0

    @property
    def start_timeout(self) -> float:
        """Seconds until the network is loaded; TensorRT builds its engine first, and others wait for whoever builds."""
        return 3600.0 if self.runtime == "tensorrt" else 600.0


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
    save_img: bool = False  # each image with its objects drawn on it
    dump_heads: bool = False  # raw outputs, for `boxmill lab`

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
    """Settings from flags; a flag that is None was not given and keeps its default. Weights: the demo's detector.

    Raises:
        UsageError: a value is out of its range.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if "weights" not in given:
        given["weights"] = _default_weights(given)
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


def _default_weights(given: Mapping[str, Any]) -> Path:
    """The demo's detector, unless something else that was given says that other weights are meant."""
    if given.get("runtime") == "fake":
        raise UsageError("--runtime fake takes a model card in place of weights: give --weights CARD.yaml")
    for flag in ("card", "labels"):
        if flag in given:
            raise UsageError(f"--{flag} {given[flag]} describes weights that were not given; give --weights too")
    return shipped_detector()


def _size(values: list[int]) -> tuple[int, int]:
    if len(values) not in (1, 2) or min(values) < 1:
        raise UsageError(
            f"--imgsz: expected one size, or height and width, in pixels; got {' '.join(map(str, values))}"
        )
    return values[0], values[-1]


def _check(chosen: RunSettings) -> None:
    conf, iou = chosen.post.conf, chosen.post.iou
    if conf is not None and not math.isfinite(conf):  # its range depends on the model, see effective_post
        raise UsageError(f"--conf: expected a number, got {conf:g}")
    if iou is not None and not 0 <= iou <= 1:
        raise UsageError(f"--iou: expected a number from 0 to 1, got {iou:g}")
    counts = {
        "--max-det": chosen.post.max_det,
        "--max-nms": chosen.post.max_nms,
        "--top-k": None if chosen.post.top_k == "all" else chosen.post.top_k,
        "--workers": chosen.engine.workers,
        "--batch": chosen.engine.batch,
    }
    for flag, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{flag}: expected 1 or more{', or all' * (flag == '--top-k')}, got {count}")
    if not 0 < chosen.engine.effective_image_timeout < math.inf:
        raise UsageError(f"--image-timeout: expected seconds above 0, got {chosen.engine.image_timeout:g}")
    if chosen.engine.memory_limit is not None and not 0 < chosen.engine.memory_limit < math.inf:
        raise UsageError(f"--memory-limit: expected GiB above 0, got {chosen.engine.memory_limit:g}")
    _check_choices(chosen)
    _check_device(chosen.engine)
    _check_output(chosen.output)


def _check_choices(chosen: RunSettings) -> None:
    """For settings from Python; the command line refuses them itself."""
    choices = (
        ("--runtime", chosen.engine.runtime, get_args(RuntimeName)),
        ("--precision", chosen.engine.precision, get_args(Precision)),
        ("--lang", chosen.model.lang, (None, *get_args(Language))),
        ("--nms", chosen.post.nms, get_args(NmsMethod)),
    )
    for flag, value, possible in choices:
        if value not in possible:
            raise UsageError(f"{flag}: expected {', '.join(map(str, possible))}, got {value!r}")


def _check_device(engine: EngineSettings) -> None:
    if not isinstance(engine.device, str):
        raise UsageError(f"--device: expected text such as 'cuda:1' or '0,1', got {engine.device!r}")
    if len(engine.devices) > 1:
        _check_devices(engine)
    if engine.runtime == "torch":
        return
    if engine.device not in ("auto", "cpu") and engine.runtime not in ("onnxruntime", "tensorrt"):
        raise UsageError(
            f"--device {engine.device}: {engine.runtime} computes on the CPU; add --runtime torch, or onnxruntime"
        )
    if engine.device == "cpu" and engine.runtime == "tensorrt":
        raise UsageError("--device cpu: TensorRT computes on a GPU; leave --device out, or give another --runtime")
    if engine.compile:
        raise UsageError("--compile: only for --runtime torch; leave it out")


def _check_devices(engine: EngineSettings) -> None:
    """Several: GPUs only, each once. That there are such GPUs is checked by whoever sees them."""
    seen = dict[str, str]()
    for name in engine.devices:
        if not re.fullmatch(r"(cuda:)?\d{1,3}", name):
            raise UsageError(
                f"--device {engine.device}: expected numbers of GPUs, such as 0,1 or cuda:0,cuda:1, got {name!r} "
                "among them; cpu and auto stand alone"
            )
        number = f"cuda:{int(name.removeprefix('cuda:'))}"
        if number in seen:
            raise UsageError(
                f"--device {engine.device}: expected each GPU once, {seen[number]} and {name} are the same; "
                "leave one of them out"
            )
        seen[number] = name


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


_SELECTED_INSIDE = ("end2end", "triple", "detr")  # heads whose network has done what NMS does
_DETECTORS_ONLY = ("keep_conf", "iou", "max_det", "max_nms", "agnostic_nms", "multi_label", "nms")
_TAGGERS_ONLY = ("top_k",)


def effective_post(post: PostSettings, spec: ModelSpec) -> DetectorPost | TaggerPost:
    """The settings, with what was not given filled in as the model's head wants it.

    Detectors: conf .25, at most 300 objects of at most 30,000 candidates, and NMS at IoU .45, or none for heads that
    are selected inside the network; a Gaussian has no IoU. Taggers: the best 5 whatever their score, but
    where every class is judged by itself (activation sigmoid) all above conf .25.

    Raises:
        UsageError: a setting is out of the range that the head has, or it is not for this kind of model.
    """
    tagger = spec.task == "tag"
    blank = PostSettings()
    foreign = [
        f"--{name.replace('_', '-')}"
        for name in (_DETECTORS_ONLY if tagger else _TAGGERS_ONLY)
        if getattr(post, name) != getattr(blank, name)
    ]
    if foreign:
        kinds = ("detectors", "a tagger") if tagger else ("taggers", "a detector")
        raise UsageError(
            f"{', '.join(foreign)}: only for {kinds[0]}, this model is {kinds[1]}; leave out what it lacks"
        )
    if not (tagger and spec.head.activation == "none") and post.conf is not None and not 0 <= post.conf <= 1:
        raise UsageError(f"--conf: expected a number from 0 to 1, got {post.conf:g}")
    return _for_tagger(post, spec.head) if tagger else _for_detector(post, spec.head)


def _for_detector(post: PostSettings, head: HeadSpec) -> DetectorPost:
    _check_nms(post, head)
    usual_iou = None if head.type in _SELECTED_INSIDE or post.nms == "soft-gaussian" else 0.45
    conf = 0.25 if post.conf is None else post.conf
    keep_conf = conf if post.keep_conf is None else post.keep_conf
    if not 0 <= keep_conf <= conf:
        raise UsageError(
            f"--keep-conf: expected a number from 0 to --conf ({conf:g}), got {keep_conf:g}; "
            "what scores above it is kept for exports, what scores above --conf is shown"
        )
    return DetectorPost(
        conf=conf,
        keep_conf=keep_conf,
        iou=usual_iou if post.iou is None else post.iou,
        max_det=post.max_det or 300,
        max_nms=post.max_nms or 30_000,
        classes=post.classes,
        agnostic_nms=post.agnostic_nms,
        multi_label=post.multi_label,
        nms=post.nms,
    )


def _check_nms(post: PostSettings, head: HeadSpec) -> None:
    if post.nms != "hard" and head.type in _SELECTED_INSIDE:
        raise UsageError(
            f"--nms {post.nms}: the network of a {head.type} head has already selected its boxes, so there is nothing "
            "whose score could decay; leave it out"
        )
    if post.nms == "soft-gaussian" and post.iou is not None:
        raise UsageError(
            f"--iou {post.iou:g}: --nms soft-gaussian has no threshold, it lowers the score of each box that overlaps "
            "a better one; leave --iou out, or use --nms soft"
        )


def _for_tagger(post: PostSettings, head: HeadSpec) -> TaggerPost:
    judged_alone = head.activation == "sigmoid"
    conf = 0.25 if post.conf is None and judged_alone else post.conf
    top_k = post.top_k or ("all" if judged_alone else 5)
    return TaggerPost(conf, None if top_k == "all" else top_k, post.classes)


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
