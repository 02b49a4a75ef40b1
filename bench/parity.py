"""Is NMS exact? boxmill against its reference on random and adversarial cases, and both against two published NMS.

    PYTHONPATH=src .venv-peers/bin/python bench/parity.py --cases 200000 --write

The reference must agree bit for bit, on every case. torchvision (its kernel called once for each class) and the
NonMaxSuppression operator of ONNX Runtime must agree too, except where a cause can be named: then the reference with
that one cause changed must give exactly their answer. What a peer gives no meaning to is not put to it: NaN to both,
boxes with exchanged corners or infinite sides to ONNX Runtime; these cases are counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import results
import torch
import torchvision
from differences import DOUBLE, UNEXPLAINED, Case, Flips, kept

from boxmill.post import nms, reference

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/post"))
import cases  # the generators of the test-suite

DECIMALS = (0.3, 0.45, 0.5, 0.6, 0.65, 0.7)  # thresholds as people type them
SIZES = (0, 1, 1000, 1001)
LARGE = 30001
ALLOWED = 0.001  # share of cases that may have an explained difference
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def at_threshold(rng: np.random.Generator, n: int, iou: float) -> Arrays:
    """Pairs of boxes whose IoU is the threshold, or the next float32 above or below it."""
    width = rng.uniform(10, 200, n).astype(np.float32)
    wanted = np.float32(iou) + rng.integers(-1, 2, n).astype(np.float32) * np.spacing(np.float32(iou))
    boxes = np.zeros((n, 4), np.float32)
    boxes[:, 2], boxes[:, 3] = width, 1
    boxes[1::2, 2] = (boxes[: n - 1 : 2, 2][: len(boxes[1::2])] * wanted[1::2]).astype(np.float32)  # inside its partner
    return boxes, rng.random(n).astype(np.float32), np.arange(n) // 2


def chain(rng: np.random.Generator, n: int) -> Arrays:
    """A, B, C, … each over its neighbours only: whether C stays depends on whether B was taken away by A."""
    step = np.float32(rng.uniform(0.2, 0.6))
    left = np.arange(n, dtype=np.float32) * step
    boxes = np.stack([left, np.zeros(n, np.float32), left + 1, np.ones(n, np.float32)], 1).astype(np.float32)
    return boxes, rng.permutation(n).astype(np.float32) / max(n, 1), np.zeros(n, np.int64)


def make_case(seed: int) -> tuple[str, Arrays, float]:
    """Family, arrays and threshold of one case."""
    rng = np.random.default_rng(seed)
    draw = rng.random()
    iou = float(rng.choice(DECIMALS)) if rng.random() < 0.02 else float(np.float32(rng.uniform(0.05, 0.95)))
    n = int(np.exp(rng.uniform(0, np.log(120))))
    if draw < 0.002:
        n = int(rng.choice(SIZES))
    families = (*cases.KINDS, cases.spread, partial(at_threshold, iou=iou), chain)
    family = families[int(rng.integers(len(families)))]
    if seed % 10_000 == 9_999:
        n, family = LARGE, (cases.many_classes, cases.spread)[seed // 10_000 % 2]
    name = getattr(family, "__name__", "at_threshold")
    return name, family(rng, n), iou


def torchvision_kept(arrays: Arrays, iou: float) -> set[int]:
    boxes, scores, classes = arrays
    kept: set[int] = set()
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        found = torchvision.ops.nms(torch.from_numpy(boxes[rows]), torch.from_numpy(scores[rows]), iou)
        kept.update(rows[found.numpy()].tolist())
    return kept


def onnxruntime_session() -> onnxruntime.InferenceSession:
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["kept"])],
        "nms",
        [
            helper.make_tensor_value_info("boxes", kind.FLOAT, [1, "n", 4]),
            helper.make_tensor_value_info("scores", kind.FLOAT, [1, 1, "n"]),
            helper.make_tensor_value_info("iou", kind.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("kept", kind.INT64, ["k", 3])],
        [helper.make_tensor("most", kind.INT64, [1], [2**31 - 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnxruntime_kept(session: onnxruntime.InferenceSession, arrays: Arrays, iou: float) -> set[int]:
    boxes, scores, classes = arrays
    kept: set[int] = set()
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        feed = {"boxes": boxes[rows][None], "scores": scores[rows][None, None], "iou": np.array([iou], np.float32)}
        kept.update(rows[session.run(None, feed)[0][:, 2]].tolist())
    return kept


def numbers_only(arrays: Arrays) -> Arrays:
    boxes, scores, classes = arrays
    numbers = ~(np.isnan(boxes).any(axis=1) | np.isnan(scores))
    return boxes[numbers], scores[numbers], classes[numbers]


def upright(arrays: Arrays) -> bool:
    """Corners in order and sides finite, as the operator's specification takes them."""
    boxes, scores, _ = arrays
    with np.errstate(all="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
        area = sides[:, 0] * sides[:, 1]
    return bool((sides >= 0).all() and np.isfinite(area).all() and np.isfinite(scores).all())


def examine(seeds: range) -> Counter[str]:
    """Counts over some cases: cases, those put to each peer, differences by peer and cause."""
    torch.set_num_threads(1)
    session = onnxruntime_session()
    peers: dict[str, Callable[[Arrays, float], set[int]]] = {
        "torchvision": torchvision_kept,
        "ONNX Runtime": partial(onnxruntime_kept, session),
    }
    counts: Counter[str] = Counter()
    for seed in seeds:
        family, arrays, iou = make_case(seed)
        counts["cases"] += 1
        counts[f"family {family}"] += 1
        expected = reference.nms(*arrays, iou=iou).kept
        if not np.array_equal(expected, nms(*arrays, iou=iou)):
            counts[f"boxmill differs: seed {seed}, {family}"] += 1
        clean = numbers_only(arrays)
        kept = set(reference.nms(*clean, iou=iou).kept.tolist())
        for name, peer in peers.items():
            if name == "ONNX Runtime" and not upright(clean):
                continue
            counts[f"{name} asked"] += 1
            theirs = peer(clean, iou)
            if theirs != kept:
                counts[f"{name} differs: {cause_of(clean, iou, theirs, seed)}"] += 1
    return counts


def cause_of(arrays: Arrays, iou: float, theirs: set[int], seed: int) -> str:
    """Only sets are compared, and each class was put to the peer by itself: there are no offsets and no limits."""
    boxes, scores, classes = arrays
    case = Case(boxes, scores, classes, iou)
    if set(kept(case, Flips(double=True)).tolist()) == theirs:
        return DOUBLE
    return f"{UNEXPLAINED} (seed {seed})"


def report(counts: Counter[str], seconds: float) -> tuple[bool, str]:
    total = counts["cases"]
    own = {key: count for key, count in counts.items() if key.startswith("boxmill differs")}
    lines = [
        "## NMS: parity",
        "",
        results.environment(("numpy", "torch", "torchvision", "onnxruntime")),
        f"- {total} cases of {sum(key.startswith('family') for key in counts)} families in {seconds:.0f} s",
        "",
        "| against | cases | differences | of these by cause |",
        "|---|---|---|---|",
        f"| its reference, bit for bit and in order | {total} | {sum(own.values())} | {', '.join(own) or '-'} |",
    ]
    passed = not own
    for name in ("torchvision", "ONNX Runtime"):
        found = {key.split(": ", 1)[1]: n for key, n in counts.items() if key.startswith(f"{name} differs")}
        causes = ", ".join(f"{cause}: {count}" for cause, count in sorted(found.items())) or "-"
        lines.append(f"| {name} | {counts[f'{name} asked']} | {sum(found.values())} | {causes} |")
        passed &= not any(cause.startswith(UNEXPLAINED) for cause in found)
        passed &= sum(found.values()) <= ALLOWED * total
    return passed, "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    start, last = time.perf_counter(), arguments.first + arguments.cases
    chunks = [range(at, min(at + 500, last)) for at in range(arguments.first, last, 500)]
    counts: Counter[str] = Counter()
    with get_context("spawn").Pool(arguments.jobs) as pool:
        for done, part in enumerate(pool.imap_unordered(examine, chunks), 1):
            counts += part
            print(f"\r{done * 500} cases", end="", file=sys.stderr, flush=True)
    passed, body = report(counts, time.perf_counter() - start)
    print("\n" + body)
    if arguments.write:
        results.write_section("parity", body)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
