"""From settings to the parts of a job: the model as it is understood, the runtime, the postprocessor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from boxmill import __version__, labels
from boxmill.errors import ModelError, UsageError
from boxmill.models import Card, OnnxSummary, Resolution, TensorInfo, find_card, load_card, read_onnx, resolve
from boxmill.post import Postprocessor
from boxmill.runtimes import Runtime
from boxmill.runtimes.openvino import effective_precision
from boxmill.settings import ModelSettings, OutputSettings, RunSettings, available_cpus
from boxmill.store import JsonStyle, file_sha256
from boxmill.types import ModelSpec

__all__ = [
    "check_output",
    "fingerprint",
    "json_style",
    "make_postprocessor",
    "make_runtime",
    "output_fields",
    "prove",
    "resolve_model",
    "shown_conf",
    "versions",
    "worker_count",
]

_FORMAT = 1  # of the run directory


def resolve_model(chosen: ModelSettings, *, fake: bool = False) -> Resolution:
    """What the weights, their card and the flags amount to; `fake` takes a card alone.

    Raises:
        ModelError: they are unreadable or do not fit together.
    """
    if not chosen.weights.exists():
        raise ModelError(f"weights not found: {str(chosen.weights)!r}; expected an ONNX file")
    card_path = chosen.card or (chosen.weights if fake else find_card(chosen.weights))
    card = Card() if card_path is None else load_card(card_path)
    card = replace(card, labels=labels.label_names(card.labels))
    network = _fake_network(chosen.weights, card) if fake else read_onnx(chosen.weights)
    given = None if chosen.labels is None else labels.load_labels(chosen.labels)
    resolution = resolve(chosen.weights, card, network, given, chosen.imgsz, chosen.rect)
    return resolution if chosen.lang is None else _in_language(resolution, chosen.lang)


def _in_language(resolution: Resolution, lang: labels.Language) -> Resolution:
    names = labels.translate(resolution.spec.names, lang)
    if names is None:
        warning = f"--lang {lang} has no effect: these are not COCO's 80 classes; give names with --labels"
        return replace(resolution, warnings=(*resolution.warnings, warning))
    return replace(resolution, spec=replace(resolution.spec, names=names))


def _fake_network(path: Path, card: Card) -> OnnxSummary:
    """What a network with the `yolo` head for the card's names would say of itself; any shape will do."""
    if card.head.type not in (None, "yolo") or card.head.boxes == "normalized":
        raise ModelError(f"{path}: the fake runtime has only the head type yolo with boxes in pixels")
    if not isinstance(card.labels, tuple):
        raise ModelError(f"{path}: the fake runtime takes its classes from the card; give it labels")
    image = TensorInfo("images", "float32", ("batch", 3, "height", "width"))
    head = TensorInfo("output0", "float32", ("batch", 4 + len(card.labels), "anchors"))
    return OnnxSummary(path, 8, 17, "boxmill's fake runtime", {}, (image,), (head,))


def worker_count(settings: RunSettings, inputs: int) -> int:
    """Threads that work on images at the same time."""
    return max(1, min(settings.engine.workers or available_cpus(), inputs))


def make_postprocessor(settings: RunSettings, spec: ModelSpec) -> Postprocessor:
    """The postprocessor that the thresholds and class names ask for.

    Raises:
        UsageError: a class is not one of the model's.
    """
    post = settings.post
    classes = labels.parse_classes(post.classes, spec.names) if post.classes else None
    return Postprocessor(
        spec.head,
        conf=post.conf if post.keep_conf is None else post.keep_conf,
        iou=post.iou,
        max_det=post.max_det,
        max_nms=post.max_nms,
        classes=classes,
        agnostic=post.agnostic_nms,
        multi_label=post.multi_label,
    )


def shown_conf(settings: RunSettings) -> float | None:
    """The score above which objects are shown, where the journal keeps more; None: all that is kept is shown."""
    return None if settings.post.keep_conf in (None, settings.post.conf) else settings.post.conf


def json_style(output: OutputSettings) -> JsonStyle:
    """How per-image JSON is named and written."""
    return JsonStyle(stems=output.json_names == "stem", int_boxes=output.int_boxes)


def check_output(output: OutputSettings, spec: ModelSpec) -> None:
    """That the files asked for can hold what the model says. Raises UsageError."""
    asked = [flag for flag, given in (("--save-txt", output.save_txt), ("--save-crop", output.save_crop)) if given]
    if asked and spec.task == "tag":
        raise UsageError(f"{' and '.join(asked)}: a tagger finds no boxes; leave it out")


def output_fields(output: OutputSettings) -> dict[str, object]:
    """What of a run's files must not change half-way, beside the fingerprint: only what is not the default."""
    fields = {"json_names": output.json_names, "int_boxes": output.int_boxes, "save_conf": output.save_conf}
    return {name: value for name, value in fields.items() if value not in ("full", False)}


def make_runtime(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    """Loads the network for so many threads. Raises ModelError."""
    return _RUNTIMES[settings.engine.runtime](settings, resolution, workers)


def _openvino(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    from boxmill.runtimes.openvino import OpenVinoOptions, OpenVinoRuntime

    options = OpenVinoOptions(settings.engine.precision, streams=workers, rect=resolution.rect)
    return OpenVinoRuntime(settings.model.weights, resolution.spec, options)


def _fake(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    from boxmill.runtimes.fake import FakeRuntime

    return FakeRuntime(resolution.spec)


_RUNTIMES: Mapping[str, Callable[[RunSettings, Resolution, int], Runtime]] = {
    "openvino": _openvino,
    "fake": _fake,
}


def prove(runtime: Runtime, postprocessor: Postprocessor, network: tuple[int, int]) -> None:
    """One grey image through network and head, so that a card that does not fit is noticed before the first photo.

    Args:
        runtime: freshly loaded; nobody else uses it yet.
        postprocessor: of its head.
        network: height and width of the shape to try.

    Raises:
        ModelError: the network's output is not what the head expects.
    """
    spec = runtime.spec.input
    height, width = network
    shape = (1, 3, height, width) if spec.layout == "NCHW" else (1, height, width, 3)
    raw = runtime.infer(np.full(shape, spec.pad * spec.scale, np.float32))
    try:
        postprocessor(raw, network)
    except UsageError as error:
        raise ModelError(f"the network's output does not fit the head {runtime.spec.head.type!r}: {error}") from error


def fingerprint(settings: RunSettings, resolution: Resolution) -> dict[str, object]:
    """Everything that decides what boxes come out; JSON-able. Two runs that agree in it give the same results."""
    engine = settings.engine
    fake = engine.runtime == "fake"
    post = asdict(settings.post)
    post["classes"] = list(post["classes"])
    if post["keep_conf"] is None:
        post["keep_conf"] = post["conf"]
    return {
        "weights": None if fake else file_sha256(settings.model.weights),
        **({"external": [file_sha256(path) for path in resolution.external]} if resolution.external else {}),
        "runtime": engine.runtime,
        "precision": "fp32" if fake else effective_precision(engine.precision),
        "rect": resolution.rect,
        "decode": "reduced" if engine.fast_decode else "full",
        **{f"input.{name}": value for name, value in _plain(asdict(resolution.spec.input)).items()},
        **{f"head.{name}": value for name, value in _plain(asdict(resolution.spec.head)).items()},
        "names": list(resolution.spec.names),
        **post,
        "format": _FORMAT,
    }


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def versions(settings: RunSettings) -> dict[str, str]:
    """Versions of what computes; only the packages' metadata is read."""
    found = {"boxmill": __version__, "numpy": np.__version__}
    for name, packages in (("opencv", ("opencv-python-headless", "opencv-python")), ("openvino", ("openvino",))):
        for package in packages:
            try:
                found[name] = version(package)
                break
            except PackageNotFoundError:
                continue
    if settings.engine.runtime == "fake":
        found.pop("openvino", None)
    return found
