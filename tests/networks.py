"""A tiny detector made on the spot: convolutions only, random weights, any height and width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)


def _level(stride: int, rows: int, rng: np.random.Generator) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """(B, 3, h, w) -> (B, rows, cells) by one convolution whose kernel is its stride."""
    weight = rng.normal(0, 1 / stride, (rows, 3, stride, stride)).astype(np.float32)
    constants = [
        numpy_helper.from_array(weight, f"weight{stride}"),
        numpy_helper.from_array(np.array([0, rows, -1], np.int64), f"shape{stride}"),
    ]
    nodes = [
        helper.make_node("Conv", ["images", f"weight{stride}"], [f"conv{stride}"], strides=[stride, stride]),
        helper.make_node("Reshape", [f"conv{stride}", f"shape{stride}"], [f"level{stride}"]),
    ]
    return nodes, constants


def write_detector(
    path: Path, names: tuple[str, ...], *, dynamic: bool = True, size: int = 96, last: str = "Sigmoid"
) -> Path:
    """An ONNX file with a `yolo` head and the metadata that ultralytics' exporter writes.

    Args:
        path: where to write it.
        names: of its classes.
        dynamic: symbolic batch, height and width; otherwise one image of `size`.
        size: side of the square it says it was exported for, in pixels.
        last: the operator that makes its scores; Identity leaves logits.
    """
    rng = np.random.default_rng(7)
    rows = 4 + len(names)
    nodes, constants = [], []
    for stride in STRIDES:
        more_nodes, more_constants = _level(stride, rows, rng)
        nodes += more_nodes
        constants += more_constants
    constants += [
        numpy_helper.from_array(np.array([4, len(names)], np.int64), "parts"),
        numpy_helper.from_array(np.array(40, np.float32), "pixels"),
    ]
    nodes += [
        helper.make_node("Concat", [f"level{stride}" for stride in STRIDES], ["all"], axis=2),
        helper.make_node("Split", ["all", "parts"], ["raw_boxes", "logits"], axis=1),
        helper.make_node("Abs", ["raw_boxes"], ["sizes"]),
        helper.make_node("Mul", ["sizes", "pixels"], ["boxes"]),
        helper.make_node(last, ["logits"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    cells = sum((size // stride) ** 2 for stride in STRIDES)
    image = ["batch", 3, "height", "width"] if dynamic else [1, 3, size, size]
    head = ["batch", rows, "anchors"] if dynamic else [1, rows, cells]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, head)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = {
        "description": "Ultralytics-like detector",
        "author": "Ultralytics",
        "stride": "32",
        "task": "detect",
        "batch": "1",
        "imgsz": str([size, size]),
        "names": str(dict(enumerate(names))),
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_triple(path: Path, *, size: int = 64) -> Path:
    """A network that selects its boxes itself, as torchvision exports: no batch in its outputs, labels in int64.

    Outputs `labels` (K,) int64, `scores` (K,) float16 and `boxes` (K, 4) float32 for one image of `size`, in K cells.
    """
    rng = np.random.default_rng(5)
    constants = [
        numpy_helper.from_array(rng.normal(0, 0.1, (8, 3, 16, 16)).astype(np.float32), "weight"),
        numpy_helper.from_array(np.array([8, -1], np.int64), "shape"),
        numpy_helper.from_array(np.array([4, 1, 3], np.int64), "parts"),
        numpy_helper.from_array(np.array([2, 2], np.int64), "halves"),
        numpy_helper.from_array(np.array(20, np.float32), "pixels"),
        numpy_helper.from_array(np.array([-1], np.int64), "flat"),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["conv"], strides=[16, 16]),
        helper.make_node("Reshape", ["conv", "shape"], ["rows"]),
        helper.make_node("Split", ["rows", "parts"], ["sides", "logit", "kinds"], axis=0),
        helper.make_node("Abs", ["sides"], ["positive"]),
        helper.make_node("Mul", ["positive", "pixels"], ["scaled"]),
        helper.make_node("Split", ["scaled", "halves"], ["corner", "size"], axis=0),
        helper.make_node("Add", ["corner", "size"], ["other"]),
        helper.make_node("Concat", ["corner", "other"], ["corners"], axis=0),
        helper.make_node("Transpose", ["corners"], ["boxes"], perm=[1, 0]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
        helper.make_node("Reshape", ["score", "flat"], ["all_scores"]),
        helper.make_node("Cast", ["all_scores"], ["scores"], to=TensorProto.FLOAT16),
        helper.make_node("ArgMax", ["kinds"], ["labels"], axis=0, keepdims=0),
    ]
    cells = (size // 16) ** 2
    outputs = [
        helper.make_tensor_value_info("labels", TensorProto.INT64, [cells]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT16, [cells]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [cells, 4]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])
    graph = helper.make_graph(nodes, "selected", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_queries(path: Path, head: str, *, classes: int = 3, size: int = 64) -> Path:
    """A network with a box for each of its cells and no anchors, any batch of `size` x `size` images.

    `detr`: `logits` (B, Q, classes + 1), the last for "no object", and `boxes` (B, Q, 4) as shares of the image.
    `end2end`: `selected` (B, K, 6), x1, y1, x2, y2 in pixels, score, class.
    """
    rng = np.random.default_rng(11)
    rows = 4 + classes + 1
    constants = [
        numpy_helper.from_array(rng.normal(0, 0.2, (rows, 3, 16, 16)).astype(np.float32), "weight"),
        numpy_helper.from_array(np.array([0, rows, -1], np.int64), "shape"),
        numpy_helper.from_array(np.array([4, classes + 1], np.int64), "parts"),
        numpy_helper.from_array(np.array([2, 2], np.int64), "halves"),
        numpy_helper.from_array(np.array(size / 2, np.float32), "half"),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["conv"], strides=[16, 16]),
        helper.make_node("Reshape", ["conv", "shape"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["queries"], perm=[0, 2, 1]),
        helper.make_node("Split", ["queries", "parts"], ["places", "logits"], axis=2),
        helper.make_node("Sigmoid", ["places"], ["boxes"]),
    ]
    if head == "end2end":
        nodes += [
            helper.make_node("Mul", ["boxes", "half"], ["scaled"]),
            helper.make_node("Split", ["scaled", "halves"], ["corner", "extent"], axis=2),
            helper.make_node("Add", ["corner", "extent"], ["other"]),
            helper.make_node("Sigmoid", ["logits"], ["chances"]),
            helper.make_node("ReduceMax", ["chances"], ["score"], axes=[2]),
            helper.make_node("ArgMax", ["logits"], ["best"], axis=2),
            helper.make_node("Cast", ["best"], ["label"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["corner", "other", "score", "label"], ["selected"], axis=2),
        ]
    cells = (size // 16) ** 2
    shapes = {"logits": classes + 1, "boxes": 4} if head == "detr" else {"selected": 6}
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", cells, width])
        for name, width in shapes.items()
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])
    graph = helper.make_graph(nodes, head, [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
