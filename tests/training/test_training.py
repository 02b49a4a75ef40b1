"""The trainer of the demo's detector: what is asked of which cell, crops and their boxes, that a network learns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from boxmill.models import Card, read_onnx, resolve  # noqa: E402
from training import train  # noqa: E402
from training.data import Crops, collate, read_scenes  # noqa: E402
from training.export import exported  # noqa: E402
from training.losses import Truth, assign, generalised_iou, loss, paired_iou  # noqa: E402
from training.model import Detector, without_normalisation  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from several, and several wait for each other where tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def truth_of(boxes: list[list[float]], classes: list[int]) -> Truth:
    return Truth(torch.tensor([boxes]), torch.tensor([classes]), torch.ones(1, len(boxes), dtype=torch.bool))


def write_scene(folder: Path, pixels: np.ndarray, boxes: list[list[int]], kinds: list[int]) -> Path:
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), pixels)
    document = {
        "images": [{"id": 1, "file_name": "0.png"}],
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "bar"}],
        "annotations": [
            {"image_id": 1, "category_id": 1 + kind, "bbox": box, "iscrowd": 0}
            for box, kind in zip(boxes, kinds, strict=True)
        ],
    }
    (folder / "ground_truth.coco.json").write_text(json.dumps(document))
    return folder


def test_ious_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    torch.testing.assert_close(paired_iou(boxes, boxes[[0, 0, 0]]), torch.tensor([1, 1 / 3, 0]))
    # of boxes 10 apart: no overlap, and 100 of the 300 of their hull belong to neither
    torch.testing.assert_close(generalised_iou(boxes[:1], boxes[2:]), torch.tensor([-1 / 3]))


def test_cells_belong_to_the_box_around_them_that_they_fit_best() -> None:
    centres = torch.tensor([[4.0, 4], [12, 4], [20, 4], [28, 4]])
    strides = torch.full((4,), 8.0)
    truth = truth_of([[0, 0, 16, 8], [8, 0, 32, 8], [100, 100, 103, 103]], [0, 1, 1])
    boxes = torch.tensor([[[0.0, 0, 16, 8], [0, 0, 16, 8], [8, 0, 32, 8], [90, 90, 110, 110]]])
    scores = torch.full((1, 4, 2), 0.5)
    targets, owner, weight = assign(scores, boxes, centres, strides, truth)
    assert owner[0, :3].tolist() == [0, 0, 1]  # the second lies in both boxes, and overlaps the first by more
    assert owner[0, 3] == 2  # no cell lies in the third box, so its nearest is asked for it
    assert targets[0, 0, 0] == pytest.approx(1, abs=1e-3)
    assert targets[0, 2, 1] == pytest.approx(1, abs=1e-3)
    assert targets[0, :2, 1].tolist() == [0, 0]
    assert (weight > 0).all()


def test_assignment_is_that_of_a_loop_over_boxes() -> None:
    torch.manual_seed(0)
    side = torch.arange(0, 128, 8) + 4.0
    centres = torch.cartesian_prod(side, side)
    strides = torch.full((len(centres),), 8.0)
    corner, size = torch.rand(2, 12, 2) * 100, torch.rand(2, 12, 2) * 60 + 1
    truth = Truth(torch.cat([corner, corner + size], -1), torch.randint(5, (2, 12)), torch.rand(2, 12) < 0.8)
    middle, extent = centres + torch.randn(2, len(centres), 2) * 4, torch.rand(2, len(centres), 2) * 60 + 2
    boxes = torch.cat([middle - extent / 2, middle + extent / 2], -1)
    scores = torch.rand(2, len(centres), 5)
    found = assign(scores, boxes, centres, strides, truth)
    for image in range(2):
        expected = assigned_slowly(scores[image], boxes[image], centres, truth, image)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one[image], other)


def assigned_slowly(scores, boxes, centres, truth, image):  # type: ignore[no-untyped-def]
    """Targets, owners and weights of one picture's cells, one box after the other."""
    claims: dict[int, dict[int, tuple[float, float]]] = {}  # of each cell: IoU and fit with each box
    for number in range(truth.boxes.shape[1]):
        if not truth.valid[image, number]:
            continue
        box, kind = truth.boxes[image, number], truth.classes[image, number]
        held = [c for c in range(len(centres)) if bool((centres[c] > box[:2]).all() and (centres[c] < box[2:]).all())]
        held = held or [int((centres - (box[:2] + box[2:]) / 2).abs().sum(-1).argmin())]
        ious = {cell: float(paired_iou(box[None], boxes[cell][None])) for cell in held}
        fits = {cell: float(scores[cell, kind]) * ious[cell] ** 6 for cell in held}
        for cell in sorted(held, key=lambda cell: -fits[cell])[:10]:
            claims.setdefault(cell, {})[number] = (ious[cell], fits[cell])
    owned = {cell: max(boxes, key=lambda number: boxes[number][0]) for cell, boxes in claims.items()}
    targets, owner = torch.zeros_like(scores), torch.zeros(len(centres), dtype=torch.int64)
    weight = torch.zeros(len(centres))
    for cell, number in owned.items():
        mates = [claims[mate][number] for mate in owned if owned[mate] == number]
        best = max(iou for iou, _ in mates) / (max(fit for _, fit in mates) + 1e-9)
        targets[cell, truth.classes[image, number]] = claims[cell][number][1] * best
        owner[cell] = number
        weight[cell] = max(0.05, claims[cell][number][1] * best)
    return targets, owner, weight


def test_a_picture_without_objects_asks_for_no_cell() -> None:
    empty = Truth(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.bool))
    network = Detector(2)
    total, parts = loss(*network.raw(torch.rand(1, 3, 64, 64)), empty)
    assert parts["cells"] == 0
    assert torch.isfinite(total)


def test_a_crop_shows_its_boxes_where_they_are(tmp_path: Path) -> None:
    pixels = np.full((240, 320, 3), 40, np.uint8)
    pixels[60:100, 200:260] = 250
    folder = write_scene(tmp_path / "scenes", pixels, [[200, 60, 60, 40]], [1])
    pictures, names = read_scenes([folder])
    assert names == ["square", "bar"]
    crops = Crops(pictures, side=128, full=320, seed=0, count=60)
    seen = 0
    for index in range(60):
        image, boxes, classes = crops[index]
        assert image.shape == (3, 128, 128)
        for x1, y1, x2, y2 in boxes:
            seen += 1
            inside = image[:, round(y1 + 1) : round(y2 - 1), round(x1 + 1) : round(x2 - 1)].mean()
            assert inside > image.mean() + 20
        assert (classes == 1).all()
    assert seen > 30
    again, _, _ = crops[7]
    assert (again == crops[7][0]).all()


def test_it_learns_one_scene_and_its_export_says_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pixels = np.full((128, 128, 3), 60, np.uint8)
    pixels[20:60, 16:56] = (250, 40, 40)
    pixels[80:96, 40:120] = (40, 250, 40)
    folder = write_scene(tmp_path / "scenes", pixels, [[16, 20, 40, 40], [40, 80, 80, 16]], [0, 1])
    pictures, names = read_scenes([folder])
    crops = Crops(pictures, side=128, full=128, seed=0, count=4)
    network = Detector(len(names), width=32)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    images, truth = collate([crops[index] for index in range(4)])
    for _ in range(60):
        total, _ = loss(*network.raw(images.float() / 255), truth)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    logits, boxes, _, _ = network.raw(images.float() / 255)
    for image in range(4):
        for box, kind in zip(
            truth.boxes[image][truth.valid[image]], truth.classes[image][truth.valid[image]], strict=True
        ):
            best = logits[image, :, kind].argmax()
            assert paired_iou(box[None], boxes[image, best][None]) > 0.5


def test_a_training_begins_with_the_weights_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_scene(tmp_path / "scenes", np.full((96, 96, 3), 60, np.uint8), [[16, 20, 40, 40]], [0])

    def trained(name: str, *options: str) -> dict[str, torch.Tensor]:
        common = [
            "--steps",
            "1",
            "--batch",
            "2",
            "--side",
            "64",
            "--full",
            "96",
            "--loaders",
            "0",
            "--out",
            str(tmp_path / name),
        ]
        monkeypatch.setattr("sys.argv", ["train", str(folder), "--out", str(tmp_path / name), *common, *options])
        train.main()
        saved = torch.load(tmp_path / name, weights_only=True)
        assert saved["names"] == ["square", "bar"]
        return {key: value for key, value in saved["average"].items() if key.endswith("weight")}

    first = trained("first.pt", "--seed", "1")
    other = trained("other.pt", "--seed", "2", "--rate", "0")
    second = trained("second.pt", "--seed", "2", "--rate", "0", "--start", str(tmp_path / "first.pt"))
    assert all(torch.equal(second[key], first[key]) for key in first)
    assert not all(torch.equal(other[key], first[key]) for key in first)


def test_the_exported_file_needs_no_card(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Detector(3)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    path = tmp_path / "demo.onnx"
    path.write_bytes(exported({"names": ["a", "b", "c"], "average": network.state_dict()}))
    assert path.stat().st_size < 4_000_000
    found = resolve(path, Card(), read_onnx(path), None, None, None)
    assert (found.spec.head.type, found.spec.names, found.rect) == ("yolo", ("a", "b", "c"), True)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = torch.rand(2, 3, 96, 160)
    with torch.no_grad():
        expected = network.eval()(images).numpy()
        folded = without_normalisation(network)(images).numpy()
    np.testing.assert_allclose(folded, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, rtol=1e-4, atol=1e-3)
