"""One model in this process: `boxmill.load(weights).predict(image)`."""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt

from boxmill.api import make_postprocessor, make_runtime, resolve_model, with_network, worker_count
from boxmill.engine import Postprocess, inspect, prove
from boxmill.errors import UsageError
from boxmill.images import decode, geometry, preprocess, wanted_by
from boxmill.models import Resolution
from boxmill.runtimes import Runtime
from boxmill.settings import Language, Precision, RunSettings, RuntimeName, settings
from boxmill.sources import read_file
from boxmill.types import Detections, Frame, ModelSpec, NmsMethod, Tags

__all__ = ["Image", "Model", "ModelOptions", "load", "python_settings"]

Image = str | os.PathLike[str] | npt.NDArray[np.uint8]
Images = list[Any] | tuple[Any, ...]  # of Image; a Sequence would take a path for many letters


class ModelOptions(TypedDict, total=False):
    """What `load` can be told; the names, meanings and defaults are those of the flags of `boxmill run`."""

    card: str | os.PathLike[str] | None
    labels: str | os.PathLike[str] | None
    lang: Language | None
    imgsz: int | Sequence[int] | None
    rect: bool | None
    conf: float | None
    iou: float | None
    max_det: int | None
    max_nms: int | None
    classes: Sequence[str | int] | None
    agnostic_nms: bool
    multi_label: bool
    nms: NmsMethod
    top_k: int | Literal["all"] | None
    runtime: RuntimeName
    precision: Precision
    device: str
    compile: bool
    workers: int | None
    fast_decode: bool


def load(weights: str | os.PathLike[str] | None = None, **options: Unpack[ModelOptions]) -> Model:
    """Loads a detector or tagger to be called from Python.

    Args:
        weights: an ONNX file or a YOLOv9 checkpoint (for `runtime="fake"`, a model card). A checkpoint is converted
            once, after a warning that says so, unless `runtime` is "torch". None: boxmill's own demo detector, which
            knows things as emoji show them, not your photos; a warning says so.
        **options: named like the flags of `boxmill run`, which explains them, with the same defaults. `workers`: images
            of one list that are worked on at the same time.

    Raises:
        UsageError: an option is unknown or out of its range.
        ModelError: weights, card and labels do not fit together, or the network does not run.
    """
    chosen = python_settings("", weights, options, ModelOptions)
    if len(chosen.engine.devices) > 1:
        raise UsageError(
            f"device: expected one device, got {chosen.engine.device!r}: a loaded model computes in this process; "
            "give one of them, or use boxmill.run, which keeps a process at each"
        )
    return Model(chosen)


class Model:
    """A loaded network. Several threads may call `predict` at the same time.

    Results have the numbers of a `boxmill run` with the same settings, bit for bit.
    """

    def __init__(self, chosen: RunSettings) -> None:
        """See `load`."""
        chosen = with_network(chosen, lambda line: warnings.warn(line, stacklevel=6))
        self._resolution: Resolution = resolve_model(chosen.model, chosen.engine.runtime)
        for warning in self._resolution.warnings:
            warnings.warn(warning, stacklevel=3)
        self._postprocessor: Postprocess = make_postprocessor(chosen, self.spec)
        workers = worker_count(chosen, sys.maxsize)
        self._runtime: Runtime | None = make_runtime(chosen, self._resolution, workers)
        wanted = wanted_by(self.spec.input, rect=self._resolution.rect)
        self._fast = wanted if chosen.engine.fast_decode else None
        prove(self._runtime, self._postprocessor, self.spec.input.size)
        self._inspected = False
        self._pool = ThreadPoolExecutor(workers, "boxmill")

    @property
    def spec(self) -> ModelSpec:
        """How images go in and results come out."""
        return self._resolution.spec

    @property
    def names(self) -> tuple[str, ...]:
        """Names by class id."""
        return self.spec.names

    @overload
    def predict(self, source: Image, *, bgr: bool = False) -> Detections | Tags: ...

    @overload
    def predict(self, source: Images, *, bgr: bool = False) -> list[Detections | Tags]: ...

    def predict(self, source: Image | Images, *, bgr: bool = False) -> Detections | Tags | list[Detections | Tags]:
        """What is in an image, or in each of a list.

        **Arrays are RGB.** OpenCV reads images as BGR: pass `bgr=True` for those, or the colours are swapped and the
        scores silently worse.

        Args:
            source: a path, an (H, W, 3) uint8 array that stands upright, or a list of them.
            bgr: arrays are BGR; without effect on paths.

        Returns:
            Detections (of a tagger: Tags), boxes in the image's pixels, after EXIF rotation for a path; a list for a
            list, in its order.

        Raises:
            ImageError: a file is no whole image, or not one that is decoded; `code` says why.
            OSError: a file cannot be read.
            UsageError: not a path, not such an array, or the model is closed.
            ModelError: the network fails, or what it says of the first image cannot be meant.
        """
        if isinstance(source, list | tuple):
            return list(self._pool.map(lambda one: self._predict(one, bgr=bgr), source))
        return self._predict(source, bgr=bgr)

    def close(self) -> None:
        """Frees the network; no `predict` may be running."""
        self._pool.shutdown()
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _predict(self, source: object, *, bgr: bool) -> Detections | Tags:
        if self._runtime is None:
            raise UsageError("the model is closed; load it again")
        frame = self._frame(source, bgr=bgr)
        place = geometry(frame.source, self.spec.input, rect=self._resolution.rect)
        raw = self._runtime.infer(preprocess(frame, place, self.spec.input)[None])
        (found,) = self._postprocessor(raw, place.network, [place])
        if not self._inspected:
            inspect(raw, self.spec, place.network)
            self._inspected = True
        return found

    def _frame(self, source: object, *, bgr: bool) -> Frame:
        if isinstance(source, str | os.PathLike):
            return decode(read_file(os.fsencode(source)), os.fspath(source), fast=self._fast)
        return _array_frame(source, bgr=bgr)


def _array_frame(source: object, *, bgr: bool) -> Frame:
    if not isinstance(source, np.ndarray):
        raise UsageError(
            f"expected a path, an (H, W, 3) uint8 array in RGB, or a list of them; got {type(source).__name__}"
            "; a Pillow image becomes such an array by numpy.asarray(image.convert('RGB'))"
        )
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or source.size == 0:
        raise UsageError(f"expected an (H, W, 3) uint8 array, got {source.dtype} of {source.shape}")
    return Frame("array", np.ascontiguousarray(source[..., ::-1] if bgr else source))


def python_settings(
    source: str | os.PathLike[str], weights: str | os.PathLike[str] | None, options: Mapping[str, Any], kind: type
) -> RunSettings:
    """Settings from Python's keyword arguments, which are those that the TypedDict `kind` names.

    Raises:
        UsageError: an option is unknown or out of its range.
    """
    known = kind.__annotations__
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"unknown option {name!r}; did you mean {near!r}?")
    flags = {name: value for name, value in options.items() if value is not None}
    for name in {"card", "labels", "project"}.intersection(flags):
        flags[name] = Path(flags[name])
    if isinstance(flags.get("imgsz"), int):
        flags["imgsz"] = [flags["imgsz"]]
    if "classes" in flags:
        wanted = flags["classes"]
        flags["classes"] = [str(one) for one in ([wanted] if isinstance(wanted, str | int) else wanted)]
    return settings(os.fspath(source), {**flags, "weights": None if weights is None else Path(weights)})
