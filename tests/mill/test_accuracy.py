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

from boxmill.api import resolve_model
from boxmill.cli import run_command
from boxmill.images import decode, geometry, preprocess
from boxmill.post import Postprocessor
from boxmill.runtimes.openvino import OpenVinoOptions, OpenVinoRuntime, has_native_bf16
from boxmill.settings import ModelSettings

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
        (0.356, 0.552, 0.359, 0.167, 0.374, 0.511, 0.302, 0.478, 0.528, 0.278, 0.571, 0.652),
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


def coco_numbers(assets: Path, model: str, rows: list[dict[str, object]]) -> list[float]:
    """COCO's twelve numbers."""
    truth = ground_truth(assets, model)
    evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def row(image_id: int, class_id: int, score: float, box: list[float]) -> dict[str, object]:
    x1, y1, x2, y2 = box
    return {"image_id": image_id, "category_id": class_id, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}


def run_mill(assets: Path, tmp_path: Path, model: str, *flags: str) -> list[dict[str, object]]:
    """What `boxmill run` writes, as COCO results."""
    command = ["run", str(assets / "photos/train128"), "--weights", str(assets / f"models/{model}.onnx")]
    command += ["--card", str(CARDS / f"{model}.yaml"), "--project", str(tmp_path), "--quiet"]
    command += ["--conf", "0.001", "--iou", KNOWN[model].iou, "--no-rect", *flags]
    assert run_command(command) == 0
    rows = []
    for image_id, image in ground_truth(assets, model).imgs.items():
        document = json.loads((tmp_path / "train128/json" / f"{Path(image['file_name']).name}.json").read_bytes())
        assert (document["width"], document["height"]) == (image["width"], image["height"])
        rows += [row(image_id, one["class_id"], one["confidence"], one["bbox"]) for one in document["objects"]]
    return rows


def run_unclipped(assets: Path, model: str) -> dict[str, list[dict[str, object]]]:
    """The same rooms by hand, by mode; boxes go back to the image without being clipped to it."""
    flags = ModelSettings(assets / f"models/{model}.onnx", CARDS / f"{model}.yaml", rect=False)
    spec = resolve_model(flags).spec
    runtime = OpenVinoRuntime(flags.weights, spec, OpenVinoOptions("fp32"))
    modes = {
        mode: Postprocessor(spec.head, 0.001, float(KNOWN[model].iou), multi_label=mode == "multi_label")
        for mode in ("multi_label", "best_class")
    }
    rows: dict[str, list[dict[str, object]]] = {mode: [] for mode in modes}
    for image_id, image in ground_truth(assets, model).imgs.items():
        frame = decode((assets / "photos/train128" / Path(image["file_name"]).name).read_bytes(), "")
        lies = geometry(frame.pixels.shape[:2], spec.input)
        raw = runtime.infer(preprocess(frame, lies, spec.input)[None])
        for mode, postprocessor in modes.items():
            (found,) = postprocessor(raw, lies.network)
            boxes = (found.boxes - np.tile(lies.pad, 2)) / np.tile(lies.scale, 2)
            triples = zip(found.classes.tolist(), found.scores.tolist(), boxes.tolist(), strict=True)
            rows[mode] += [row(image_id, *triple) for triple in triples]
    return rows


@pytest.mark.parametrize("model", KNOWN)
def test_known_answers_in_float32(assets: Path, tmp_path: Path, model: str) -> None:
    """The known answers were computed without clipping boxes to the image; a run clips, and comes out a little better.

    So: without clipping, every number within .001; and the run's boxes are those very boxes, clipped, which moves no
    number by more than .0045 (yolov5n's recall of large objects by .004, everything else by less than .0035).
    """
    for mode, unclipped in run_unclipped(assets, model).items():
        known = getattr(KNOWN[model], mode)
        np.testing.assert_allclose(coco_numbers(assets, model, unclipped), known, atol=0.001)
        flags = ["--multi-label"] if mode == "multi_label" else []
        clipped = run_mill(assets, tmp_path / mode, model, "--precision", "fp32", *flags)
        sizes = {i: (image["width"], image["height"]) for i, image in ground_truth(assets, model).imgs.items()}
        assert_same_but_clipped(clipped, unclipped, sizes)
        np.testing.assert_allclose(coco_numbers(assets, model, clipped), known, atol=0.0045)


def assert_same_but_clipped(
    clipped: list[dict[str, object]], unclipped: list[dict[str, object]], sizes: dict[int, tuple[int, int]]
) -> None:
    assert [(one["image_id"], one["category_id"]) for one in clipped] == [
        (one["image_id"], one["category_id"]) for one in unclipped
    ]
    limits = np.array([sizes[one["image_id"]] * 2 for one in clipped])
    expected = np.array([one["bbox"] for one in unclipped])
    expected[:, 2:] += expected[:, :2]
    expected = np.clip(expected, 0, limits)
    actual = np.array([one["bbox"] for one in clipped])
    actual[:, 2:] += actual[:, :2]
    np.testing.assert_allclose(actual, expected, atol=0.006)  # JSON has two decimals
    scores = [[one["score"] for one in rows] for rows in (clipped, unclipped)]
    np.testing.assert_allclose(*scores, atol=1e-6)


@pytest.mark.skipif(not has_native_bf16(), reason="this processor has no bfloat16 instructions")
@pytest.mark.parametrize("model", KNOWN)
def test_bf16_costs_little_accuracy(assets: Path, tmp_path: Path, model: str) -> None:
    ap = {
        precision: coco_numbers(
            assets, model, run_mill(assets, tmp_path / precision, model, "--precision", precision, "--multi-label")
        )[0]
        for precision in ("fp32", "bf16")
    }
    assert ap["bf16"] == pytest.approx(ap["fp32"], abs=0.004)
