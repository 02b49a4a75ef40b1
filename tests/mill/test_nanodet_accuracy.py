"""Known answers of a real NanoDet on real photographs, through the rooms as a run joins them, and through a run.

The twelve numbers are the COCO API's on 128 photographs in float32; they are regression values, not COCO AP. Confidence
above .001, NMS at an IoU of .6 as in NanoDet's own evaluation, boxes clipped to the image.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from boxmill.cli import run_command
from boxmill.images import decode, geometry, preprocess
from boxmill.post import Postprocessor, reference
from boxmill.runtimes.openvino import OpenVinoOptions, OpenVinoRuntime
from boxmill.types import Geometry, HeadSpec, InputSpec, ModelSpec

# Three class maps, then three distribution maps: the network's names for its outputs mislead. Classes are sigmoided.
OUTPUTS = ("cls_score0", "bbox_pred0", "cls_score1", "bbox_pred1", "cls_score2", "bbox_pred2")
SPEC = ModelSpec(
    InputSpec(
        size=(320, 320),
        color="BGR",
        scale=1.0,
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        resize="stretch",
    ),
    HeadSpec("nanodet", outputs=OUTPUTS, strides=(8, 16, 32), bins=8),
    tuple(str(i) for i in range(80)),
)
MULTI_LABEL = (0.293, 0.447, 0.309, 0.075, 0.245, 0.471, 0.262, 0.414, 0.440, 0.106, 0.438, 0.620)
BEST_CLASS = (0.280, 0.432, 0.295, 0.072, 0.245, 0.454, 0.241, 0.375, 0.395, 0.098, 0.399, 0.554)
FROM_CORNERS = 0.144  # AP, best class, were the distances measured from the cells' corners as NanoDet-Plus does

Raw = tuple[int, Geometry, list[np.ndarray]]


@pytest.fixture(scope="module")
def truth(assets: Path) -> COCO:
    return COCO(assets / "photos/train128.coco.json")


@pytest.fixture(scope="module")
def raws(assets: Path, truth: COCO) -> list[Raw]:
    """Image id, geometry and the network's outputs of every photograph."""
    runtime = OpenVinoRuntime(assets / "models/nanodet_320.onnx", SPEC, OpenVinoOptions("fp32"))
    found: list[Raw] = []
    for image_id, image in truth.imgs.items():
        frame = decode((assets / "photos/train128" / Path(image["file_name"]).name).read_bytes(), "")
        lies = geometry(frame.pixels.shape[:2], SPEC.input)
        outputs = runtime.infer(preprocess(frame, lies, SPEC.input)[None])
        found.append((image_id, lies, [output.copy() for output in outputs]))
    runtime.close()
    return found


def coco_numbers(truth: COCO, raws: list[Raw], head: HeadSpec, *, multi_label: bool) -> list[float]:
    """COCO's twelve numbers."""
    post = Postprocessor(head, 0.001, 0.6, multi_label=multi_label)
    rows = []  # image, x, y, width, height, score, class
    for image_id, lies, raw in raws:
        (found,) = post(raw, lies.network, [lies])
        boxes = found.boxes.copy()
        boxes[:, 2:] -= boxes[:, :2]
        rows.append(np.column_stack([np.full(len(found), image_id), boxes, found.scores, found.classes]))
    return evaluated(truth, np.concatenate(rows))


def evaluated(truth: COCO, rows: np.ndarray) -> list[float]:
    """COCO's twelve numbers of (N, 7) image, x, y, width, height, score, class."""
    evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def test_classes_are_sigmoided_already(raws: list[Raw]) -> None:
    scores = np.concatenate([level for _, _, raw in raws for level in raw[:3]])
    assert 0 < scores.min() < 0.001
    assert 0.8 < scores.max() < 1


@pytest.mark.parametrize(("multi_label", "known"), [(True, MULTI_LABEL), (False, BEST_CLASS)])
def test_known_answers(truth: COCO, raws: list[Raw], multi_label: bool, known: tuple[float, ...]) -> None:
    numbers = coco_numbers(truth, raws, SPEC.head, multi_label=multi_label)
    np.testing.assert_allclose(numbers, known, atol=0.003)


def test_a_run_with_its_card_gives_them_too(assets: Path, truth: COCO, tmp_path: Path) -> None:
    card = Path(__file__).parent.parent / "cards/nanodet_320.yaml"
    command = ["run", str(assets / "photos/train128"), "--weights", str(assets / "models/nanodet_320.onnx")]
    command += ["--card", str(card), "--project", str(tmp_path), "--quiet", "--precision", "fp32"]
    assert run_command([*command, "--conf", "0.001", "--iou", "0.6", "--multi-label"]) == 0
    rows = []
    for image_id, image in truth.imgs.items():
        path = tmp_path / "train128/json" / f"{Path(image['file_name']).name}.json"
        for one in json.loads(path.read_bytes())["objects"]:
            x1, y1, x2, y2 = one["bbox"]
            rows.append([image_id, x1, y1, x2 - x1, y2 - y1, one["confidence"], one["class_id"]])
    np.testing.assert_allclose(evaluated(truth, np.array(rows)), MULTI_LABEL, atol=0.003)


def test_distances_are_measured_from_the_centres(truth: COCO, raws: list[Raw]) -> None:
    numbers = coco_numbers(truth, raws, replace(SPEC.head, origin="corner"), multi_label=False)
    assert numbers[0] == pytest.approx(FROM_CORNERS, abs=0.003)


def test_real_heads_equal_reference(raws: list[Raw]) -> None:
    post, options = Postprocessor(SPEC.head, 0.02, 0.6), reference.Options(0.02, 0.6)
    for _, lies, raw in raws[::8]:
        (got,) = post(raw, lies.network, [lies])
        expected = reference.postprocess(raw, SPEC.head, lies.network, options, lies)
        assert len(got) > 0
        for name in ("boxes", "scores", "classes", "indices"):
            assert getattr(got, name).tobytes() == getattr(expected, name).tobytes(), name
