"""The fake runtime is deterministic and looks at its own image only."""

from __future__ import annotations

import numpy as np
import pytest

from boxmill.runtimes.fake import FakeRuntime
from boxmill.types import HeadSpec, InputSpec, ModelSpec


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_head_shape_and_independence_of_neighbours(layout: str) -> None:
    runtime = FakeRuntime(ModelSpec(InputSpec(size=(64, 96), layout=layout), HeadSpec("yolo"), ("a", "b")))
    shape = (3, 3, 64, 96) if layout == "NCHW" else (3, 64, 96, 3)
    images = np.random.default_rng(0).random(shape, np.float32)
    (together,) = runtime.infer(images)
    assert together.shape == (3, 6, 8 * 12 + 4 * 6 + 2 * 3)
    assert together.dtype == np.float32
    for index in range(3):
        (alone,) = runtime.infer(images[index : index + 1])
        assert alone.tobytes() == together[index : index + 1].tobytes()
    assert len({together[index].tobytes() for index in range(3)}) == 3
    assert together[:, 4:].min() >= 0
    assert together[:, 4:].max() <= 1


def test_every_pixel_counts() -> None:
    runtime = FakeRuntime(ModelSpec(InputSpec(size=(32, 32)), HeadSpec("yolo"), ("a",)))
    image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    changed = image.copy()
    changed[0, 1, 31, 31] += 0.1
    assert runtime.infer(image)[0].tobytes() != runtime.infer(changed)[0].tobytes()
