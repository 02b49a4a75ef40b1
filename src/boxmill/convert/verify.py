"""Whether a converted file gives what its checkpoint gives: the same pictures through every runtime that is here.

The reference is the unfused network in float64, so folding, merging and exporting are all under test. What difference
rounding may make depends on the weights. Trained ones damp it: PyTorch's float32 stays within 1e-4 of float64, and then
so must the others. Random deep ones amplify it: PyTorch's own float32 is off by up to 2e-2 in a score, so for these the
bound is what float32 can do at all, and boxes are held to their median.

float16 rounds 2**13 times coarser, and what a network makes of that is what it makes of float32's rounding, times
2**13, until scores saturate: measured .09 to .9 times that on seven networks. So twice that is allowed in the mean, and
never more than .12: exchanging two pictures makes .18 to .29 in the networks of the tests, the worst of which has .089.

A detection is matched where the same anchor has the same box and score. Whether it survives suppression in both is not
asked: where two scores nearly tie, a rounding decides which of two boxes does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.convert.images import pictures
from boxmill.convert.metadata import checkpoint_summary
from boxmill.models import Card, resolve
from boxmill.models.checkpoint import Checkpoint
from boxmill.post import Postprocessor
from boxmill.types import Detections, Float32, ModelSpec

__all__ = ["Bounds", "Row", "Verdict", "compare", "verify"]

Heads = list[npt.NDArray[Any]]  # one (B, 4 + C, A) for each batch of pictures
_STEADY = 1e-4  # |score in float32 - score in float64| of weights that damp rounding
_NEAR = 0.01  # |score - reference| of a matched detection
_COARSER = 2.0**13  # float16's rounding than float32's
_CONFS = (0.25, 0.1, 0.01, 0.001)  # the first that yields enough detections is compared at
_ENOUGH = 20  # detections an image
_LONGEST = 320  # pixels: float64 takes seconds, and the graph does not depend on the size


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a runtime must keep. None: not asked for."""

    mean: float | None  # of |score - reference|
    largest: float | None
    iou: float | None  # of every detection's box with that of the same anchor
    median_iou: float | None  # of the boxes of the same anchors

    def __str__(self) -> str:
        asked = (
            (self.mean, "mean |Δscore| ≤ {:.2g}"),
            (self.largest, "largest |Δscore| ≤ {:g}"),
            (self.iou, "every detection matched at IoU ≥ {:g}"),
            (self.median_iou, "median IoU ≥ {:g}"),
        )
        return ", ".join(text.format(bound) for bound, text in asked if bound is not None)


def _bounds(precision: str, mean: float, largest: float) -> Bounds:
    """For weights with which PyTorch's float32 is so far from its float64."""
    if precision == "fp32":
        if largest <= _STEADY:
            return Bounds(mean=1e-4, largest=None, iou=0.99, median_iou=0.99)
        return Bounds(mean=None, largest=0.03, iou=None, median_iou=0.99)
    allowed = min(max(2 * _COARSER * mean, 5e-4), 0.12)
    return Bounds(mean=allowed, largest=None, iou=None, median_iou=0.99 if allowed <= 5e-3 else 0.8)


@dataclass(frozen=True, slots=True)
class Row:
    """One runtime against the reference."""

    name: str
    mean: float  # |score - reference|, over all anchors and classes
    largest: float
    median_iou: float  # of the boxes of the same anchors
    detections: int  # of the reference, over all pictures
    matched: int  # of these: the same anchor's box overlaps by the bounds' IoU, and its score is near


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was compared, and what is out of bounds."""

    rows: tuple[Row, ...]
    bounds: Bounds
    images: int
    conf: float
    missing: tuple[str, ...]  # runtimes that are not installed
    problems: tuple[str, ...]

    def table(self) -> str:
        """For people, a line for each runtime."""
        heading = f"{'against float64':<26}mean |Δscore|  largest  median IoU"
        least = self.bounds.iou
        lines = [heading if least is None else f"{heading}  matched at IoU {least}, conf {self.conf:g}"]
        for row in self.rows:
            matched = "" if least is None else f"  {row.matched}/{row.detections}"
            lines.append(f"{row.name:<26}{row.mean:>13.1e}{row.largest:>9.1e}{row.median_iou:>12.4f}{matched}")
        lines += [f"{name:<26}not installed, so not compared" for name in self.missing]
        return "\n".join([*lines, f"bounds: {self.bounds}"])


def verify(path: Path, checkpoint: Checkpoint, size: tuple[int, int], precision: str) -> Verdict:
    """Compares a converted file with its checkpoint.

    Args:
        path: the ONNX file.
        checkpoint: what it was made from.
        size: the default input; compared are its shape, at most 320 pixels wide and high, and a flatter one.
        precision: of the file, fp32 or fp16.

    Raises:
        ModelError: a runtime cannot run the file.
    """
    import torch

    from boxmill.models.yolov9 import fuse, load

    shapes = _shapes(size, max(checkpoint.stride))
    batches = [pictures(2, shapes[0]), pictures(1, shapes[1])]
    reference = _in_torch(load(checkpoint).double(), torch.float64, batches)
    plain = _in_torch(fuse(load(checkpoint)), torch.float32, batches)
    spec = resolve(path, Card(), checkpoint_summary(path, checkpoint, size), None, None, None).spec
    found = {f"torch {torch.__version__.partition('+')[0]} fp32": plain, **_in_runtimes(path, spec, batches, precision)}
    missing = () if find_spec("onnxruntime") else ("ONNX Runtime",)
    return compare(reference, found, shapes, spec, precision, missing)


def _shapes(size: tuple[int, int], stride: int) -> list[tuple[int, int]]:
    longest = _LONGEST // stride * stride
    height, width = (max(2 * stride, min(side, longest)) for side in size)
    return [(height, width), (-(-height * 3 // (5 * stride)) * stride, width)]


def _in_torch(network: Any, dtype: Any, batches: Sequence[Float32]) -> Heads:
    import torch

    with torch.inference_mode():
        return [network(torch.from_numpy(batch).to(dtype)).numpy() for batch in batches]


def _in_runtimes(path: Path, spec: ModelSpec, batches: Sequence[Float32], precision: str) -> dict[str, Heads]:
    from boxmill.runtimes.onnxruntime import OnnxRuntime
    from boxmill.runtimes.openvino import OpenVinoOptions, OpenVinoRuntime

    def one_by_one(infer: Callable[[Float32], list[npt.NDArray[Any]]], batch: Float32) -> npt.NDArray[Any]:
        return np.concatenate([infer(image)[0].copy() for image in np.split(batch, len(batch))])

    openvino = OpenVinoRuntime(path, spec, OpenVinoOptions("fp32", rect=True))
    found = {
        f"OpenVINO {openvino.version} {precision}": [one_by_one(openvino.infer, batch) for batch in batches],
    }
    openvino.close()
    if find_spec("onnxruntime"):
        session = OnnxRuntime(path, spec)
        found[f"ONNX Runtime {session.version} {precision}"] = [session.infer(batch)[0] for batch in batches]
        session.close()
    return found


def compare(
    reference: Heads,
    found: dict[str, Heads],
    networks: Sequence[tuple[int, int]],
    spec: ModelSpec,
    precision: str,
    missing: tuple[str, ...] = (),
) -> Verdict:
    """Holds heads against those of the reference.

    Args:
        reference: float64, for each batch (B, 4 + C, A).
        found: the same of each runtime; the first is PyTorch's float32, which tells what kind of weights these are.
        networks: height and width of each batch.
        spec: of the model.
        precision: of the other runtimes, fp32 or fp16.
        missing: runtimes that are not installed.
    """
    first, *others = found
    apart = _differences(reference, found[first])
    bounds = _bounds(precision, float(apart.mean()), float(apart.max()))
    images = sum(map(len, reference))
    detections = {conf: _detect(reference, networks, spec, conf) for conf in _CONFS}
    conf = next((conf for conf in _CONFS if _count(detections[conf]) >= _ENOUGH * images), _CONFS[0])
    rows = [_row(name, reference, heads, detections[conf], bounds) for name, heads in found.items()]
    problems = [problem for row in rows if row.name in others for problem in _problems(row, bounds)]
    return Verdict(tuple(rows), bounds, images, conf, missing, tuple(problems))


def _row(name: str, reference: Heads, heads: Heads, wanted: Sequence[Detections], bounds: Bounds) -> Row:
    differences = _differences(reference, heads)
    ious = [_iou(_corners(a), _corners(b)) for a, b in zip(reference, heads, strict=True)]  # (B, A) each
    pairs = zip(wanted, chain(*reference), chain(*heads), chain(*ious), strict=True)
    matched = sum(_matched(*pair, bounds.iou or 0.99) for pair in pairs)
    median = float(np.median(np.concatenate([part.ravel() for part in ious])))
    return Row(name, float(differences.mean()), float(differences.max()), median, _count(wanted), matched)


def _matched(
    wanted: Detections, reference: npt.NDArray[Any], head: npt.NDArray[Any], ious: npt.NDArray[Any], least: float
) -> int:
    """How many detections of one image another runtime has: (4 + C, A) heads, (A,) overlaps of their boxes."""
    place = (4 + wanted.classes, wanted.indices)
    near = np.abs(reference[place] - head[place]) <= _NEAR
    return int((near & (ious[wanted.indices] >= least)).sum())


def _differences(reference: Heads, heads: Heads) -> npt.NDArray[np.float64]:
    """|score - reference| of every anchor and class, in one row."""
    return np.concatenate([np.abs(a[:, 4:] - b[:, 4:]).ravel() for a, b in zip(reference, heads, strict=True)])


def _problems(row: Row, bounds: Bounds) -> list[str]:
    """NaN is out of every bound."""
    asked = (
        (bounds.mean, row.mean, f"mean |Δscore| {row.mean:.1e}, expected at most {bounds.mean}"),
        (bounds.largest, row.largest, f"largest |Δscore| {row.largest:.1e}, expected at most {bounds.largest}"),
    )
    found = [text for bound, value, text in asked if bound is not None and not value <= bound]
    if bounds.median_iou is not None and not row.median_iou >= bounds.median_iou:
        found.append(f"median IoU {row.median_iou:.4f}, expected at least {bounds.median_iou}")
    if bounds.iou is not None and row.matched < row.detections:
        found.append(f"{row.detections - row.matched} of {row.detections} detections without one of IoU {bounds.iou}")
    return [f"{row.name}: {text}" for text in found]


def _detect(heads: Heads, networks: Sequence[tuple[int, int]], spec: ModelSpec, conf: float) -> list[Detections]:
    postprocess = Postprocessor(spec.head, conf=conf, iou=0.45)
    return [
        one
        for head, network in zip(heads, networks, strict=True)
        for one in postprocess([head.astype(np.float32)], network)
    ]


def _count(found: Sequence[Detections]) -> int:
    return sum(map(len, found))


def _corners(head: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(B, 4 + C, A) to (B, A, 4): x1, y1, x2, y2."""
    boxes = head[:, :4].astype(np.float64).transpose(0, 2, 1)
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate((centre - half, centre + half), axis=-1)


def _iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of boxes (..., 4), broadcast; of two empty boxes 1."""
    shared = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inside = np.clip(shared, 0, None).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - inside
    ious: npt.NDArray[np.float64] = np.divide(inside, union, out=np.ones_like(inside), where=union > 0)
    return ious
