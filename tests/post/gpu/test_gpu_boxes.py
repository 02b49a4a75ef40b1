"""NMS of boxes on a device against the reference; and that the library's other doors lead there."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from post import cases, heads

from boxmill.errors import UsageError
from boxmill.post import batched_nms, nms, reference
from boxmill.post.compat import torchvision, ultralytics, yolov5

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", cases.KINDS)
def test_hard_inputs(device: str, kind: Any) -> None:
    from boxmill.post import gpu

    boxes, scores, classes = kind(np.random.default_rng(3), 90)
    tensors = [torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in (boxes, scores, classes)]
    wanted = reference.nms(boxes, scores, classes, iou=0.5).kept
    assert np.array_equal(gpu.nms(*tensors, iou=0.5).cpu().numpy(), wanted)
    wanted = reference.nms(boxes, scores, None, iou=0.25, max_det=7).kept
    assert np.array_equal(gpu.nms(*tensors[:2], iou=0.25, max_det=7).cpu().numpy(), wanted)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 129])
def test_sizes(device: str, n: int) -> None:
    from boxmill.post import gpu

    boxes, scores, classes = cases.crowded(np.random.default_rng(n), n)
    tensors = [torch.from_numpy(each).to(device) for each in (boxes, scores, classes)]
    found = gpu.nms(*tensors, iou=0.5)
    assert found.dtype == torch.int64
    assert np.array_equal(found.cpu().numpy(), reference.nms(boxes, scores, classes, iou=0.5).kept)


def test_threshold_to_the_last_bit(device: str) -> None:
    """An IoU just at, above and below float32(iou)."""
    from boxmill.post import gpu

    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 3], [5, 5, 9, 9], [5, 5, 9, 8]])
    scores = np.float32([0.9, 0.8, 0.7, 0.6])
    tensors = [torch.from_numpy(each).to(device) for each in (boxes, scores)]
    for exact in (np.float32(0.3), np.float32(0.75)):
        for iou in (np.nextafter(exact, np.float32(0)), exact, np.nextafter(exact, np.float32(1))):
            wanted = reference.nms(boxes, scores, iou=float(iou)).kept
            assert np.array_equal(gpu.nms(*tensors, iou=float(iou)).cpu().numpy(), wanted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves(device: str, dtype: str) -> None:
    from boxmill.post import gpu

    boxes, scores, classes = cases.crowded(np.random.default_rng(1), 70)
    halves = [torch.from_numpy(each).to(getattr(torch, dtype)) for each in (boxes, scores)]
    wanted = reference.nms(*(each.float().numpy() for each in halves), classes, iou=0.5).kept
    found = gpu.nms(*(each.to(device) for each in halves), torch.from_numpy(classes).to(device), iou=0.5)
    assert np.array_equal(found.cpu().numpy(), wanted)


def test_a_batch_in_static_shapes(device: str) -> None:
    from boxmill.post import gpu

    images = [cases.tied(np.random.default_rng(i), 40) for i in range(2)]
    boxes, scores, classes = (torch.from_numpy(np.stack(each)).to(device) for each in zip(*images, strict=True))
    counts = torch.tensor([40, 25], device=device)
    found = gpu.batched_nms(boxes, scores, classes, counts=counts, iou=0.5, max_det=9)
    assert found.indices.shape == (2, 9)
    for i, used in enumerate((40, 25)):
        wanted = reference.nms(*(each[:used] for each in images[i]), iou=0.5, max_det=9).kept
        assert int(found.count[i]) == len(wanted)
        assert np.array_equal(found.indices[i, : len(wanted)].cpu().numpy(), wanted)


@pytest.fixture
def dispatched(device: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Tensors count as being on a GPU, also where the interpreter has them on the CPU."""
    for module in ("boxmill.post.nms", "boxmill.post.compat._arrays"):
        monkeypatch.setattr(sys.modules[module], "on_gpu", lambda value: isinstance(value, torch.Tensor))
    return device


def test_the_library_leads_here(dispatched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, classes = cases.crowded(np.random.default_rng(5), 50)
    tensors = [torch.from_numpy(each).to(dispatched) for each in (boxes, scores, classes)]
    wanted = nms(boxes, scores, classes, iou=0.5)
    monkeypatch.delattr(sys.modules["boxmill._native"], "nms")  # nothing may go the other way
    assert np.array_equal(nms(*tensors, iou=0.5).cpu().numpy(), wanted)
    assert np.array_equal(torchvision.batched_nms(*tensors, 0.5).cpu().numpy(), wanted)
    assert np.array_equal(
        torchvision.batched_nms(tensors[0].double(), tensors[1], tensors[2].float(), 0.5).cpu(), wanted
    )
    stacked = [each[None].expand(2, *each.shape) for each in tensors]
    for found in (batched_nms(*stacked, iou=0.5), batched_nms(*([each] * 2 for each in tensors), iou=0.5)):
        assert [np.array_equal(each.cpu().numpy(), wanted) for each in found] == [True, True]
    with pytest.raises(UsageError, match="whole numbers"):
        torchvision.batched_nms(*tensors[:2], tensors[2] + 0.5, 0.5)
    with pytest.raises(UsageError, match="counts"):
        batched_nms(*stacked, counts=[51, 2])


@pytest.mark.parametrize("module", [ultralytics, yolov5])
def test_non_max_suppression_leads_here(dispatched: str, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = heads.tied(np.random.default_rng(0), 30, 3)
    raw = (np.delete(rows, 4, axis=0) if module is ultralytics else np.ascontiguousarray(rows.T))[None]
    wanted = module.non_max_suppression(raw, 0.3, 0.5)
    monkeypatch.delattr(sys.modules["boxmill._native"], "postprocess")
    for tensor in (torch.from_numpy(raw).to(dispatched), torch.from_numpy(raw).to(dispatched).double()):
        (found,) = module.non_max_suppression(tensor, 0.3, 0.5)
        assert found.dtype == (torch.float64 if tensor.dtype == torch.float64 else torch.float32)
        assert np.array_equal(found.cpu().numpy(), wanted[0])


def test_refusals(device: str) -> None:
    from boxmill.post import gpu

    boxes, scores = torch.zeros(2, 4, device=device), torch.zeros(2, device=device)
    with pytest.raises(UsageError, match=r"boxes must have shape \(N, 4\)"):
        gpu.nms(boxes[0], scores)
    with pytest.raises(UsageError, match=r"boxes must have shape \(B, N, 4\)"):
        gpu.nms(boxes[:, :3], scores)
    with pytest.raises(UsageError, match="scores must have shape"):
        gpu.nms(boxes, scores[:1])
    with pytest.raises(UsageError, match="classes must be integers"):
        gpu.nms(boxes, scores, scores)
    with pytest.raises(UsageError, match="iou must be a number"):
        gpu.nms(boxes, scores, iou=2)
