"""Known answers on real photographs: average precision of real models, through the command line as users run it.

The twelve numbers are the COCO API's on 128 photographs (the assets' README); they are regression values, not COCO AP.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from boxmill.cli import run_command
from boxmill.runtimes.openvino import has_native_bf16

CARDS = Path(__file__).parent.parent / "cards"


@dataclass(frozen=True)
class Known:
    iou: str
    multi_label: tuple[float, ...]
    best_class: tuple[float, ...]


KNOWN = {
    "yolox_nano_416": Known(
        ".65",
        (0.338, 0.522, 0.336, 0.148, 0.283, 0.530, 0.291, 0.467, 0.511, 0.195, 0.495, 0.687),
        (0.334, 0.515, 0.330, 0.123, 0.285, 0.526, 0.278, 0.446, 0.487, 0.161, 0.485, 0.661),
    ),
    "yolov9t_relu_320_3cls": Known(
        ".65",
        (0.353, 0.517, 0.357, 0.121, 0.342, 0.687, 0.204, 0.409, 0.461, 0.200, 0.510, 0.782),
        (0.352, 0.514, 0.356, 0.119, 0.342, 0.687, 0.204, 0.407, 0.459, 0.193, 0.509, 0.782),
    ),
    "yolov5n_640": Known(
        ".60",
        (0.356, 0.552, 0.359, 0.167, 0.374, 0.511, 0.302, 0.478, 0.528, 0.278, 0.566, 0.661),
        (0.352, 0.554, 0.349, 0.148, 0.392, 0.500, 0.293, 0.451, 0.494, 0.247, 0.546, 0.598),
    ),
}
# person, vehicle, animal from COCO's 80
THREE_CLASSES = {0: 0, **dict.fromkeys((1, 2, 3, 5, 7), 1), **dict.fromkeys(range(14, 24), 2)}


def ground_truth(assets: Path, model: str) -> COCO:
    data = json.loads((assets / "photos/train128.coco.json").read_bytes())
    if model.endswith("3cls"):
        data["annotations"] = [
            {**one, "category_id": THREE_CLASSES[one["category_id"]]}
            for one in data["annotations"]
            if one["category_id"] in THREE_CLASSES
        ]
        data["categories"] = [{"id": i, "name": name} for i, name in enumerate(("person", "vehicle", "animal"))]
    truth = COCO()
    truth.dataset = data
    truth.createIndex()
    return truth


def detections(run: Path, truth: COCO) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for image_id, image in truth.imgs.items():
        document = json.loads((run / "json" / f"{Path(image['file_name']).name}.json").read_bytes())
        assert (document["width"], document["height"]) == (image["width"], image["height"])
        for one in document["objects"]:
            x1, y1, x2, y2 = one["bbox"]
            box = [x1, y1, x2 - x1, y2 - y1]
            rows.append({"image_id": image_id, "category_id": one["class_id"], "bbox": box, "score": one["confidence"]})
    return rows


def evaluate(assets: Path, tmp_path: Path, model: str, *flags: str) -> list[float]:
    """COCO's twelve numbers of one run."""
    command = ["run", str(assets / "photos/train128"), "--weights", str(assets / f"models/{model}.onnx")]
    command += ["--card", str(CARDS / f"{model}.yaml"), "--project", str(tmp_path), "--quiet"]
    command += ["--conf", "0.001", "--iou", KNOWN[model].iou, "--no-rect", *flags]
    assert run_command(command) == 0
    truth = ground_truth(assets, model)
    evaluation = COCOeval(truth, truth.loadRes(detections(tmp_path / "train128", truth)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats]


@pytest.mark.parametrize("mode", ["multi_label", "best_class"])
@pytest.mark.parametrize("model", KNOWN)
def test_known_answers_in_float32(assets: Path, tmp_path: Path, model: str, mode: str) -> None:
    flags = ["--multi-label"] if mode == "multi_label" else []
    numbers = evaluate(assets, tmp_path, model, "--precision", "fp32", *flags)
    np.testing.assert_allclose(numbers, getattr(KNOWN[model], mode), atol=0.003 + 0.0005)


@pytest.mark.skipif(not has_native_bf16(), reason="this processor has no bfloat16 instructions")
@pytest.mark.parametrize("model", KNOWN)
def test_bf16_costs_little_accuracy(assets: Path, tmp_path: Path, model: str) -> None:
    numbers = evaluate(assets, tmp_path, model, "--precision", "bf16", "--multi-label")
    assert numbers[0] == pytest.approx(KNOWN[model].multi_label[0], abs=0.004)
