"""Raw network outputs to final boxes by the native core, a whole batch in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill import _native
from boxmill.errors import UsageError
from boxmill.types import Detections, Float32, Geometry, HeadSpec

__all__ = ["Postprocessor"]

_HEADS = {"yolo": 0, "yolov5": 1, "yolox": 2}  # as in native/api.hpp
_MOST = 2**31 - 65  # anchors, classes or pixels, all counted in 32 bits
_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Postprocessor:
    """Turns one raw head into detections: candidates, decoding, NMS, back to source pixels.

    Exact: `boxmill.post.reference.postprocess` defines every operation, and an image's result does not depend on its
    neighbours in the batch. The whole batch is one native call without the GIL, so threads may share an instance.

    Args:
        head: how boxes are read from the raw output.
        conf: a candidate's score is greater than this, 0 to 1.
        iou: NMS drops a box whose IoU with a better one is greater than this, 0 to 1.
        max_det: at most this many objects an image; `Detections.cut` tells when it took some away.
        max_nms: only this many best candidates an image enter NMS; `cut` tells here too.
        classes: wanted class ids; None: all. In the usual mode the best class of an anchor is found among all classes
            and then kept only if it is wanted.
        agnostic: NMS between boxes of different classes as well.
        multi_label: every (anchor, class) pair above `conf` is a candidate, as in validation; otherwise only the best
            class of each anchor, as in prediction.

    Raises:
        UsageError: an option is out of range.
    """

    head: HeadSpec
    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    max_nms: int = 30000
    classes: tuple[int, ...] | None = None
    agnostic: bool = False
    multi_label: bool = False

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"{name} must be between 0 and 1, got {value}")
        for name in ("max_det", "max_nms"):
            value = getattr(self, name)
            if not 1 <= value < 2**63:
                raise UsageError(f"{name} must be 1 or more, got {value}")
        if self.classes is not None and any(label < 0 for label in self.classes):
            raise UsageError(f"class ids are 0 or more, got {min(self.classes)}")
        _check_head(self.head)

    def __call__(
        self, raw: _Array | Sequence[_Array], network: tuple[int, int], geometries: Sequence[Geometry] | None = None
    ) -> list[Detections]:
        """The objects of each image of a batch.

        Args:
            raw: (B, 4 + C, A) for `yolo`, (B, A, 5 + C) for `yolov5` and `yolox`, or one image without B; float32, or
                float16, which converts exactly. A list that holds one such array, as runtimes return, will do.
            network: height and width of the network's input, in pixels.
            geometries: how each image lies in the network's input; boxes then go back to source pixels and are clipped
                to the image. None: network pixels, unclipped.

        Returns:
            One `Detections` an image.

        Raises:
            UsageError: the array, `network` and `geometries` do not fit the head or each other.
        """
        heads = _as_batch(raw)
        classes = _check_shape(self.head, heads.shape, network)
        found = _native.postprocess(
            heads,
            _HEADS[self.head.type],
            self.head.boxes == "normalized",
            self.head.activation == "sigmoid",
            self.head.strides,
            network,
            self.conf,
            self.iou,
            self.max_det,
            self.max_nms,
            None if self.classes is None else _wanted(self.classes, classes),
            self.agnostic,
            self.multi_label,
            None if geometries is None else _places(geometries, len(heads), network),
        )
        if found is None:
            raise UsageError(f"a head of shape {heads.shape} has more anchors or classes than {_MOST}")
        return [_detections(*image) for image in found]


def _check_head(head: HeadSpec) -> None:
    if head.type not in _HEADS:
        raise UsageError(f"head type must be one of {', '.join(_HEADS)}, got {head.type!r}")
    if head.boxes not in ("pixels", "normalized"):
        raise UsageError(f"head boxes must be pixels or normalized, got {head.boxes!r}")
    if head.activation not in ("none", "sigmoid"):
        raise UsageError(f"head activation must be none or sigmoid, got {head.activation!r}")
    if head.type != "yolox":
        return
    if head.boxes == "normalized":
        raise UsageError("a yolox head is decoded with its strides, always to pixels; set boxes: pixels")
    if not head.strides or not all(1 <= stride <= _MOST for stride in head.strides):
        raise UsageError(f"a yolox head needs strides of 1 or more, one for each level, got {head.strides}")


def _as_batch(raw: _Array | Sequence[_Array]) -> Float32:
    """(B, P, Q) float32, contiguous and aligned."""
    if isinstance(raw, list | tuple):
        if len(raw) != 1:
            raise UsageError(f"expected one raw head, got {len(raw)} arrays; name the right one in head.outputs")
        raw = raw[0]
    if not isinstance(raw, np.ndarray):
        raise UsageError(f"the raw head must be a numpy array, got {type(raw).__name__}; convert it with numpy.asarray")
    if raw.dtype not in (np.float32, np.float16):
        raise UsageError(
            f"the raw head must be float32 (or float16, which converts exactly), got {raw.dtype}; "
            "round it yourself: raw.astype(numpy.float32)"
        )
    if raw.ndim not in (2, 3):
        raise UsageError(f"the raw head must have shape (images, rows, columns) or (rows, columns), got {raw.shape}")
    heads = raw if raw.ndim == 3 else raw[None]
    return np.require(heads, np.float32, ["C", "A"])


def _check_shape(head: HeadSpec, shape: tuple[int, ...], network: tuple[int, int]) -> int:
    """How many classes the head has."""
    if len(network) != 2 or not all(1 <= side <= _MOST for side in network):
        raise UsageError(f"network must be the height and width of the network's input, got {network}")
    _, rows, columns = shape
    if head.type == "yolo":
        if rows < 5:
            raise UsageError(f"a yolo head has 4 box rows and at least 1 class row, got shape {shape}")
        return rows - 4
    if columns < 6:
        raise UsageError(f"a {head.type} head has at least 6 columns (4 box, objectness, classes), got shape {shape}")
    if head.type == "yolox":
        anchors = sum((network[0] // stride) * (network[1] // stride) for stride in head.strides)
        if rows != anchors:
            raise UsageError(
                f"strides {head.strides} give {anchors} anchors at network size {network[0]}x{network[1]}, "
                f"but the head has {rows}; correct the strides or the size"
            )
    return columns - 5


def _wanted(classes: tuple[int, ...], count: int) -> bytearray:
    """(C,) one byte a class, nonzero where it is wanted."""
    wanted = bytearray(count)
    for label in classes:
        if label >= count:
            raise UsageError(f"class id {label} does not exist: the head has {count} classes, 0 to {count - 1}")
        wanted[label] = 1
    return wanted


def _places(geometries: Sequence[Geometry], images: int, network: tuple[int, int]) -> Float32:
    """(B, 6) scale x, y; pad left, top; source width, height."""
    if len(geometries) != images:
        raise UsageError(f"expected one geometry for each of {images} images, got {len(geometries)}")
    for geometry in geometries:
        if geometry.network != network:
            raise UsageError(f"the geometry is for network size {geometry.network}, but the head for {network}")
    places = [(*one.scale, *one.pad, one.source[1], one.source[0]) for one in geometries]
    return np.array(places, np.float32).reshape(images, 6)


def _detections(found: bytearray, count: int, cut: float | None, nan: int) -> Detections:
    """Four views of one buffer."""
    return Detections(
        np.frombuffer(found, np.float32, 4 * count).reshape(count, 4),
        np.frombuffer(found, np.float32, count, 16 * count),
        np.frombuffer(found, np.int32, count, 20 * count),
        np.frombuffer(found, np.int32, count, 24 * count),
        cut,
        nan,
    )
