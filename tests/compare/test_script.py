"""The script that boxmill is compared with finds what boxmill finds."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from checkpoints import write_checkpoint
from networks import write_detector, write_queries
from small_runs import png, write_photos

from boxmill.api import resolve_model
from boxmill.compare.judged import write_judged
from boxmill.compare.networks import loader
from boxmill.compare.order import Finished, Limits, Order
from boxmill.compare.script import main, work
from boxmill.compare.steps import detect, read_pixels, to_tensor
from boxmill.errors import UsageError
from boxmill.evaluate import open_run
from boxmill.images import geometry
from boxmill.images import reference_letterbox as letterbox
from boxmill.post import Postprocessor
from boxmill.runtimes.openvino import has_native_bf16
from boxmill.runtimes.torch import TorchOptions, TorchRuntime
from boxmill.settings import ModelSettings
from boxmill.types import Detections, Failure, HeadSpec, InputSpec, ModelSpec

LIMITS = Limits(conf=0.4, iou=0.45, max_det=20)
INPUTS = (
    InputSpec((64, 96)),
    InputSpec((96, 64), layout="NHWC", color="BGR", scale=1.0, resize="letterbox_topleft", pad=0, rounding="floor"),
    InputSpec((64, 64), resize="stretch", scale=1.0, mean=(10.0, 20.0, 30.0), std=(50.0, 60.0, 70.0)),
)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    photos = write_photos(tmp_path / "photos", 5, side=90)
    weights = write_detector(tmp_path / "tiny.onnx", ("cat", "狗"))
    return Order(
        network=os.fsencode(weights),
        spec=resolve_model(ModelSettings(weights)).spec,
        limits=LIMITS,
        runtime="onnxruntime",
        precision="fp32",
        reload=False,
        batch=1,
        images=[(f"sub/{path.name}", os.fsencode(path)) for path in sorted(photos.iterdir())],
        folder=os.fsencode(tmp_path / "json"),
        answer=os.fsencode(tmp_path / "answer.json"),
    )


def changed(order: Order, **fields: object) -> Order:
    return msgspec.structs.replace(order, **fields)


def documents(order: Order) -> dict[str, dict[str, object]]:
    return {key: json.loads(Path(os.fsdecode(order.folder), f"{key}.json").read_bytes()) for key, _ in order.images}


@pytest.mark.parametrize("spec", INPUTS, ids=lambda spec: spec.resize)
def test_its_letterbox_is_that_of_boxmill(spec: InputSpec) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (77, 131, 3), np.uint8)
    place = geometry((77, 131), spec)
    expected = letterbox(np.ascontiguousarray(pixels[:, :, ::-1]), place, spec)
    found = to_tensor(pixels, place, spec)
    assert found.dtype == np.float32
    # OpenCV's own resize differs from one processor to the next by a grey level
    np.testing.assert_allclose(found, expected, atol=1.001 * spec.scale / min(spec.std))


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (HeadSpec("yolo"), (1, 7, 300)),
        (HeadSpec("yolo", activation="sigmoid"), (1, 7, 300)),
        (HeadSpec("yolov5", boxes="normalized"), (1, 300, 8)),
        (HeadSpec("yolov5", activation="sigmoid"), (1, 300, 8)),
    ],
    ids=["yolo", "yolo-logits", "yolov5-shares", "yolov5-logits"],
)
def test_its_boxes_are_those_of_boxmill(head: HeadSpec, shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(5).random(shape, np.float32)
    boxes = raw[:, :4] if head.type == "yolo" else raw[:, :, :4]
    boxes *= 1 if head.boxes == "normalized" else 64
    if head.activation == "sigmoid":
        scores = raw[:, 4:] if head.type == "yolo" else raw[:, :, 4:]
        scores *= 8
    spec = ModelSpec(InputSpec((64, 64)), head, ("a", "b", "c"))
    place = geometry((50, 80), spec.input)
    (expected,) = Postprocessor(head, conf=0.6, iou=0.45, max_det=20)([raw], (64, 64), [place])
    found = detect([raw], spec, Limits(0.6, 0.45, 20), place)
    assert len(expected) == 20
    assert found[2].tolist() == expected.classes.tolist()
    np.testing.assert_allclose(found[1], expected.scores, rtol=1e-6)
    np.testing.assert_allclose(found[0], expected.boxes, atol=1e-4)


def test_other_heads_are_read_by_boxmill(tmp_path: Path, order: Order) -> None:
    weights = write_queries(tmp_path / "end2end.onnx", "end2end")
    spec = ModelSpec(InputSpec((64, 64)), HeadSpec("end2end"), ("a", "b", "c", "d"))
    other = changed(order, network=os.fsencode(weights), spec=spec, limits=Limits(0.4, None, 20), batch=2)
    assert work(other).objects > 0
    assert {row["class_id"] for one in documents(other).values() for row in one["objects"]} <= {0, 1, 2, 3}


def test_nothing_above_the_threshold_is_an_empty_result(order: Order) -> None:
    strict = changed(order, limits=Limits(1.0, 0.45, 20))
    assert work(strict).objects == 0
    assert documents(strict)["sub/000.png"]["objects"] == []


def test_its_json_has_the_articles_shape(order: Order) -> None:
    done = work(order)
    found = documents(order)
    assert done.objects == sum(len(one["objects"]) for one in found.values()) > 0
    assert done.failed == 0
    assert done.wall > 0
    assert done.cpu > 0
    first = found["sub/000.png"]
    assert (first["image"], first["width"], first["height"]) == ("sub/000.png", 90, 90)
    assert {one["label"] for one in first["objects"]} <= {"cat", "狗"}
    assert set(first["objects"][0]) == {"label", "class_id", "confidence", "bbox"}


@pytest.mark.parametrize(
    "fields",
    [{"reload": True}, {"batch": 2}, {"batch": 8}, {"runtime": "openvino"}, {"runtime": "openvino", "batch": 2}],
    ids=str,
)
def test_every_way_finds_the_same(order: Order, fields: dict[str, object]) -> None:
    work(order)
    expected = documents(order)
    other = changed(order, folder=order.folder + b"2", **fields)
    work(other)
    assert [_rounded(one) for one in documents(other).values()] == [_rounded(one) for one in expected.values()]


def _rounded(document: dict[str, object]) -> list[tuple[int, list[int]]]:
    return sorted((row["class_id"], [round(side) for side in row["bbox"]]) for row in document["objects"])


@pytest.mark.skipif(not has_native_bf16(), reason="this processor has no bfloat16 instructions")
def test_half_precision_changes_scores_a_little(order: Order) -> None:
    work(order)
    half = changed(order, folder=order.folder + b"2", runtime="openvino", precision="bf16")
    work(half)
    one, other = (
        [row["confidence"] for found in documents(each).values() for row in found["objects"]] for each in (order, half)
    )
    assert one != other
    assert abs(max(one) - max(other)) < 0.05


@pytest.fixture
def checkpoint_order(order: Order, tmp_path: Path) -> Order:
    weights = write_checkpoint(tmp_path / "tiny.pt")
    spec = resolve_model(ModelSettings(weights, imgsz=(96, 96)), "torch").spec
    limits = Limits(conf=0.1, iou=0.45, max_det=20)
    return changed(order, network=os.fsencode(weights), spec=spec, limits=limits, runtime="torch")


def test_through_pytorch_it_finds_what_boxmill_finds(checkpoint_order: Order) -> None:
    order = changed(checkpoint_order, batch=2)
    assert work(order).objects > 0
    runtime = TorchRuntime(Path(os.fsdecode(order.network)), order.spec, TorchOptions("fp32", "cpu"))
    post = Postprocessor(order.spec.head, conf=0.1, iou=0.45, max_det=20)
    for key, path in order.images:
        pixels = read_pixels(path)
        place = geometry(pixels.shape[:2], order.spec.input)
        raw = runtime.infer(to_tensor(pixels, place, order.spec.input)[None])
        rows = documents(order)[key]["objects"]
        (expected,) = post(raw, place.network, [place])
        assert [row["class_id"] for row in rows] == expected.classes.tolist()
        np.testing.assert_allclose([row["confidence"] for row in rows], expected.scores, atol=1e-4)
    runtime.close()


@pytest.mark.parametrize("fields", [{"reload": True}, {"batch": 8}], ids=str)
def test_every_way_through_pytorch_finds_the_same(checkpoint_order: Order, fields: dict[str, object]) -> None:
    work(checkpoint_order)
    other = changed(checkpoint_order, folder=checkpoint_order.folder + b"2", **fields)
    work(other)
    found, expected = documents(other).values(), documents(checkpoint_order).values()
    assert [_rounded(one) for one in found] == [_rounded(one) for one in expected]


def test_pytorch_in_half_precision_takes_and_gives_float32(checkpoint_order: Order) -> None:
    half = changed(checkpoint_order, precision="bf16")
    tensor = np.random.default_rng(0).random((2, 3, 96, 96), np.float32)
    (found,), (expected,) = loader(half)()(tensor), loader(checkpoint_order)()(tensor)
    assert found.dtype == expected.dtype == np.float32
    assert 0 < np.abs(found[:, 4:] - expected[:, 4:]).max() < 0.1


class Providers:
    """ONNX Runtime as on a machine with a GPU, or without one; what computes is the CPU's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
        self.asked: list[object] = []
        self.works = works
        self._session = onnxruntime.InferenceSession
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.session)
        monkeypatch.setattr(torch, "zeros", lambda count, device: None)  # where it would wake the GPU

    def session(self, path: str, providers: list[object]) -> onnxruntime.InferenceSession:
        self.asked.append(providers)
        session = self._session(path, providers=["CPUExecutionProvider"])
        if self.works:
            session.get_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        return session


def test_on_a_gpu_it_asks_for_the_cuda_provider_of_that_gpu(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    work(order)
    providers = Providers(monkeypatch, works=True)
    on_gpu = changed(order, device="cuda:1", folder=order.folder + b"2")
    work(on_gpu)
    assert providers.asked == [[("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"]]
    assert documents(on_gpu) == documents(order)


def test_a_cuda_provider_that_does_not_load_is_no_measurement(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    Providers(monkeypatch, works=False)
    with pytest.raises(UsageError, match=r"cannot use its CUDAExecutionProvider; it took .*CPUExecutionProvider"):
        work(changed(order, device="cuda:0"))


def test_a_bad_file_is_left_out_and_said(order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"empty.jpg": b"", "text.jpg": b"this is no image"}
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    more = [*((name, os.fsencode(tmp_path / name)) for name in bad), ("gone.jpg", os.fsencode(tmp_path / "gone.jpg"))]
    mixed = changed(order, images=[order.images[0], *more, order.images[1]], batch=4)
    assert work(mixed).failed == 3
    assert not Path(os.fsdecode(order.folder), "text.jpg.json").exists()
    assert "text.jpg: OpenCV cannot read it" in capsys.readouterr().err
    run = open_run(write_judged(mixed, tmp_path / "judged"))
    outcomes = list(run.outcomes(range(5)))
    assert [isinstance(one.result, Failure) for one in outcomes] == [False, True, True, True, False]


def test_its_files_are_judged_as_they_are(order: Order, tmp_path: Path) -> None:
    work(order)
    run = open_run(write_judged(order, tmp_path / "judged"))
    assert run.header.names == ("cat", "狗")
    assert run.header.keep_conf == LIMITS.conf
    assert run.keys == tuple(key for key, _ in order.images)
    outcome = next(iter(run.outcomes([0])))
    rows = documents(order)["sub/000.png"]["objects"]
    assert isinstance(outcome.result, Detections)
    assert outcome.size == (90, 90)
    assert outcome.result.classes.tolist() == [row["class_id"] for row in rows]
    np.testing.assert_allclose(outcome.result.boxes, [row["bbox"] for row in rows], rtol=1e-6)


def test_the_process_reads_its_order_and_writes_its_answer(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order.write(tmp_path / "order.json")
    monkeypatch.setattr("sys.argv", ["script", str(tmp_path / "order.json")])
    main()
    done = msgspec.json.decode((tmp_path / "answer.json").read_bytes(), type=Finished)
    assert done.objects == sum(len(one["objects"]) for one in documents(order).values())


def test_rotation_is_applied_and_any_path_can_be_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.png"
    with open(path, "wb") as file:
        file.write(png(1))
    pixels = read_pixels(path)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, cv2.imdecode(np.frombuffer(png(1), np.uint8), cv2.IMREAD_COLOR))


def test_the_order_survives_the_way_to_its_process(order: Order) -> None:
    strange = changed(order, spec=replace(order.spec, names=("\u72d7", "b")), images=[("k%FF.jpg", b"/x/\xff.jpg")])
    assert msgspec.json.decode(msgspec.json.encode(strange), type=Order) == strange
