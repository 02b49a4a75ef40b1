"""Raw network outputs to final boxes by the native core, a whole batch in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from boxmill import _native
from boxmill.errors import UsageError
from boxmill.post.cost import PostprocessCost
from boxmill.post.heads import LEVELS, MOST, Floats, Levels, as_list, batch_of, check_head, class_ids, plain
from boxmill.types import Detections, Float32, Geometry, HeadSpec, NmsMethod

__all__ = ["Postprocessor"]

# Numbers as in native/api.hpp.
_HEADS = {"yolo": 0, "yolov5": 1, "yolox": 2, "nanodet": 3, "detr": 4, "end2end": 5, "triple": 5}
_ACTIVATIONS = {"none": 0, "sigmoid": 1, "softmax": 2}
_NMS = {"hard": 0, "soft": 1, "soft-gaussian": 2}
_SELECTED = ("detr", "end2end", "triple")

_Cost = tuple[int, int, tuple[float, float, float, float, float]]
_Image = tuple[bytearray, int, float | None, int, _Cost | None]
_Found = list[_Image]
_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Postprocessor:
    """Turns one raw head into detections: candidates, decoding, NMS, back to source pixels.

    Exact: `boxmill.post.reference.postprocess` defines every operation, and an image's result does not depend on its
    neighbours in the batch. The whole batch is one native call without the GIL, so threads may share an instance.

    Args:
        head: how boxes are read from the raw output.
        conf: a candidate's score is greater than this, 0 to 1.
        iou: NMS drops a box whose IoU with a better one is greater than this, 0 to 1. None: no NMS, only order and
            limits, as for heads whose network has already selected (`end2end`, `triple`, `detr`).
        max_det: at most this many objects an image; `Detections.cut` tells when it took some away.
        max_nms: only this many best candidates an image enter NMS; `cut` tells here too.
        classes: wanted class ids; None: all. In the usual mode the best class of an anchor is found among all classes
            and then kept only if it is wanted.
        agnostic: NMS between boxes of different classes as well.
        multi_label: every (anchor, class) pair above `conf` is a candidate, as in validation; otherwise only the best
            class of each anchor, as in prediction. `end2end` and `triple` have one class a row in any case.
        nms: `hard` drops. `soft`: overlapped boxes lose score instead, by 1 - IoU where IoU > `iou`; `soft-gaussian`:
            by exp(-IoU^2 / sigma), without a threshold (`boxmill.post.soft_nms`). Objects then have their decayed
            scores, are ordered by them, and are dropped when these are not above `conf` any more. `cut` is the higher
            one of the score of candidate max_nms + 1, before any decay, and the decayed one of survivor max_det + 1;
            what scores above it is as without limits.
        sigma: the Gaussian's, above 0; the others have none.

    Raises:
        UsageError: an option is out of range, or soft NMS for a head that is selected inside the network.
    """

    head: HeadSpec
    conf: float = 0.25
    iou: float | None = 0.45
    max_det: int = 300
    max_nms: int = 30000
    classes: tuple[int, ...] | None = None
    agnostic: bool = False
    multi_label: bool = False
    nms: NmsMethod = "hard"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if not (0 <= value <= 1 if value is not None else name == "iou"):
                raise UsageError(f"{name} must be between 0 and 1, got {value}")
        for name in ("max_det", "max_nms"):
            value = getattr(self, name)
            if not 1 <= value < 2**63:
                raise UsageError(f"{name} must be 1 or more, got {value}")
        if self.classes is not None and any(label < 0 for label in self.classes):
            raise UsageError(f"class ids are 0 or more, got {min(self.classes)}")
        check_head(self.head)
        self._check_nms()

    def _check_nms(self) -> None:
        if self.nms not in _NMS:
            raise UsageError(f"nms must be one of {', '.join(_NMS)}, got {self.nms!r}")
        if not isinstance(self.sigma, Real) or not 0 < self.sigma < math.inf:
            raise UsageError(f"sigma must be a number above 0, got {self.sigma!r}")
        if self.nms != "hard" and self.head.type in _SELECTED:
            raise UsageError(
                f"nms {self.nms!r}: the network of a {self.head.type} head has already selected its boxes, "
                "so none overlap whose scores could decay; leave nms out"
            )
        if self.nms == "soft" and self.iou is None:
            raise UsageError(
                "nms 'soft' decays scores where the IoU is above iou, which is None; give a number from 0 to 1"
            )

    def __call__(
        self, raw: _Array | Sequence[_Array], network: tuple[int, int], geometries: Sequence[Geometry] | None = None
    ) -> list[Detections]:
        """The objects of each image of a batch.

        Args:
            raw: the network's outputs, with or without the axis B; float32, or float16, which converts exactly. A list
                that holds the one array, as runtimes return, will do. Heads of one array are read where they lie if
                their rows are contiguous, whatever the steps between rows and images, and a `yolo` head also if it is a
                transposed view; other views are copied once.
                `yolo`: (B, 4 + C, A). `yolov5`, `yolox`: (B, A, 5 + C).
                `nanodet`: a list, for each stride (B, A, C), then for each stride (B, A, 4 * bins); or one array
                (B, A, C + 4 * bins).
                `detr`: a list, (B, Q, C), or C + 1 for the softmax, and (B, Q, 4); or one array, (B, Q, 4 + C).
                `end2end`: (B, K, 6). `triple`: a list, (B, K, 4), (B, K), and labels (B, K) of any integer or float
                dtype. In these two a row with score 0, or with a label below 0, is not used; labels are rounded.
            network: height and width of the network's input, in pixels.
            geometries: how each image lies in the network's input; boxes then go back to source pixels and are clipped
                to the image. None: network pixels, unclipped.

        Returns:
            One `Detections` an image. `end2end` and `triple` do not tell how many classes there are: class ids may be
            larger than the list of names, which only the caller knows.

        Raises:
            UsageError: the array, `network` and `geometries` do not fit the head or each other.
        """
        return [_detections(image) for image in self._found(raw, network, geometries, False)]

    def cost(
        self, raw: _Array | Sequence[_Array], network: tuple[int, int], geometries: Sequence[Geometry] | None = None
    ) -> list[PostprocessCost]:
        """The same objects, and what each image's cost, by a copy of the same native code that counts and takes times.

        `boxmill.post.cost.cost_table` prints it. Arguments and errors are those of the call, which measures nothing.
        """
        costs = []
        for image in self._found(raw, network, geometries, True):
            candidates, tests, seconds = cast(_Cost, image[4])
            costs.append(PostprocessCost(_detections(image), candidates, tests, *(1e6 * step for step in seconds)))
        return costs

    def _found(
        self,
        raw: _Array | Sequence[_Array],
        network: tuple[int, int],
        geometries: Sequence[Geometry] | None,
        with_cost: bool,
    ) -> _Found:
        if len(network) != 2 or not all(1 <= side <= MOST for side in network):
            raise UsageError(f"network must be the height and width of the network's input, got {network}")
        arrays = as_list(raw)
        read = self._levels if self.head.type in LEVELS else self._whole
        found = read(arrays, network, geometries, with_cost)
        if found is None:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise UsageError(f"a head of shape {shapes} has more anchors or classes than {MOST}")
        return found

    def _whole(
        self,
        raw: Sequence[_Array],
        network: tuple[int, int],
        geometries: Sequence[Geometry] | None,
        with_cost: bool,
    ) -> _Found | None:
        """Heads of one array, in which an anchor has its box and its scores."""
        if len(raw) != 1:
            raise UsageError(f"expected one raw head, got {len(raw)} arrays; name the right one in head.outputs")
        heads = batch_of("the raw head", raw[0], "rows, columns")
        classes = _check_shape(self.head, heads.shape, network)
        wanted = None if self.classes is None else _wanted(self.classes, classes)
        places = None if geometries is None else _places(geometries, len(heads), network)
        if self.head.type == "yolo" and _lies_transposed(heads):
            rows = heads.transpose(0, 2, 1)  # anchors as a detr head in one array has them
            levels = Levels([(rows, 4, rows, 0)], classes)
            return self._native_levels("detr", levels, network, wanted, places, with_cost)
        found = self._native_whole(heads, network, wanted, places, with_cost)
        return found if found is not None else self._native_whole(plain(heads)[0], network, wanted, places, with_cost)

    def _native_whole(
        self,
        heads: Floats,
        network: tuple[int, int],
        wanted: bytearray | None,
        places: Float32 | None,
        with_cost: bool,
    ) -> _Found | None:
        return _native.postprocess(
            heads,
            _HEADS[self.head.type],
            self.head.boxes == "normalized",
            self.head.activation == "sigmoid",
            self.head.strides,
            network,
            self.conf,
            math.inf if self.iou is None else self.iou,
            self.max_det,
            self.max_nms,
            (_NMS[self.nms], self.sigma),
            wanted,
            self.agnostic,
            self.multi_label,
            places,
            with_cost,
        )

    def _levels(
        self,
        raw: Sequence[_Array],
        network: tuple[int, int],
        geometries: Sequence[Geometry] | None,
        with_cost: bool,
    ) -> _Found | None:
        """Heads whose class scores and boxes lie apart."""
        levels = LEVELS[self.head.type](raw, self.head, network)
        wanted = None
        if self.classes is not None and levels.labels is None:
            wanted = _wanted(self.classes, levels.classes)
        places = None if geometries is None else _places(geometries, len(levels.arrays[0][0]), network)
        return self._native_levels(self.head.type, levels, network, wanted, places, with_cost)

    def _native_levels(
        self,
        head_type: str,
        levels: Levels,
        network: tuple[int, int],
        wanted: bytearray | None,
        places: Float32 | None,
        with_cost: bool,
    ) -> _Found | None:
        head, nanodet = self.head, head_type == "nanodet"
        return _native.postprocess_levels(
            levels.arrays,
            None if levels.labels is None else class_ids(levels.labels, self.classes),
            (
                _HEADS[head_type],
                levels.classes,
                head.boxes == "normalized",
                _ACTIVATIONS[head.activation],
                head.strides if nanodet else (),
                head.bins if nanodet else 1,
                0.5 if head.origin == "centre" else 0.0,
            ),
            network,
            (self.conf, math.inf if self.iou is None else self.iou, self.max_det, self.max_nms),
            (_NMS[self.nms], self.sigma),
            wanted,
            self.agnostic,
            self.multi_label,
            places,
            with_cost,
        )


def _lies_transposed(heads: Floats) -> bool:
    """(B, P, Q), but in memory (B, Q, P), as after a transpose."""
    flags = heads.transpose(0, 2, 1).flags
    return flags.c_contiguous and flags.aligned and not heads.flags.c_contiguous


def _check_shape(head: HeadSpec, shape: tuple[int, ...], network: tuple[int, int]) -> int:
    """How many classes the head has."""
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


def _detections(image: _Image) -> Detections:
    """Four views of one buffer."""
    found, count, cut, nan, _ = image
    return Detections(
        np.frombuffer(found, np.float32, 4 * count).reshape(count, 4),
        np.frombuffer(found, np.float32, count, 16 * count),
        np.frombuffer(found, np.int32, count, 20 * count),
        np.frombuffer(found, np.int32, count, 24 * count),
        cut,
        nan,
    )
