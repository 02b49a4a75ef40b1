"""Tensors in, tensors out: with a stand-in for torch, which shows what is asked of a device; and with torch itself."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from post import cases, heads

from boxmill.errors import UsageError
from boxmill.post.compat import torchvision, ultralytics, yolov5, yolov9


class FakeTensor:
    """An array that says where it lives and refuses to be read elsewhere than on the CPU."""

    def __init__(self, values: Any, device: str = "cuda") -> None:
        self.values = np.asarray(values)
        self.device = SimpleNamespace(type=device)
        self.dtype = "float32"

    def detach(self) -> FakeTensor:
        return self

    def cpu(self) -> FakeTensor:
        return FakeTensor(self.values, "cpu")

    def to(self, device: Any) -> FakeTensor:
        return FakeTensor(self.values, device.type)

    def numpy(self) -> Any:
        assert self.device.type == "cpu"
        return self.values


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_numpy(values: Any) -> FakeTensor:
        return FakeTensor(values, "cpu")

    torch = SimpleNamespace(Tensor=FakeTensor, from_numpy=from_numpy, bfloat16="bfloat16", float16="float16")
    monkeypatch.setitem(sys.modules, "torch", torch)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("like_original", [False, True])
def test_results_go_back_to_the_device(device: str, like_original: bool) -> None:
    arrays = cases.crowded(np.random.default_rng(0), 40)
    tensors = [FakeTensor(array, device) for array in arrays]
    found: Any = torchvision.batched_nms(*tensors, 0.5, like_original=like_original)
    assert found.device.type == device
    assert np.array_equal(found.values, torchvision.batched_nms(*arrays, 0.5, like_original=like_original))
    raw = np.delete(heads.uniform(np.random.default_rng(0), 30, 3), 4, axis=0)[None]
    tables, kept = ultralytics.non_max_suppression(
        FakeTensor(raw, device), return_idxs=True, like_original=like_original
    )
    assert [each.device.type for each in (*tables, *kept)] == [device] * 2
    assert np.array_equal(tables[0].values, ultralytics.non_max_suppression(raw, like_original=like_original)[0])


@pytest.mark.usefixtures("fake_torch")
def test_what_is_neither_tensor_nor_array() -> None:
    with pytest.raises(UsageError, match="boxes must be a torch tensor or a numpy array, got list"):
        torchvision.nms([[0.0, 0.0, 1.0, 1.0]], np.ones(1, np.float32), 0.5)  # type: ignore[type-var]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_of_torch(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    wide = torch.float64 if dtype == "float64" else torch.float32
    rows = heads.uniform(np.random.default_rng(0), 40, 3)
    prediction = torch.from_numpy(rows)[None].to(getattr(torch, dtype)).requires_grad_()
    exact = prediction.detach().float().numpy()
    pairs = [(yolov5, prediction.transpose(1, 2), exact.transpose(0, 2, 1))]
    pairs += [(module, prediction[:, 1:], exact[:, 1:]) for module in (yolov9, ultralytics)]
    for module, tensor, array in pairs:
        (table,), (expected,) = module.non_max_suppression(tensor), module.non_max_suppression(array)
        assert table.dtype is wide
        assert not table.requires_grad
        assert np.array_equal(table.float().numpy(), expected)


def test_torch_indices() -> None:
    torch = pytest.importorskip("torch")
    arrays = cases.crowded(np.random.default_rng(0), 200)
    tensors = [torch.from_numpy(array) for array in arrays]
    for found, expected in [
        (torchvision.nms(*tensors[:2], 0.5), torchvision.nms(*arrays[:2], 0.5)),
        (torchvision.batched_nms(*tensors, 0.5), torchvision.batched_nms(*arrays, 0.5)),
    ]:
        assert found.dtype is torch.int64
        assert found.tolist() == expected.tolist()
        assert torch.equal(tensors[0][found], torch.from_numpy(arrays[0][expected]))


def test_torch_labels_and_classes() -> None:
    torch = pytest.importorskip("torch")
    rows = np.delete(heads.uniform(np.random.default_rng(2), 40, 3), 4, axis=0)[None]
    known = np.float32([[1, 20, 20, 9, 9]])
    options = {"labels": [torch.from_numpy(known)], "classes": torch.tensor([1])}
    (table,) = yolov9.non_max_suppression(torch.from_numpy(rows), **options)
    (expected,) = yolov9.non_max_suppression(rows, labels=[known], classes=[1])
    assert np.array_equal(table.numpy(), expected)
    assert table[0].tolist() == [15.5, 15.5, 24.5, 24.5, 1, 1]


@pytest.mark.parametrize("seed", range(60))
def test_like_original_equals_torchvision(seed: int) -> None:
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("torchvision").ops
    kind = (cases.crowded, cases.tied, cases.degenerate, cases.grid, cases.with_nan)[seed % 5]
    rng = np.random.default_rng(seed)
    boxes, scores, ids = kind(rng, int(rng.choice([0, 1, 10, 100, 1000])))
    boxes -= np.float32(100 * (seed % 3 == 0))  # negative coordinates
    tensors = [torch.from_numpy(array) for array in (boxes, scores, ids)]
    iou = float(rng.choice([0, 0.1, 0.3, 0.45, 0.6, 1 / 3, 0.9]))
    ours = torchvision.nms(*tensors[:2], iou, like_original=True)
    assert torch.equal(ours, theirs.nms(*tensors[:2], iou))
    ours = torchvision.batched_nms(*tensors, iou, like_original=True)
    assert torch.equal(ours, theirs.batched_nms(*tensors, iou))


@pytest.mark.parametrize("seed", range(6))
def test_like_original_equals_torchvision_above_1000_boxes(seed: int) -> None:
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("torchvision").ops
    boxes, scores, ids = cases.crowded(np.random.default_rng(seed), 1500)  # its order of equal scores is unspecified
    tensors = [torch.from_numpy(array) for array in (boxes, scores, ids)]
    ours = torchvision.batched_nms(*tensors, 0.6, like_original=True)
    expected = theirs.batched_nms(*tensors, 0.6)
    assert sorted(ours.tolist()) == sorted(expected.tolist())
    assert torch.equal(tensors[1][ours], tensors[1][expected])
