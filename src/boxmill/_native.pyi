import numpy as np
import numpy.typing as npt

def isa() -> str: ...
def isas() -> list[str]: ...
def letterbox(
    source: npt.NDArray[np.uint8],
    target: npt.NDArray[np.float32],
    place: tuple[int, int, int, int],
    values: tuple[float, float, float, float, float, float, float, float],
    channels_last: bool,
    bgr: bool,
) -> None: ...
