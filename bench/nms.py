"""NMS from Python: boxmill against the published packages, one thread each, interleaved in one process.

    PYTHONPATH=src .venv-peers/bin/python bench/nms.py               # 80 classes, crowded
    PYTHONPATH=src .venv-peers/bin/python bench/nms.py --full --write   # every set, and refresh RESULTS.md

Every side starts from the same float32 boxes and scores and int64 classes; what it needs beyond that (tensors, float64
scores, x y w h boxes, class offsets where its function knows no classes) is timed with it. Times are medians in µs.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from statistics import median

import candidates
import cv2
import lsnms
import numpy as np
import onnx
import onnxruntime
import powerboxes
import results
import torch
import torchvision

from boxmill import _native
from boxmill.post import nms, reference

IOU = 0.45
Side = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
OURS = "boxmill"
KINDS = {"crowded": candidates.crowded, "sparse": candidates.sparse}
DEFAULT_SIZES, FULL_SIZES = [80, 300, 1000, 1200, 5000], [80, 300, 1000, 1200, 5000, 20000, 30000]


def boxmill_side(boxes, scores, classes):
    return nms(boxes, scores, classes, iou=IOU)


def torchvision_side(boxes, scores, classes):
    tensors = (torch.from_numpy(array) for array in (boxes, scores, classes))
    return torchvision.ops.batched_nms(*tensors, IOU).numpy()


def opencv_side(boxes, scores, classes):
    sizes = boxes.copy()
    sizes[:, 2:] -= sizes[:, :2]
    return cv2.dnn.NMSBoxesBatched(sizes, scores, classes.astype(np.int32), 0.0, IOU)


def offset_by_class(boxes, classes):
    """The usual way to teach classes to a function that knows none: move each class to a place of its own."""
    return boxes + (classes.astype(np.float32) * (boxes.max() + 1))[:, None]


def powerboxes_side(boxes, scores, classes):
    return powerboxes.nms(offset_by_class(boxes, classes), scores.astype(np.float64), IOU, 0.0)


def powerboxes_rtree_side(boxes, scores, classes):
    return powerboxes.rtree_nms(offset_by_class(boxes, classes), scores.astype(np.float64), IOU, 0.0)


def lsnms_side(boxes, scores, classes):
    return lsnms.nms(boxes, scores, iou_threshold=IOU, class_ids=classes)


def onnxruntime_session() -> onnxruntime.InferenceSession:
    """A model of nothing but the NonMaxSuppression operator."""
    helper, kind = onnx.helper, onnx.TensorProto
    constants = [
        helper.make_tensor("most", kind.INT64, [1], [2**31 - 1]),
        helper.make_tensor("iou", kind.FLOAT, [1], [IOU]),
        helper.make_tensor("conf", kind.FLOAT, [1], [0.0]),
    ]
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "conf"], ["kept"])],
        "nms",
        [
            helper.make_tensor_value_info("boxes", kind.FLOAT, [1, "n", 4]),
            helper.make_tensor_value_info("scores", kind.FLOAT, [1, "classes", "n"]),
        ],
        [helper.make_tensor_value_info("kept", kind.INT64, ["k", 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnxruntime_offsets(session: onnxruntime.InferenceSession) -> Side:
    def side(boxes, scores, classes):
        feed = {"boxes": offset_by_class(boxes, classes)[None], "scores": scores[None, None]}
        return session.run(None, feed)[0][:, 2]

    return side


def onnxruntime_rows(session: onnxruntime.InferenceSession) -> Side:
    """One row of scores for each class, as the operator is meant; the zeros are below its score threshold."""

    def side(boxes, scores, classes):
        rows = np.zeros((1, int(classes.max()) + 1, len(scores)), np.float32)
        rows[0, classes, np.arange(len(scores))] = scores
        return session.run(None, {"boxes": boxes[None], "scores": rows})[0][:, 2]

    return side


def sides() -> dict[str, Side]:
    session = onnxruntime_session()
    return {
        OURS: boxmill_side,
        "torchvision": torchvision_side,
        "OpenCV": opencv_side,
        "powerboxes": powerboxes_side,
        "powerboxes R-tree": powerboxes_rtree_side,
        "lsnms": lsnms_side,
        "ONNX Runtime, offsets": onnxruntime_offsets(session),
        "ONNX Runtime, class rows": onnxruntime_rows(session),
    }


def measure(contestants: dict[str, Side], inputs: tuple, budget: float) -> dict[str, float]:
    """Median µs of each side. A round gives every side a few calls in a row; rounds go on until the time is spent."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    calls = {}
    for name, side in contestants.items():
        calls[name] = 7 if timed(side, inputs) < 2e-3 else 1
    gc.disable()
    started, rounds = time.perf_counter(), 0
    while rounds < 3 or (time.perf_counter() - started < budget and rounds < 60):
        rounds += 1
        for name, side in contestants.items():
            times[name] += [timed(side, inputs) for _ in range(calls[name])]
    gc.enable()
    return {name: 1e6 * median(values) for name, values in times.items()}


def timed(side: Side, inputs: tuple) -> float:
    start = time.perf_counter()
    side(*inputs)
    return time.perf_counter() - start


def differences(contestants: dict[str, Side], inputs: tuple) -> str:
    """Which sides keep another set than the reference, and by how many boxes."""
    expected = set(reference.nms(*inputs, iou=IOU).kept.tolist())
    wrong = {}
    for name, side in contestants.items():
        kept = {int(i) for i in np.asarray(side(*inputs)).ravel()}
        if kept != expected:
            wrong[name] = len(kept ^ expected)
    if OURS in wrong:
        raise SystemExit(f"boxmill differs from the reference by {wrong[OURS]} boxes")
    return ", ".join(f"{name} {count}" for name, count in wrong.items()) or "none"


def table(arguments: argparse.Namespace) -> str:
    contestants = sides()
    lines = [
        "| set, N, classes | " + " | ".join(contestants) + " | best peer / boxmill | boxes unlike the reference |",
        "|---" * (len(contestants) + 3) + "|",
    ]
    for kind in arguments.kind:
        for classes in arguments.classes:
            for size in arguments.sizes:
                inputs = KINDS[kind](size, classes, arguments.seed)
                unlike = differences(contestants, inputs)
                micros = measure(contestants, inputs, arguments.budget)
                best = min((name for name in micros if name != OURS), key=micros.__getitem__)
                cells = " | ".join(f"{value:.1f}" if value < 100 else f"{value:.0f}" for value in micros.values())
                ratio = f"**{micros[best] / micros[OURS]:.1f}** ({best})"
                lines.append(f"| {kind} {size}, {classes} | {cells} | {ratio} | {unlike} |")
                print(lines[-1], flush=True)
    return "\n".join(lines)


def growth(seeds: int = 8, rounds: int = 40) -> str:
    """How much longer six times the crowded boxes take: boxmill alone, sizes in turn, a fresh input at each call."""
    lines = ["| crowded, classes | 5000 | 30000 | times |", "|---|---|---|---|"]
    for classes in (80, 1):
        inputs = {n: [candidates.crowded(n, classes, seed) for seed in range(seeds)] for n in (5000, 30000)}
        times: dict[int, list[float]] = {n: [] for n in inputs}
        for turn in range(rounds):
            for n, sets in inputs.items():
                times[n].append(timed(boxmill_side, sets[turn % seeds]))
        small, large = (1e6 * median(values) for values in times.values())
        lines.append(f"| {classes} | {small:.0f} | {large:.0f} | {large / small:.1f} |")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--classes", type=int, nargs="+")
    parser.add_argument("--kind", choices=KINDS, nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each row, about")
    parser.add_argument("--full", action="store_true", help="every size, 1 and 80 classes, crowded and sparse")
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    arguments.sizes = arguments.sizes or (FULL_SIZES if arguments.full else DEFAULT_SIZES)
    arguments.classes = arguments.classes or ([80, 1] if arguments.full else [80])
    arguments.kind = arguments.kind or (list(KINDS) if arguments.full else ["crowded"])
    return arguments


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    packages = ("numpy", "torch", "torchvision", "opencv-python-headless", "powerboxes", "lsnms", "onnxruntime")
    lines = table(arguments)
    body = (
        f"## NMS, µs a call from Python, IoU {IOU}, one thread\n\n{lines}\n\n"
        f"Growth, boxmill alone, another input at each call:\n\n{growth()}\n\n"
        f"{results.environment(packages)}\n- boxmill's instruction set: {_native.isa()}; seed {arguments.seed}"
    )
    print(body)
    if arguments.write:
        results.write_section("nms", body)


if __name__ == "__main__":
    main()
