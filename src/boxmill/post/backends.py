"""Everybody's non-maximum suppression behind one signature: what `boxmill lab` replays candidates through.

`BACKENDS` is the table, name -> loader. A loader imports its package (nothing here does so before), sets it to one
thread, for the whole process, and returns a function of the same float32 and int64 arrays for every back-end; what a
package needs beyond those (tensors, float64 scores, x y w h, class offsets) is part of its own call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from boxmill import __version__, _native
from boxmill.errors import UsageError
from boxmill.post.nms import NO_LIMIT
from boxmill.post.onnx_nms import nms_model
from boxmill.post.soft import soft_nms
from boxmill.types import Float32

__all__ = ["BACKENDS", "Backend", "Kept", "Loader", "Method", "Missing", "Rule", "Suppress", "load_backend"]

Int64 = npt.NDArray[np.int64]
Method = Literal["hard", "linear", "gaussian"]
Kept = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]  # (K,) rows; (K,) decayed scores, None: those that came in
Suppress = Callable[[Float32, Float32, Int64], Kept]  # boxes (N, 4) xyxy, scores (N,), classes (N,) from 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What every back-end is asked to do."""

    iou: float = 0.45  # hard suppression
    soft_iou: float = 0.3  # linear decay
    sigma: float = 0.5  # Gaussian decay
    conf: float = 0.001  # a decayed score stays above it


@dataclass(frozen=True, slots=True)
class Loader:
    """How a back-end is made ready, and what kind it is."""

    package: str  # distribution whose version is shown
    load: Callable[[Rule], Suppress]  # raises ImportError, OSError or RuntimeError where the package does not work
    method: Method = "hard"
    max_nms: int | None = None  # only so many candidates, the best, enter suppression
    note: str = ""  # why its answer may differ from the reference


@dataclass(frozen=True, slots=True)
class Backend:
    """A back-end that is ready."""

    name: str
    version: str
    suppress: Suppress
    method: Method = "hard"
    max_nms: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A back-end that is not here, or does not load."""

    name: str
    reason: str


def load_backend(name: str, rule: Rule) -> Backend | Missing:
    """One back-end of `BACKENDS`; that its package is not installed is an answer, not an error.

    Raises:
        UsageError: there is no such back-end.
    """
    if name not in BACKENDS:
        raise UsageError(f"no back-end {name!r}; there are: {', '.join(BACKENDS)}")
    loader = BACKENDS[name]
    try:
        suppress = loader.load(rule)
    except ModuleNotFoundError as error:
        return Missing(name, f"not installed: pip install {error.name or loader.package}")
    except (ImportError, OSError, RuntimeError) as error:  # torchvision built for another torch says RuntimeError
        return Missing(name, f"does not load: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    return Backend(name, _version(loader.package), suppress, loader.method, loader.max_nms, loader.note)


def _version(package: str) -> str:
    if package == "boxmill":
        return __version__
    for name in (package, f"{package}-headless", f"{package}-gpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _boxmill(rule: Rule, max_nms: int = NO_LIMIT) -> Suppress:
    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        found = _native.nms(boxes, scores, classes, rule.iou, max_nms, NO_LIMIT, False)
        if found is None:
            raise UsageError("a back-end takes float32 boxes (N, 4) and scores (N,), int64 classes (N,), contiguous")
        return np.frombuffer(found[0], np.int64), None

    return suppress


def _boxmill_soft(rule: Rule, method: Literal["linear", "gaussian"]) -> Suppress:
    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        return soft_nms(boxes, scores, classes, method=method, iou=rule.soft_iou, sigma=rule.sigma, conf=rule.conf)

    return suppress


def _torchvision(rule: Rule) -> Suppress:
    import torch
    from torchvision.ops import batched_nms

    torch.set_num_threads(1)

    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        tensors = (torch.from_numpy(array) for array in (boxes, scores, classes))
        return batched_nms(*tensors, rule.iou).numpy(), None

    return suppress


def _offset_by_class(boxes: Float32, classes: Int64) -> Float32:
    """The usual way to teach classes to a function that knows none: each class moves to a place of its own."""
    moved: Float32 = boxes + (classes.astype(np.float32) * (boxes.max(initial=0) + 1))[:, None]
    return moved


def _opencv(rule: Rule) -> Suppress:
    import cv2

    cv2.setNumThreads(1)
    batched: Any = cv2.dnn.NMSBoxesBatched  # typed for lists, but it takes arrays, and faster

    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        sizes = boxes.copy()
        sizes[:, 2:] -= sizes[:, :2]
        found = batched(sizes, scores, classes.astype(np.int32), 0.0, rule.iou)
        return np.array(found, np.int64).ravel(), None

    return suppress


def _opencv_soft(rule: Rule, method: Literal["linear", "gaussian"]) -> Suppress:
    import cv2

    cv2.setNumThreads(1)
    kinds = {"linear": cv2.dnn.SOFT_NMSMETHOD_SOFTNMS_LINEAR, "gaussian": cv2.dnn.SOFT_NMSMETHOD_SOFTNMS_GAUSSIAN}
    soft: Any = cv2.dnn.softNMSBoxes
    iou = rule.soft_iou if method == "linear" else 0.0

    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        sizes = _offset_by_class(boxes, classes)
        sizes[:, 2:] -= sizes[:, :2]
        whole = np.rint(sizes).astype(np.int32)
        decayed, found = soft(whole, scores, rule.conf, iou, 0, rule.sigma, kinds[method])
        return np.array(found, np.int64).ravel(), np.array(decayed, np.float32).ravel()

    return suppress


def _onnxruntime(rule: Rule) -> Suppress:
    """One row of scores for each class, as the operator is meant; the zeros lie below its score threshold."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(nms_model(rule.iou), options, providers=["CPUExecutionProvider"])

    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        rows = np.zeros((1, int(classes.max(initial=0)) + 1, len(scores)), np.float32)
        rows[0, classes, np.arange(len(scores))] = scores
        return session.run(None, {"boxes": boxes[None], "scores": rows})[0][:, 2], None

    return suppress


def _onnxruntime_offsets(rule: Rule) -> Suppress:
    """One row of scores, classes kept apart by their coordinates."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(nms_model(rule.iou), options, providers=["CPUExecutionProvider"])

    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        feed = {"boxes": _offset_by_class(boxes, classes)[None], "scores": scores[None, None]}
        return session.run(None, feed)[0][:, 2], None

    return suppress


def _powerboxes(rule: Rule) -> Suppress:
    import powerboxes

    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        moved = _offset_by_class(boxes, classes)
        return powerboxes.nms(moved, scores.astype(np.float64), rule.iou, 0.0).astype(np.int64), None

    return suppress


def _lsnms(rule: Rule) -> Suppress:
    import lsnms

    def suppress(boxes: Float32, scores: Float32, classes: Int64) -> Kept:
        return lsnms.nms(boxes, scores, iou_threshold=rule.iou, class_ids=classes), None

    return suppress


_OFFSET = "keeps classes apart by moving their boxes, which costs the coordinates low bits"
BACKENDS: Mapping[str, Loader] = {
    "boxmill": Loader("boxmill", _boxmill),
    "boxmill, Top-1000": Loader("boxmill", lambda rule: _boxmill(rule, 1000), max_nms=1000, note="loses what it cuts"),
    "boxmill, Top-500": Loader("boxmill", lambda rule: _boxmill(rule, 500), max_nms=500, note="loses what it cuts"),
    "torchvision batched_nms": Loader("torchvision", _torchvision, note=f"up to 1000 boxes, {_OFFSET}"),
    "OpenCV NMSBoxesBatched": Loader("opencv-python", _opencv, note="x y w h in double"),
    "ONNX Runtime, class rows": Loader("onnxruntime", _onnxruntime, note="fills a (classes, N) array first"),
    "ONNX Runtime, offsets": Loader("onnxruntime", _onnxruntime_offsets, note=_OFFSET),
    "powerboxes": Loader("powerboxes", _powerboxes, note=_OFFSET),
    "lsnms": Loader("lsnms", _lsnms, note="IoU in double"),
    "boxmill soft, linear": Loader("boxmill", lambda rule: _boxmill_soft(rule, "linear"), "linear"),
    "boxmill soft, Gaussian": Loader("boxmill", lambda rule: _boxmill_soft(rule, "gaussian"), "gaussian"),
    "OpenCV soft, linear": Loader(
        "opencv-python", lambda rule: _opencv_soft(rule, "linear"), "linear", note="takes whole pixels only"
    ),
    "OpenCV soft, Gaussian": Loader(
        "opencv-python", lambda rule: _opencv_soft(rule, "gaussian"), "gaussian", note="takes whole pixels only"
    ),
}
