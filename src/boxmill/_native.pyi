from typing import Any

import numpy as np
import numpy.typing as npt

def isa() -> str: ...
def isas() -> list[str]: ...
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
