"""Raw heads on a device against the reference: every dtype, layout, option and hard input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from post import heads

from boxmill.errors import UsageError
from boxmill.post import reference
from boxmill.types import Detections, Geometry, HeadSpec

torch = pytest.importorskip("torch")

NETWORK = (64, 96)
GEOMETRIES = [
    Geometry((0.3, 0.7), (3, -4), (60, 60), NETWORK, (50, 70)),
    Geometry((1.0, 1.0), (0, 0), NETWORK, NETWORK, NETWORK),
]


def batch(kind: Any, head: HeadSpec, anchors: int = 40, classes: int = 3, images: int = 2) -> Any:
    rng = np.random.default_rng(7)
    raw = np.stack([heads.arranged(kind(rng, anchors, classes), head) for _ in range(images)])
    if head.boxes == "normalized":
        raw[(slice(None), slice(4)) if head.type == "yolo" else (..., slice(4))] /= 64
    return torch.from_numpy(raw)


def same(found: Detections, wanted: Detections) -> None:
    for name in ("boxes", "scores", "classes", "indices"):
        mine, other = getattr(found, name), getattr(wanted, name)
        assert mine.dtype == other.dtype, name
        assert mine.shape == other.shape, name
        assert mine.tobytes() == np.ascontiguousarray(other).tobytes(), name
    assert (found.cut, found.nan) == (wanted.cut, wanted.nan)


def check(device: str, head: HeadSpec, raw: Any, geometries: Any = None, **options: Any) -> None:
    from boxmill.post import gpu

    found = gpu.postprocess(head, raw.to(device), NETWORK, geometries, **options).to_detections()
    assert len(found) == len(raw)
    for i, image in enumerate(found):
        geometry = None if geometries is None else geometries[i]
        exact = raw[i].float().contiguous().numpy()
        same(image, reference.postprocess(exact, head, NETWORK, reference.Options(**options), geometry))


@pytest.mark.parametrize("kind", heads.KINDS)
@pytest.mark.parametrize("head_type", ["yolo", "yolov5"])
def test_hard_inputs(device: str, kind: Any, head_type: Any) -> None:
    head = HeadSpec(head_type)
    check(device, head, batch(kind, head), GEOMETRIES, conf=0.2)


@pytest.mark.parametrize("kind", [heads.signed, heads.extreme, heads.tied])
@pytest.mark.parametrize("head_type", ["yolo", "yolov5"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_logits(device: str, kind: Any, head_type: Any, multi_label: bool) -> None:
    head = HeadSpec(head_type, activation="sigmoid", boxes="normalized")
    check(device, head, batch(kind, head, images=1), multi_label=multi_label)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("head_type", ["yolo", "yolov5"])
def test_halves_convert_exactly(device: str, dtype: str, head_type: Any) -> None:
    head = HeadSpec(head_type)
    # a threshold that is no half: rounded to one it would let others pass
    check(device, head, batch(heads.uniform, head).to(getattr(torch, dtype)), GEOMETRIES, conf=0.3001)


OPTIONS: tuple[dict[str, Any], ...] = (
    {"multi_label": True},
    {"multi_label": True, "classes": (0, 2), "max_nms": 30, "max_det": 4},
    {"agnostic": True, "classes": (1,)},
    {"max_det": 5},
    {"max_det": 1, "max_nms": 1},
    {"max_nms": 20, "max_det": 20},
    {"iou": None, "max_det": 6},
    {"iou": 0.0},
    {"iou": 1.0, "conf": 0.0},
    {"conf": 1.0},
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(device: str, options: dict[str, Any]) -> None:
    head = HeadSpec("yolo")
    for kind in (heads.tied, heads.extreme):
        check(device, head, batch(kind, head, images=1), GEOMETRIES[:1], **options)


@pytest.mark.parametrize("options", [{}, {"max_det": 3, "max_nms": 9}, {"agnostic": True}], ids=str)
@pytest.mark.parametrize("method", ["soft", "soft-gaussian"])
@pytest.mark.parametrize("kind", [heads.uniform, heads.tied])
def test_soft(device: str, method: Any, options: dict[str, Any], kind: Any) -> None:
    head = HeadSpec("yolov5")
    raw = batch(kind, head, anchors=20, images=1)
    check(device, head, raw, GEOMETRIES[:1], nms=method, conf=0.3, iou=0.3, sigma=0.4, **options)


def test_many_classes(device: str) -> None:
    head = HeadSpec("yolo")
    raw = torch.zeros(1, 4 + 21841, 6)
    raw[0, :4] = torch.tensor([10.0, 10.0, 8.0, 8.0])[:, None]
    raw[0, 4 + torch.tensor([21840, 0, 21840, 300, 21840, 15]), torch.arange(6)] = 0.5
    from boxmill.post.gpu import launch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "COLUMNS", 4096)
        check(device, head, raw)


@pytest.mark.parametrize("anchors", [0, 1, 64, 65])
def test_few_anchors(device: str, anchors: int) -> None:
    head = HeadSpec("yolo")
    check(device, head, batch(heads.uniform, head, anchors), GEOMETRIES, conf=0.0)


def test_no_images(device: str) -> None:
    check(device, HeadSpec("yolo"), torch.zeros(0, 7, 20))


def test_views_are_read_where_they_lie(device: str) -> None:
    from boxmill.post import gpu

    head = HeadSpec("yolo")
    raw = batch(heads.tied, head)
    lying = raw.transpose(1, 2).contiguous().transpose(1, 2)
    wide = torch.full((2, 10, 90), float("nan"))
    wide[:, 1:8, 5:85:2] = raw
    wanted = gpu.postprocess(head, raw.to(device), NETWORK).packed
    for view in (lying.to(device), wide.to(device)[:, 1:8, 5:85:2]):
        assert torch.equal(gpu.postprocess(head, [view], NETWORK).packed, wanted)
        assert torch.equal(gpu.postprocess(head, view[1], NETWORK).packed, wanted[1:])


def test_sorting_by_torch_and_blocks_beyond_the_bits(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways through the limits that sizes decide: the same result."""
    from boxmill.post.gpu import launch

    head = HeadSpec("yolo")
    raw = batch(heads.tied, head, anchors=150, images=1)
    raw[:, 2:4] /= 4
    monkeypatch.setattr(launch, "SORTED_ABOVE", 10)
    monkeypatch.setattr(launch, "BITS_BYTES", 1)
    for max_det in (300, 90, 10):
        check(device, head, raw, conf=0.1, iou=0.2, max_det=max_det)


def test_classes_as_a_mask(device: str) -> None:
    from boxmill.post import gpu

    head = HeadSpec("yolo")
    raw = batch(heads.tied, head).to(device)
    wanted = gpu.postprocess(head, raw, NETWORK, classes=(0, 2)).packed
    mask = torch.tensor([True, False, True], device=device)
    assert torch.equal(gpu.postprocess(head, raw, NETWORK, classes=mask).packed, wanted)


def test_static_shapes_and_padding(device: str) -> None:
    from boxmill.post import gpu

    head = HeadSpec("yolo")
    found = gpu.postprocess(head, batch(heads.rare, head).to(device), NETWORK, max_det=50)
    assert found.boxes.shape == (2, 50, 4)
    assert [each.shape for each in (found.scores, found.classes, found.indices)] == [(2, 50)] * 3
    assert [each.shape for each in (found.count, found.nan, found.cut)] == [(2,)] * 3
    for i, count in enumerate(found.count.tolist()):
        assert count < 50
        assert not found.boxes[i, count:].any()
        assert not found.scores[i, count:].any()
    assert found.cut.isnan().all()


def test_nothing_waits_for_the_device(device: str) -> None:
    """No operation whose result's shape or value the host must know."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from boxmill.post import gpu

    class Refusing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert not any(name in str(func) for name in ("_local_scalar_dense", "nonzero", "unique", "masked_select"))
            assert "_to_copy" not in str(func)
            return func(*args, **(kwargs or {}))

    head = HeadSpec("yolo")
    raw = batch(heads.tied, head).to(device)
    geometry = gpu.places(GEOMETRIES, device)
    with Refusing():
        gpu.postprocess(head, raw, NETWORK, geometry, classes=(0, 2))
        gpu.postprocess(head, raw, NETWORK, geometry, nms="soft", max_det=2)


def test_inside_torch_compile(device: str) -> None:
    """One operator in one graph, whose shapes are known without running it."""
    from boxmill.post import gpu

    head = HeadSpec("yolo")

    def program(raw: Any, geometry: Any) -> Any:
        found = gpu.postprocess(head, raw * 2.0, NETWORK, geometry, max_det=5, classes=(0, 1))
        return found.boxes + 1, found.count

    raw, geometry = batch(heads.tied, head, anchors=12).to(device), gpu.places(GEOMETRIES, device)
    compiled = torch.compile(program, backend="eager" if device == "cpu" else "inductor", fullgraph=True)
    for mine, other in zip(compiled(raw, geometry), program(raw, geometry), strict=True):
        assert torch.equal(mine, other)


def test_refusals(device: str) -> None:
    from boxmill.post import gpu

    head, raw = HeadSpec("yolo"), torch.zeros(1, 6, 5, device=device)
    with pytest.raises(UsageError, match="heads of type yolo and yolov5 are read on a GPU, not yolox"):
        gpu.postprocess(HeadSpec("yolox"), raw, NETWORK)
    with pytest.raises(UsageError, match="must be a torch tensor on a GPU, got ndarray"):
        gpu.postprocess(head, np.zeros((1, 6, 5), np.float32), NETWORK)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="round it yourself"):
        gpu.postprocess(head, raw.double(), NETWORK)
    with pytest.raises(UsageError, match="at least 1 class row"):
        gpu.postprocess(head, raw[:, :4], NETWORK)
    with pytest.raises(UsageError, match="class id 2 does not exist"):
        gpu.postprocess(head, raw, NETWORK, classes=(2,))
    with pytest.raises(UsageError, match="expected one geometry for each of 1 images, got 2"):
        gpu.postprocess(head, raw, NETWORK, GEOMETRIES)
    with pytest.raises(UsageError, match="the geometry is for network size"):
        gpu.postprocess(head, raw, (32, 32), GEOMETRIES[:1])
    with pytest.raises(UsageError, match=r"float32 of shape \(1, 6\)"):
        gpu.postprocess(head, raw, NETWORK, torch.zeros(1, 4, device=device))
    with pytest.raises(UsageError, match="conf must be between"):
        gpu.postprocess(head, raw, NETWORK, conf=2)
    with pytest.raises(UsageError, match="bool or uint8 of shape"):
        gpu.postprocess(head, raw, NETWORK, classes=torch.zeros(3, device=device))
