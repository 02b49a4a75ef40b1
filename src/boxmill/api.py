"""The Python door: from settings to a job that is ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from boxmill import __version__, labels
from boxmill.engine import Job
from boxmill.errors import ModelError, UsageError
from boxmill.models import Card, OnnxSummary, Resolution, TensorInfo, find_card, load_card, read_onnx, resolve
from boxmill.post import Postprocessor
from boxmill.runtimes import Runtime
from boxmill.settings import ModelSettings, RunSettings, available_cpus
from boxmill.sources import Listing, list_source
from boxmill.store import RunStore, create_run_directory
from boxmill.types import ModelSpec

__all__ = ["Prepared", "prepare", "resolve_model"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job and what is known about it before it runs."""

    job: Job
    listing: Listing
    resolution: Resolution
    store: RunStore
    startup: Mapping[str, float]  # seconds: list, model, warm-up
    description: Mapping[str, Any]  # run.json


@dataclass(slots=True)
class _Startup:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[name] = perf_counter() - start


def prepare(settings: RunSettings) -> Prepared:
    """Lists the source, loads the model, proves once that network and head fit, and makes the run's directory.

    Raises:
        UsageError, SourceError, ModelError, OutputError: see `boxmill.errors`; nothing has been written then.
    """
    startup = _Startup()
    with startup.step("list"):
        listing = list_source(settings.source)
    with startup.step("model"):
        resolution = resolve_model(settings.model, fake=settings.engine.runtime == "fake")
        workers = min(settings.engine.workers or available_cpus(), len(listing))
        runtime = _RUNTIMES[settings.engine.runtime](settings, resolution, workers)
    postprocessor = _postprocessor(settings, resolution.spec)
    with startup.step("warm-up"):
        _prove(runtime, postprocessor)
    directory = create_run_directory(settings.output.project, settings.output.name or listing.name)
    store = RunStore(directory, resolution.spec.names)
    job = Job(
        items=listing,
        total=len(listing),
        runtime=runtime,
        postprocessor=postprocessor,
        store=store,
        rect=resolution.rect,
        workers=workers,
    )
    description = _describe(settings, resolution, job)
    store.write_document("run.json", description)
    return Prepared(job, listing, resolution, store, startup.seconds, description)


def resolve_model(chosen: ModelSettings, *, fake: bool = False) -> Resolution:
    """What the weights, their card and the flags amount to; `fake` takes a card alone.

    Raises:
        ModelError: they are unreadable or do not fit together.
    """
    if not chosen.weights.is_file():
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


def _postprocessor(settings: RunSettings, spec: ModelSpec) -> Postprocessor:
    post = settings.post
    classes = labels.parse_classes(post.classes, spec.names) if post.classes else None
    return Postprocessor(
        spec.head,
        conf=post.conf,
        iou=post.iou,
        max_det=post.max_det,
        max_nms=post.max_nms,
        classes=classes,
        agnostic=post.agnostic_nms,
        multi_label=post.multi_label,
    )


def _prove(runtime: Runtime, postprocessor: Postprocessor) -> None:
    """One grey image through network and head, so that a card that does not fit is noticed before the first photo."""
    spec = runtime.spec.input
    height, width = spec.size
    shape = (1, 3, height, width) if spec.layout == "NCHW" else (1, height, width, 3)
    raw = runtime.infer(np.full(shape, spec.pad * spec.scale, np.float32))
    try:
        postprocessor(raw, spec.size)
    except UsageError as error:
        raise ModelError(f"the network's output does not fit the head {runtime.spec.head.type!r}: {error}") from error


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


def _describe(settings: RunSettings, resolution: Resolution, job: Job) -> dict[str, Any]:
    """run.json: what was asked, what was concluded from where, and the versions that computed it."""
    import cv2

    return {
        "format": 1,
        "source": settings.source,
        "settings": {
            "weights": str(settings.model.weights),
            **asdict(settings.post),
            "runtime": job.runtime.name,
            "precision": job.runtime.precision,
            "rect": resolution.rect,
            "workers": job.workers,
        },
        "concluded": [{"field": note.field, "value": note.value, "from": note.source} for note in resolution.notes],
        "model": asdict(resolution.spec),
        "versions": {
            "boxmill": __version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            job.runtime.name: job.runtime.version,
        },
    }
