from typing import Any

import numpy as np
import numpy.typing as npt

# Candidates that entered suppression, IoU tests; seconds: filter, group, sort, suppress, scale.
_Cost = tuple[int, int, tuple[float, float, float, float, float]]

def isa() -> str: ...
def isas() -> list[str]: ...
def letterbox(
    source: npt.NDArray[np.uint8],  # (H, W, 3) RGB; pixels packed, rows anywhere
    target: npt.NDArray[np.float32],  # (3, h, w), or (h, w, 3) where channels_last; written
    place: tuple[
        int, int, int, int
    ],  # left, top, width, height of the resized image: inside the target, or covering it
    values: tuple[float, float, float, float, float, float, float, float],  # scale, mean x 3, std x 3, pad
    channels_last: bool,
    bgr: bool,  # the order of the target's channels, and of mean and std
) -> None:
    """Resizes, crops or pads, and normalises. ValueError or TypeError where an argument does not fit."""

def resample(
    source: npt.NDArray[np.uint8],  # as in letterbox, and so are those below
    target: npt.NDArray[np.float32],
    place: tuple[int, int, int, int],
    values: tuple[float, float, float, float, float, float, float, float],
    channels_last: bool,
    bgr: bool,
    bicubic: bool,  # otherwise bilinear
) -> None:
    """The same with a filter that widens as the image shrinks, as Pillow's does."""

def nms(
    boxes: npt.NDArray[np.float32],  # (n, 4) float32
    scores: npt.NDArray[np.float32],  # (n,) float32
    classes: npt.NDArray[Any] | None,  # (n,) int32 or int64
    iou: float,  # 0 to 1
    max_nms: int,  # 0 or more
    max_det: int,  # 0 or more
    want_cut: bool,  # whether the third value of the answer is filled
) -> tuple[bytearray, int, float | None] | None:
    """Kept indices as native int64s, NaN rows, highest score lost to a limit.

    None: an argument is not native-endian, C-contiguous, aligned, of the shape and type above, or within its range.
    """

def nms_cost(
    boxes: npt.NDArray[np.float32],  # these as for `nms`
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[Any] | None,
    iou: float,
    max_nms: int,
    max_det: int,
) -> tuple[bytearray, int, int, int, tuple[float, float, float, float]] | None:
    """Kept rows as native int64s, NaN rows, candidates considered, IoU tests; seconds: filter, group, sort, suppress.

    None: as for `nms`.
    """

def soft_nms(
    boxes: npt.NDArray[np.float32],  # (n, 4) float32
    scores: npt.NDArray[np.float32],  # (n,) float32
    classes: npt.NDArray[Any] | None,  # (n,) int32 or int64
    gaussian: bool,
    iou: float,  # 0 to 1; used where not gaussian
    sigma: float,  # above 0, finite; used where gaussian
    conf: float,  # 0 or more, finite
    max_det: int,  # 0 or more
) -> tuple[bytearray, bytearray] | None:
    """Kept indices as native int64s, their decayed scores as float32.

    None: an argument is not native-endian, C-contiguous, aligned, of the shape and type above, or within its range.
    """

def postprocess(
    raw: npt.NDArray[np.floating[Any]],  # (images, rows, columns) float32 or float16; steps between rows as they are
    head: int,  # 0 yolo, 1 yolov5, 2 yolox
    normalized: bool,
    sigmoid: bool,
    strides: tuple[int, ...],  # yolox: the anchors of all levels together are exactly those of the head
    network: tuple[int, int],  # height, width
    conf: float,  # 0 to 1
    iou: float,  # 0 to 1, or infinity: nothing is suppressed
    max_det: int,  # 1 or more
    max_nms: int,  # 1 or more
    method: tuple[int, float],  # 0 hard, 1 soft and linear, 2 soft and Gaussian; the Gaussian's sigma, above 0
    wanted: bytearray | None,  # (classes,) uint8, nonzero: wanted
    agnostic: bool,
    multi_label: bool,
    geometry: npt.NDArray[np.float32] | None,  # (images, 6) float32: scale x, y; pad left, top; source width, height
    with_cost: bool,
) -> list[tuple[bytearray, int, float | None, int, _Cost | None]] | None:
    """For each image its boxes (n, 4), scores (n,), classes (n,) and anchors (n,) behind one another; n; cut; nan;
    cost, None unless asked for.

    None: a buffer is not native-endian, aligned and of the shape and type above, or not contiguous: `raw` row by row,
    the others as a whole.
    """

def postprocess_levels(
    # class values (images, anchors, columns) float32 or all float16, their first column, and likewise boxes; one entry
    # a level
    levels: list[tuple[npt.NDArray[np.floating[Any]], int, npt.NDArray[np.floating[Any]], int]],
    labels: npt.NDArray[np.int32] | None,  # selected: (images, anchors) class ids; -1: skip the row; -2: not a number
    # head: 3 nanodet, 4 detr, 5 selected; classes; normalized; activation: 0 none, 1 sigmoid, 2 softmax, of one more
    # value; strides, and bins of a side: nanodet; origin: nanodet, where in a cell distances begin, in strides
    form: tuple[int, int, bool, int, tuple[int, ...], int, float],
    network: tuple[int, int],  # height, width
    limits: tuple[float, float, int, int],  # conf, iou, max_det, max_nms as for `postprocess`
    method: tuple[int, float],
    wanted: bytearray | None,  # (classes,) uint8, nonzero: wanted
    agnostic: bool,
    multi_label: bool,
    geometry: npt.NDArray[np.float32] | None,  # as for `postprocess`
    with_cost: bool,
) -> list[tuple[bytearray, int, float | None, int, _Cost | None]] | None:
    """As `postprocess`, for heads whose class values and boxes lie apart.

    None: a buffer is not native-endian, C-contiguous, aligned and of the shape and type above, there are no levels, or
    nanodet's anchors are not those of its strides.
    """
