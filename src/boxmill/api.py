"""From settings to the parts of a job: the model as it is understood, the runtime, the postprocessor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from boxmill import __version__, labels
from boxmill.convert import (
    alone,
    cache_folder,
    cached_network,
    checkpoint_summary,
    is_checkpoint,
    read_network_file,
)
from boxmill.demo.detector import ADVICE, class_names, shipped_detector
from boxmill.engine import Postprocess
from boxmill.errors import ImageError, ModelError, UsageError
from boxmill.models import Card, Note, OnnxSummary, Resolution, TensorInfo, find_card, load_card, read_onnx, resolve
from boxmill.post import Postprocessor, Tagger
from boxmill.runtimes import RawOutput, Runtime
from boxmill.runtimes.onnxruntime import check_available
from boxmill.runtimes.openvino import effective_precision
from boxmill.runtimes.tensorrt import check_tensorrt
from boxmill.runtimes.torch import TorchOptions, check_torch, effective_device, torch_precision
from boxmill.settings import (
    EngineSettings,
    ModelSettings,
    OutputSettings,
    RunSettings,
    RuntimeName,
    TaggerPost,
    available_cpus,
    effective_post,
)
from boxmill.store import JsonStyle, file_sha256
from boxmill.types import Detections, Geometry, ModelSpec, Tags

if TYPE_CHECKING:
    from boxmill.runtimes.torch_device import DeviceSelect

__all__ = [
    "check_batch",
    "check_output",
    "engine_device",
    "engine_devices",
    "fingerprint",
    "json_style",
    "make_postprocessor",
    "make_runtime",
    "output_fields",
    "resolve_model",
    "shown_conf",
    "versions",
    "with_network",
    "worker_count",
]

_FORMAT = 1  # of the run directory
_SELECTED_ON_DEVICES = ("yolo", "yolov5")  # heads that boxmill.post.gpu reads
_PACKAGES: Mapping[str, tuple[str, ...]] = {  # that a runtime may come in
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "torch": ("torch",),
    "fake": (),
}


def with_network(chosen: RunSettings, tell: Callable[[str], None]) -> RunSettings:
    """The settings with an ONNX file in place of a YOLOv9 checkpoint, where the runtime reads ONNX files.

    The file comes from the cache, or is converted into it after `tell` was given a line. All else stays as it is, other
    programs' checkpoints too: `resolve_model` says what they are.

    Raises:
        UsageError: a package that the conversion needs is missing.
        ModelError: the checkpoint is damaged, its network cannot be converted, or the precision is impossible here.
        OutputError: the cache cannot be written.
    """
    if chosen.engine.runtime in ("torch", "fake") or not is_checkpoint(chosen.model.weights):
        return chosen
    _precision(chosen.engine)  # a conversion should not be what comes before a refusal
    return replace(chosen, model=replace(chosen.model, converted=cached_network(chosen.model.weights, tell)))


def resolve_model(chosen: ModelSettings, runtime: RuntimeName = "openvino") -> Resolution:
    """What the weights, their card and the flags amount to; the fake runtime takes a card alone.

    Raises:
        ModelError: they are unreadable or do not fit together.
    """
    fake = runtime == "fake"
    if not chosen.weights.exists():
        raise ModelError(f"weights not found: {str(chosen.weights)!r}; expected an ONNX file")
    card_path = chosen.card or (chosen.weights if fake else find_card(chosen.weights))
    card = Card() if card_path is None else load_card(card_path)
    named_by = chosen.labels or (card.labels if isinstance(card.labels, Path) else chosen.weights)
    card = replace(card, labels=labels.label_names(card.labels))
    if runtime == "torch":
        network = checkpoint_summary(chosen.weights, read_network_file(chosen.weights))
    else:
        network = _fake_network(chosen.weights, card) if fake else read_onnx(chosen.network)
    given = None if chosen.labels is None else labels.load_labels(chosen.labels)
    resolution = resolve(chosen.weights, card, network, given, chosen.imgsz, chosen.rect)
    if chosen.weights == shipped_detector():
        resolution = replace(resolution, warnings=(*resolution.warnings, ADVICE))
    return resolution if chosen.lang is None else _in_language(resolution, chosen.lang, named_by)


def _in_language(resolution: Resolution, lang: labels.Language, named_by: Path) -> Resolution:
    """With names in `lang`: of a known list, else from labels_<lang>.json beside `named_by`, what named them."""
    count = len(resolution.spec.names)
    names = labels.translate(resolution.spec.names, lang, (class_names(),))
    why = "no effect: these are not COCO's 80 classes"
    path = labels.names_beside(named_by, lang) if names is None else None
    if path is not None:
        given = labels.load_labels(path)
        why = f"no effect: {path} has {len(given)} names, the model has {count} classes"
        names = given if len(given) == count else None
    if names is None:
        warning = (
            f"--lang {lang} has {why}; give names with --labels, or in a labels_{lang}.json beside {named_by.name}"
        )
        return replace(resolution, warnings=(*resolution.warnings, warning))
    notes = resolution.notes
    if path is not None:
        said = Note("labels", f"{count} names", "flag", f"--lang {lang}: {path}")
        notes = (*(note for note in notes if note.field != "labels"), said)
    return replace(resolution, spec=replace(resolution.spec, names=names), notes=notes)


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


def make_postprocessor(settings: RunSettings, spec: ModelSpec) -> Postprocess:
    """The postprocessor that the thresholds and class names ask for.

    Raises:
        UsageError: a class is not one of the model's, or a setting is not for this kind of model.
    """
    post = effective_post(settings.post, spec)
    classes = labels.parse_classes(post.classes, spec.names, (class_names(),)) if post.classes else None
    if isinstance(post, TaggerPost):
        return Tagger(spec.head, conf=post.conf, top_k=post.top_k, classes=classes)
    detector = Postprocessor(
        spec.head,
        conf=post.keep_conf,
        iou=post.iou,
        max_det=post.max_det,
        max_nms=post.max_nms,
        classes=classes,
        agnostic=post.agnostic_nms,
        multi_label=post.multi_label,
        nms=post.nms,
    )
    return _NamedClasses(detector, len(spec.names)) if spec.head.type in ("end2end", "triple") else detector


@dataclass(frozen=True, slots=True)
class _NamedClasses:
    """Refuses an image whose classes have no names; for heads that give class ids as numbers, whatever they are."""

    detector: Postprocessor
    count: int

    def __call__(
        self, raw: Sequence[RawOutput], network: tuple[int, int], geometries: Sequence[Geometry] | None = None
    ) -> Sequence[Detections | Tags]:
        """See Postprocessor. Raises ImageError."""
        found = self.detector(raw, network, geometries)
        for one in found:
            if len(one) and one.classes.max() >= self.count:
                raise ImageError(
                    "class_out_of_range",
                    f"the network gives class {one.classes.max()}, but the {self.count} names are for 0 to "
                    f"{self.count - 1}; give all names with --labels",
                )
        return found


def shown_conf(settings: RunSettings, spec: ModelSpec) -> float | None:
    """The score above which objects are shown, where the journal keeps more; None: all that is kept is shown."""
    post = effective_post(settings.post, spec)
    return None if isinstance(post, TaggerPost) or post.keep_conf == post.conf else post.conf


def json_style(output: OutputSettings) -> JsonStyle:
    """How per-image JSON is named and written."""
    return JsonStyle(stems=output.json_names == "stem", int_boxes=output.int_boxes)


def check_output(output: OutputSettings, spec: ModelSpec) -> None:
    """That the files asked for can hold what the model says. Raises UsageError."""
    flags = (
        ("--save-txt", output.save_txt),
        ("--save-crop", output.save_crop),
        ("--save-img", output.save_img),
        ("--dump-heads", output.dump_heads),
    )
    asked = [flag for flag, given in flags if given]
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
    return OpenVinoRuntime(settings.model.network, resolution.spec, options)


def _fake(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    from boxmill.runtimes.fake import FakeRuntime

    return FakeRuntime(resolution.spec)


def _onnxruntime(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    from boxmill.runtimes.onnxruntime import OnnxRuntime, onnx_on_device

    if (device := engine_device(settings.engine)) != "cpu":
        select = _device_select(settings, resolution.spec)
        return onnx_on_device(settings.model.network, resolution.spec, device, select)
    return OnnxRuntime(settings.model.network, resolution.spec)


def _tensorrt(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    from boxmill.runtimes.tensorrt import TensorRtOptions, tensorrt_on_device

    engine, network = settings.engine, settings.model.network
    folder = cache_folder("tensorrt")
    hashes = tuple(file_sha256(path) for path in (network, *resolution.external))
    options = TensorRtOptions(folder, hashes, engine.precision == "fp16", engine.batch, resolution.rect)
    select = _device_select(settings, resolution.spec)
    with alone(folder / "building.lock"):  # GPUs of one kind use one engine, and then compute the same
        return tensorrt_on_device(network, resolution.spec, engine_device(engine), options, select)


def _torch(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    from boxmill.runtimes.torch import TorchRuntime, on_device

    engine = settings.engine
    options = TorchOptions(engine.precision, engine.device, compile=engine.compile)
    if engine_device(engine) != "cpu":
        return on_device(settings.model.weights, resolution.spec, options, _device_select(settings, resolution.spec))
    return TorchRuntime(settings.model.weights, resolution.spec, options)


def _device_select(settings: RunSettings, spec: ModelSpec) -> DeviceSelect | None:
    """Post-processing on the GPU, with the processor's results; None: for this head, or this machine, there is none."""
    chosen = make_postprocessor(settings, spec)
    known = isinstance(chosen, Postprocessor) and spec.head.type in _SELECTED_ON_DEVICES
    if not known or settings.output.dump_heads or find_spec("triton") is None:
        return None
    from boxmill.post.gpu import postprocess, unpack
    from boxmill.runtimes.torch_device import DeviceSelect

    options = {one.name: getattr(chosen, one.name) for one in fields(Postprocessor) if one.name != "head"}

    def pack(outputs: Sequence[Any], network: tuple[int, int], geometries: Sequence[Geometry]) -> Any:
        return postprocess(spec.head, outputs, network, geometries, **options).packed

    return DeviceSelect(pack, partial(unpack, max_det=options["max_det"]))


_RUNTIMES: Mapping[str, Callable[[RunSettings, Resolution, int], Runtime]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
    "torch": _torch,
    "fake": _fake,
}


def engine_devices(engine: EngineSettings) -> tuple[str, ...]:
    """Where the network computes: cpu or cuda:N, or several GPUs. Raises UsageError where there is no such device."""
    if engine.runtime == "tensorrt":
        return _gpus(engine.devices)
    if engine.runtime == "torch" or (engine.runtime == "onnxruntime" and engine.device not in ("auto", "cpu")):
        return tuple(effective_device(name) for name in engine.devices)
    return ("cpu",)


def _gpus(names: Sequence[str]) -> tuple[str, ...]:
    """As `effective_device` says, for a runtime that computes on nothing else. Raises UsageError."""
    check_torch("--runtime tensorrt letterboxes on a GPU with it")
    found = tuple(effective_device(name) for name in names)
    if "cpu" in found:
        raise UsageError("--runtime tensorrt: PyTorch sees no GPU here; give another --runtime")
    return found


def engine_device(engine: EngineSettings) -> str:
    """The first of `engine_devices`: all are of one kind. Raises UsageError where one of them is not there."""
    return engine_devices(engine)[0]


def check_batch(engine: EngineSettings) -> None:
    """That batches go where they gain something. Raises UsageError."""
    if (engine.batch or 1) > 1 and engine_device(engine) == "cpu":
        raise UsageError(
            f"--batch {engine.batch}: on a CPU images go through the network one by one, several at once on as many "
            "threads, and batches gain nothing; leave --batch out"
        )


def _precision(engine: EngineSettings) -> str:
    """What the network runs in here. Raises UsageError or ModelError where the runtime or the precision is missing."""
    if engine.runtime == "onnxruntime":
        check_available(engine.precision, engine_device(engine))
    if engine.runtime == "tensorrt":
        precision = check_tensorrt(engine.precision)
        engine_devices(engine)  # a run should not begin where there is none of them
        return precision
    if engine.runtime == "torch":
        return torch_precision(engine.precision, engine_device(engine))
    return effective_precision(engine.precision) if engine.runtime == "openvino" else "fp32"


def fingerprint(settings: RunSettings, resolution: Resolution) -> dict[str, object]:
    """Everything that decides what boxes come out; JSON-able. Two runs that agree in it give the same results."""
    engine, spec = settings.engine, resolution.spec
    return {
        "weights": None if engine.runtime == "fake" else file_sha256(settings.model.network),
        **({"external": [file_sha256(path) for path in resolution.external]} if resolution.external else {}),
        "runtime": engine.runtime,
        "precision": _precision(engine),
        **_torch_fields(engine),
        "rect": resolution.rect,
        "decode": "reduced" if engine.fast_decode else "full",
        **{f"input.{name}": value for name, value in _plain(asdict(spec.input)).items()},
        **{f"head.{name}": value for name, value in _plain(asdict(spec.head)).items()},
        "names": list(spec.names),
        **_plain(asdict(effective_post(settings.post, spec))),
        "format": _FORMAT,
    }


def _torch_fields(engine: EngineSettings) -> dict[str, object]:
    """What else decides of PyTorch's arithmetic: the kind of device, whichever one of them, and who made the code."""
    if engine.runtime == "onnxruntime" and engine_device(engine) != "cpu":
        return {"device": "cuda"}
    if engine.runtime != "torch":
        return {}
    return {"device": engine_device(engine).partition(":")[0], "compile": engine.compile}


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def versions(settings: RunSettings) -> dict[str, str]:
    """Versions of what computes; only the packages' metadata is read."""
    found = {"boxmill": __version__, "numpy": np.__version__}
    packages = {
        "opencv": ("opencv-python-headless", "opencv-python"),
        settings.engine.runtime: _PACKAGES[settings.engine.runtime],
        **({"onnxruntime": _PACKAGES["onnxruntime"]} if settings.engine.runtime == "tensorrt" else {}),
    }
    for name, candidates in packages.items():
        for package in candidates:
            try:
                found[name] = version(package)
                break
            except PackageNotFoundError:
                continue
    return found
