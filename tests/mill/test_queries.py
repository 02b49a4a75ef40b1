"""DETR-style and end-to-end networks through their cards: a run's boxes are what plain numpy makes of the outputs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from networks import write_queries

from boxmill.cli import run_command

SIZE, NAMES = 64, ("人", "dog", "cat")
CONF = {"detr": 0.4, "end2end": 0.97}  # between the scores of each
CARD = """version: 1
task: detect
input: {size: [64, 64], layout: NCHW, color: RGB, scale: 0.00392156862745098, mean: [0, 0, 0], std: [1, 1, 1],
        resize: stretch}
head: %s
labels: [人, dog, cat]
"""
HEADS = {
    "detr": "{type: detr, boxes: normalized, activation: softmax, outputs: [logits, boxes]}",
    "end2end": "{type: end2end, boxes: pixels, outputs: [selected]}",
}
Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes (N, 4) as shares of the image, scores (N,), classes (N,)


def of_detr(logits: np.ndarray, boxes: np.ndarray) -> Found:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = (powers / powers.sum(axis=1, keepdims=True))[:, :-1]
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], 1), chances.max(axis=1), chances.argmax(axis=1)


def of_end2end(rows: np.ndarray) -> Found:
    return rows[:, :4] / SIZE, rows[:, 4], rows[:, 5].astype(int)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("head", HEADS)
def test_a_run_gives_what_plain_numpy_makes_of_the_outputs(tmp_path: Path, head: str, runtime: str) -> None:
    weights = write_queries(tmp_path / f"{head}.onnx", head, classes=2 if head == "end2end" else 3)
    (tmp_path / f"{head}.yaml").write_text(CARD % HEADS[head], encoding="utf-8")
    photos, rng = tmp_path / "photos", np.random.default_rng(3)
    photos.mkdir()
    for number in range(6):  # of the network's size, so that resizing does nothing
        cv2.imwrite(str(photos / f"{number}.png"), rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
    command = ["run", str(photos), "-w", str(weights), "--runtime", runtime, "--precision", "fp32", "--quiet"]
    assert run_command([*command, "--project", str(tmp_path / "runs"), "--conf", str(CONF[head])]) == 0
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    seen = 0
    for number in range(6):
        pixels = cv2.cvtColor(cv2.imread(str(photos / f"{number}.png")), cv2.COLOR_BGR2RGB)
        raw = session.run(None, {"images": pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255})
        boxes, scores, classes = {"detr": of_detr, "end2end": of_end2end}[head](*(array[0] for array in raw))
        order = [i for i in np.argsort(-scores, kind="stable") if scores[i] > CONF[head]]
        document = json.loads((tmp_path / f"runs/photos/json/{number}.png.json").read_bytes())
        objects = document["objects"]
        assert [one["label"] for one in objects] == [NAMES[classes[i]] for i in order]
        np.testing.assert_allclose([one["confidence"] for one in objects], scores[order], atol=1e-4)
        expected = np.clip(boxes[order] * SIZE, 0, SIZE)
        np.testing.assert_allclose([one["bbox"] for one in objects], expected, atol=0.01)
        seen += len(objects)
    assert 10 < seen < 6 * 16
