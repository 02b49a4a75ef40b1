"""What only a GPU can show: no synchronisation, CUDA graphs, torch.compile, real sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from post import cases

from boxmill.post import Postprocessor, nms
from boxmill.types import HeadSpec

torch = pytest.importorskip("torch")

HEAD, NETWORK = HeadSpec("yolo"), (640, 640)
gpu_only = pytest.mark.gpu


def realistic(seed: int, images: int = 2, candidates: int = 1200) -> Any:
    """(B, 84, 8400) float16: `candidates` anchors score above 0.25, in clusters."""
    rng = np.random.default_rng(seed)
    raw = rng.random((images, 84, 8400)).astype(np.float32) * 0.2
    for image in raw:
        objects = rng.uniform(20, 600, (60, 2))
        chosen = rng.permutation(8400)[:candidates]
        owner = rng.integers(0, 60, candidates)
        image[:2, chosen] = (objects[owner] + rng.normal(0, 8, (candidates, 2))).T
        image[2:4, chosen] = rng.uniform(30, 90, (2, candidates))
        image[4 + owner % 80, chosen] = rng.uniform(0.26, 1, candidates)
    return torch.from_numpy(raw.astype(np.float16))


def same(found: Any, raw: Any, **options: Any) -> None:
    wanted = Postprocessor(HEAD, **options)(raw.cpu().numpy(), NETWORK)
    for mine, other in zip(found.to_detections(), wanted, strict=True):
        assert len(mine) == len(other) > 10
        for name in ("boxes", "scores", "classes", "indices"):
            assert getattr(mine, name).tobytes() == getattr(other, name).tobytes(), name
        assert (mine.cut, mine.nan) == (other.cut, other.nan)


@gpu_only
@pytest.mark.parametrize("options", [{}, {"conf": 0.1}, {"multi_label": True, "conf": 0.1}], ids=str)
def test_real_sizes(cuda: str, options: dict[str, Any]) -> None:
    from boxmill.post import gpu

    for seed in range(3):
        raw = realistic(seed).to(cuda)
        same(gpu.postprocess(HEAD, raw, NETWORK, **options), raw, **options)


@gpu_only
@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("n", [3000, 70000])
def test_many_boxes(cuda: str, kind: Any, n: int) -> None:
    boxes, scores, classes = kind(np.random.default_rng(0), n)
    tensors = [torch.from_numpy(np.ascontiguousarray(each)).to(cuda) for each in (boxes, scores, classes)]
    assert np.array_equal(nms(*tensors, iou=0.5).cpu().numpy(), nms(boxes, scores, classes, iou=0.5))


@gpu_only
def test_no_synchronisation(cuda: str) -> None:
    from boxmill.post import gpu

    raw = realistic(0).to(cuda)
    gpu.postprocess(HEAD, raw, NETWORK, classes=(0, 5))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        gpu.postprocess(HEAD, raw, NETWORK, classes=(0, 5))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu_only
def test_cuda_graph(cuda: str) -> None:
    """Captured once, replayed with other values in the same place."""
    from boxmill.post import gpu

    raw = realistic(0).to(cuda)
    gpu.postprocess(HEAD, raw, NETWORK)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = gpu.postprocess(HEAD, raw, NETWORK)
    for seed in (1, 2):
        raw.copy_(realistic(seed))
        graph.replay()
        same(found, raw)
