from typing import Any

import numpy as np
import numpy.typing as npt

def isa() -> str: ...
def isas() -> list[str]: ...
def letterbox(
    source: npt.NDArray[np.uint8],  # (H, W, 3) RGB; pixels packed, rows anywhere
    target: npt.NDArray[np.float32],  # (3, h, w), or (h, w, 3) where channels_last; written
    place: tuple[int, int, int, int],  # left, top, width, height of the resized image in the target
    values: tuple[float, float, float, float, float, float, float, float],  # scale, mean x 3, std x 3, pad
    channels_last: bool,
    bgr: bool,  # the order of the target's channels, and of mean and std
) -> None:
    """Resizes, normalises and pads. ValueError or TypeError where an argument does not fit."""

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
