"""The few types that every room shares: what a model takes, what an image becomes, what a run says of it.

Arrays are numpy; each field's comment gives shape, dtype and unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "Archive",
    "Batch",
    "Detections",
    "EncodedItem",
    "Failure",
    "Frame",
    "Geometry",
    "HeadSpec",
    "InputSpec",
    "ModelSpec",
    "Outcome",
    "Tags",
]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

HeadType = Literal["yolo", "yolov5", "yolox", "nanodet", "end2end", "triple", "detr", "classes"]
NmsMethod = Literal["hard", "soft", "soft-gaussian"]  # soft: linear decay
Resize = Literal["letterbox", "letterbox_topleft", "stretch", "center_crop"]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The objects of one image, best first; equal scores are ordered by the lower candidate index.

    The arrays are what `supervision.Detections` documents:
    `supervision.Detections(xyxy=found.boxes, confidence=found.scores, class_id=found.classes)`.
    """

    boxes: Float32  # (N, 4) x1, y1, x2, y2 in source pixels after EXIF rotation, clipped to the image
    scores: Float32  # (N,) in [0, 1]
    classes: Int32  # (N,)
    indices: Int32  # (N,) the raw anchor that each came from
    cut: float | None = None  # highest score lost to max_nms or max_det; None when nothing was
    nan: int = 0  # candidates dropped because a score or a coordinate was NaN

    def __len__(self) -> int:
        return len(self.scores)

    def truncated(self, conf: float) -> bool:
        """Whether a limit took away objects that would be shown at the score threshold `conf`."""
        return self.cut is not None and self.cut > conf


@dataclass(frozen=True, slots=True, eq=False)
class Tags:
    """What a tagger says of one image, best first; equal scores are ordered by the lower class id."""

    classes: Int32  # (K,)
    scores: Float32  # (K,) after the head's activation; without one, as the network gives them
    nan: int = 0  # classes dropped because their score was NaN

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded image."""

    key: str
    pixels: UInt8  # (H, W, 3) RGB, EXIF rotation applied
    full: tuple[int, int] | None = None  # height, width of the image where `pixels` are a reduced decoding of it

    @property
    def source(self) -> tuple[int, int]:
        """Height and width of the image: what boxes refer to."""
        return self.full or (self.pixels.shape[0], self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one source image lies in the network's input: network = source * scale + pad.

    A letterbox has one scale, although `resized` is a whole number of pixels and so each axis was resized by a slightly
    different ratio: in training the labels were multiplied by min(W / w, H / h), and the network answers accordingly.
    """

    scale: tuple[float, float]  # x, y: what boxes are divided by on the way back, each exactly a float32
    pad: tuple[int, int]  # left, top: network pixels; negative where `center_crop` cuts that much off
    resized: tuple[int, int]  # height, width of the image inside the network's input: network pixels
    network: tuple[int, int]  # height, width: network pixels
    source: tuple[int, int]  # height, width: source pixels, however the image was decoded


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images of one network shape, ready for a runtime."""

    keys: tuple[str, ...]
    tensor: Float32  # (B, 3, h, w) or (B, h, w, 3), as the model's layout says
    geometries: tuple[Geometry, ...]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the network expects of an image: value = (pixel * scale - mean) / std."""

    size: tuple[int, int] = (640, 640)  # height, width
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    color: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the order of `color`
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: Resize = "letterbox"
    pad: int = 114  # grey level of the border, 0-255
    rounding: Literal["round", "floor"] = "round"  # of the resized size
    dynamic: bool = False  # the network takes any height and width that are multiples of `stride`
    stride: int = 32
    crop_from: int | None = None  # center_crop: the shorter side is resized to this many pixels, then `size` is cut out
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = False  # the filter widens as the image shrinks, as Pillow's does; otherwise OpenCV's bilinear


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """How boxes are read from the network's raw output.

    `yolo`: (4 + C, A), centre x, centre y, width, height, then C class scores an anchor.
    `yolov5`: (A, 5 + C), the same with an objectness before the class scores.
    `yolox`: (A, 5 + C) with the grid undecoded: centre = (o + cell) * stride, size = exp(o) * stride.
    `nanodet`: for each stride class logits or scores, then for each stride distances to the four sides as distributions
    over `bins` multiples of the stride, measured from the cell's `origin`.
    `end2end`: (K, 6), x1, y1, x2, y2, score, class; selected inside the network.
    `triple`: boxes (K, 4) x1, y1, x2, y2, scores (K,), labels (K,); selected inside the network.
    `detr`: class logits (Q, C), or (Q, C + 1) with the softmax's "no object" last, and boxes (Q, 4) as centre x,
    centre y, width, height.
    `classes`: (C,), a tagger.
    """

    type: HeadType
    boxes: Literal["pixels", "normalized"] = "pixels"  # normalized: divided by the network's width and height
    activation: Literal["none", "sigmoid", "softmax"] = "none"  # applied to objectness and class scores
    outputs: tuple[str, ...] = ()  # names of the network's outputs, in the order of the type above; empty: the only one
    strides: tuple[int, ...] = (8, 16, 32)
    bins: int = 8  # nanodet: of one side's distribution
    origin: Literal["centre", "corner"] = "centre"  # nanodet: of distances in a cell; NanoDet-Plus takes the corner


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything about a model except its weights."""

    input: InputSpec
    head: HeadSpec
    names: tuple[str, ...]  # by class id
    task: Literal["detect", "tag"] = "detect"


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive that inputs are members of, as it was when they were listed."""

    path: bytes  # absolute
    kind: str  # zip, tar, or tar. with a compression: tar.gz, tar.bz2, tar.xz
    size: int  # bytes
    mtime_ns: int
    prefix: str  # of its inputs' keys, such as "photos.zip!/"


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """One input that has not been read yet."""

    index: int  # position in the listing
    key: str  # FORMATS: source-relative POSIX path
    read: Callable[[], bytes]
    # Brings it within reach of `read`, which calls it where nobody has; never raises. In a compressed archive that may
    # take minutes, which are not this input's fault: so it comes before the input counts as under way.
    fetch: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an input has no result."""

    key: str
    stage: str  # read, decode, preprocess, model, postprocess
    code: str  # short and stable, e.g. "truncated"
    message: str  # one sentence for people


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The one state in which an input ends."""

    key: str
    index: int
    result: Detections | Tags | Failure
    size: tuple[int, int] | None = None  # width, height after EXIF rotation; None when it was not decoded
    times: dict[str, float] = field(default_factory=dict)  # milliseconds by stage
