"""Raw head to final boxes: boxmill against ultralytics' non_max_suppression and against merely reading the head.

    PYTHONPATH=src python bench/postprocess.py                  # synthetic heads
    PYTHONPATH=src python bench/postprocess.py --photos 32 --write   # and heads of real models on real photos

One thread each, IoU .45, at most 300 objects; best class per anchor on both sides, or every class on both. ultralytics
runs in a process of its own (--peer, default .venv-peers/bin/python); rounds alternate. The floor is numpy's maximum
over the same array: vectorised, one read of every number and nothing else. Cold: another 64 MB were written before each
call. Real heads need BOXMILL_ASSETS. Times are medians in µs a head, measured from Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import candidates
import numpy as np
import results

from boxmill import _native
from boxmill.post import Postprocessor
from boxmill.types import HeadSpec

ROOT = Path(__file__).parent.parent
IOU, ROUNDS, CALLS = 0.45, 7, 15
NETWORK = (640, 640)
# Candidates, conf, anchors, whether every class of an anchor counts.
SYNTHETIC = [
    *((hits, 0.25, 8400, False) for hits in (0, 80, 300, 950, 1200)),
    *((hits, 0.001, 8400, False) for hits in (2080, 4950, 8400)),
    *((hits, 0.001, 8400, True) for hits in (2080, 4950, 8400)),
    (1200, 0.25, 33600, False),
]
COLUMNS = (
    "heads | objects | boxmill | floor | boxmill / floor | float16 | float16 / float32 | cold | cold floor | "
    "ultralytics | ultralytics / boxmill | unlike"
)
EVICTED = 64 << 20  # bytes


class Peer:
    """The persistent ultralytics process."""

    def __init__(self, python: str, folder: Path):
        command = [python, str(ROOT / "bench/peers/ultralytics_nms.py")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.heads, self.found = folder / "heads.npy", folder / "found.npy"

    def measure(self, post: Postprocessor, calls: int) -> list[float]:
        request = {"heads": str(self.heads), "found": str(self.found), "conf": post.conf, "iou": post.iou}
        request |= {"calls": calls, "multi_label": post.multi_label}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())["us"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def once(call, head: np.ndarray) -> float:
    start = time.perf_counter()
    call(head)
    return time.perf_counter() - start


def timed(call, heads: np.ndarray, calls: int) -> list[float]:
    """Median µs of `call` for each head."""
    return [1e6 * median(once(call, head) for _ in range(calls)) for head in heads]


def timed_cold(call, heads: np.ndarray, other: np.ndarray) -> list[float]:
    """The same for heads that no cache holds any more."""
    times = []
    for head in heads[:4]:
        other += 1
        times.append(1e6 * once(call, head))
    return times


def rows(boxes, scores, classes) -> set[bytes]:
    table = np.column_stack([boxes, scores, classes]).astype(np.float32)
    return {row.tobytes() for row in table}


def measure(heads: np.ndarray, post: Postprocessor, peer: Peer | None) -> dict[str, list[list[float]]]:
    """Rounds of µs for each head (cold: of a few), for each side.

    A head counts as warm after some calls: one of 8 MB takes five to settle in a third-level cache that fills from the
    second. The peer's is always warm: it gets a copy made just before.
    """
    slow = len(heads) == 1 and post.conf < 0.1  # synthetic crowds take the peer up to 80 ms
    narrow = np.clip(heads, -6e4, 6e4).astype(np.float16)
    other = np.zeros(EVICTED, np.uint8)
    times: dict[str, list[list[float]]] = {}

    def add(side: str, found: list[float]) -> None:
        times.setdefault(side, []).append(found)

    def ours(head: np.ndarray):
        return post(head, NETWORK)

    if peer:
        np.save(peer.heads, heads)
    for _ in range(ROUNDS):
        add("ours", timed(ours, heads, CALLS))
        add("floor", timed(np.max, heads, CALLS))
        add("float16", timed(ours, narrow, CALLS))
        add("cold", timed_cold(ours, heads, other))
        add("cold floor", timed_cold(np.max, heads, other))
        if peer:
            add("peer", peer.measure(post, 3 if slow else CALLS))
    return times


def compare(name: str, heads: np.ndarray, post: Postprocessor, peer: Peer | None) -> str:
    """One row of the table. Without a peer (it does not know the layout), its columns stay empty."""
    us = {side: np.median(np.array(each), axis=0) for side, each in measure(heads, post, peer).items()}  # (N,) each
    ours, floor, half, cold, cold_floor = (
        np.median(us[side]) for side in ("ours", "floor", "float16", "cold", "cold floor")
    )
    objects = median(len(post(head, NETWORK)[0]) for head in heads)
    cells = [name, f"{objects:.0f}", f"{ours:.0f}", f"{floor:.0f}", f"{ours / floor:.1f}"]
    cells += [f"{half:.0f}", f"{half / ours:.2f}", f"{cold:.0f}", f"{cold_floor:.0f}"]
    if peer:
        last, theirs = post(heads[-1], NETWORK)[0], np.load(peer.found)
        unlike = len(rows(last.boxes, last.scores, last.classes) ^ rows(theirs[:, :4], theirs[:, 4], theirs[:, 5]))
        cells += [f"{np.median(us['peer']):.0f}", f"**{np.median(us['peer'] / us['ours']):.1f}**", str(unlike)]
    else:
        cells += ["–", "–", "–"]
    line = "| " + " | ".join(cells) + " |"
    print(line, flush=True)
    return line


def two_threads(seed: int) -> str:
    """The same batches one after another, and by two threads that share a Postprocessor; two yardsticks likewise.

    numpy's maximum over the same heads is bound by memory, a checksum by arithmetic alone: they show how much of a
    second core this machine gives to either.
    """
    few = np.concatenate([candidates.yolo_head(300, 600, seed=seed + i) for i in range(8)])
    many = np.concatenate([candidates.yolo_head(1200, 7200, seed=seed + i) for i in range(8)])
    ordinary = Postprocessor(HeadSpec("yolo"), 0.25, IOU)
    validation = Postprocessor(HeadSpec("yolo"), 0.001, IOU, multi_label=True)
    works = {
        "300 candidates at .25": (lambda half: ordinary(half, NETWORK), few),
        "8400 at .001, multi-label": (lambda half: validation(half, NETWORK), many),
        "numpy's maximum over the same heads (memory)": (np.max, few),
        "SHA-256 (arithmetic)": (lambda half: hashlib.sha256(half[0, :8]).digest(), few),
    }
    ratios: dict[str, list[float]] = {name: [] for name in works}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            for name, (call, batch) in works.items():
                ratios[name].append(gain_of_a_second(pool, call, [batch[:4], batch[4:]]))
    shown = ", ".join(f"{name}: {median(values):.2f}" for name, values in ratios.items())
    return f"Two threads, each with a batch of 4 heads, times as fast as one: {shown}."


def gain_of_a_second(pool: ThreadPoolExecutor, call: Callable[[np.ndarray], object], halves: list[np.ndarray]) -> float:
    def work(half: np.ndarray) -> None:
        for _ in range(2 * CALLS):
            call(half)

    start = time.perf_counter()
    for half in halves:
        work(half)
    alone = time.perf_counter()
    list(pool.map(work, halves))
    return (alone - start) / (time.perf_counter() - alone)


PROGRAM = """
import sys, time; sys.path.insert(0, "bench")
import candidates
from statistics import median
from boxmill.post import Postprocessor, nms
from boxmill.types import HeadSpec
post, head, boxes = Postprocessor(HeadSpec("yolo")), candidates.yolo_head(1200, 600), candidates.crowded(5000)
for call in (lambda: post(head, (640, 640)), lambda: nms(*boxes)):
    times = []
    for _ in range(60):
        start = time.perf_counter(); call(); times.append(time.perf_counter() - start)
    print(1e6 * median(times))
"""


def instruction_sets() -> str:
    """Each in a process of its own, alternating."""
    names = _native.isas()
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(3):
        for name in names:
            run = subprocess.run(
                [sys.executable, "-c", PROGRAM],
                env={**os.environ, "BOXMILL_ISA": name}, cwd=ROOT, capture_output=True, text=True, check=True,
            )  # fmt: skip
            found[name].append([float(line) for line in run.stdout.split()])
    best = np.median(found[names[0]], axis=0)
    lines = ["| instruction set | head, 1200 candidates | NMS, 5000 crowded | times the best |", "|---" * 4 + "|"]
    for name in names:
        head, boxes = us = np.median(found[name], axis=0)
        lines.append(f"| {name} | {head:.0f} | {boxes:.0f} | {', '.join(f'{ratio:.2f}' for ratio in us / best)} |")
    return "\n".join(lines)


def real_heads(model: str, photos: int, normalize: bool) -> np.ndarray:
    """(photos, P, Q) float32 raw heads of an asset model on the first photos; NHWC RGB 0-1, letterbox 114 centred."""
    import cv2
    import openvino

    assets = Path(os.environ["BOXMILL_ASSETS"])
    compiled = openvino.Core().compile_model(assets / "models" / model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    side = compiled.inputs[0].partial_shape[1].get_length()
    heads = []
    for path in sorted((assets / "photos/train128").glob("*.jpg"))[:photos]:
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        scale = side / max(pixels.shape[:2])
        height, width = (round(length * scale) for length in pixels.shape[:2])
        tensor = np.full((1, side, side, 3), 114, np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        tensor[0, top : top + height, left : left + width] = cv2.resize(pixels, (width, height))
        heads.append(compiled(tensor.astype(np.float32) / 255)[0][0])
    raw = np.stack(heads)
    boxes = raw[:, :4] if raw.shape[1] < raw.shape[2] else raw[..., :4]
    boxes *= side if normalize else 1  # pixels, as both sides take them
    return raw


def as_yolo(raw: np.ndarray) -> np.ndarray:
    """(N, A, 5 + C) with objectness -> (N, 4 + C, A): the same objects in the layout that both sides know."""
    scores = raw[..., 4:5] * raw[..., 5:]
    return np.ascontiguousarray(np.concatenate([raw[..., :4], scores], -1).transpose(0, 2, 1))


def table(arguments: argparse.Namespace, peer: Peer) -> str:
    lines = [f"| {COLUMNS} |", "|---" * 12 + "|"]
    yolo = HeadSpec("yolo")
    for hits, conf, anchors, multi_label in SYNTHETIC:
        usual = conf > 0.1
        heads = candidates.yolo_head(
            hits if usual else 80, 600 if usual else hits - 80, anchors=anchors, seed=arguments.seed
        )
        post = Postprocessor(yolo, conf, IOU, multi_label=multi_label)
        kind = ", multi-label" if multi_label else ""
        lines.append(compare(f"84x{anchors}, {hits} candidates at {conf}{kind}", heads, post, peer))
    if not arguments.photos:
        return "\n".join(lines)
    small = real_heads("yolov9t_relu_320_3cls.onnx", arguments.photos, True)
    large = real_heads("yolov5n_640.onnx", arguments.photos, True)
    for conf, multi_label in ((0.25, False), (0.001, False), (0.001, True)):
        post = Postprocessor(yolo, conf, IOU, multi_label=multi_label)
        kind = f"at {conf}" + (", multi-label" if multi_label else "")
        lines.append(compare(f"YOLOv9-t 7x2100, {arguments.photos} photos, {kind}", small, post, peer))
        lines.append(compare(f"YOLOv5n as 84x25200, photos, {kind}", as_yolo(large), post, peer))
        own = replace(post, head=HeadSpec("yolov5"))
        lines.append(compare(f"YOLOv5n 25200x85, photos, {kind}", large, own, None))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=str(ROOT / ".venv-peers/bin/python"), help="Python that has ultralytics")
    parser.add_argument("--photos", type=int, default=0, help="also heads of real models on so many photos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(arguments.peer, Path(folder))
        lines = table(arguments, peer)
        peer.close()
    version = subprocess.run(
        [arguments.peer, "-c", "import torch, ultralytics; print(torch.__version__, ultralytics.__version__)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    others = f"{two_threads(arguments.seed)}\n\n{instruction_sets()}"
    body = (
        f"## Raw head to boxes, µs a head from Python, IoU {IOU}, one thread\n\n{lines}\n\n{others}\n\n"
        "The floor is numpy's maximum over the same head; `unlike`: rows of the last head that only one side reports "
        "(ultralytics separates classes by adding offsets to coordinates, which costs their low bits).\n\n"
        f"{results.environment(('numpy', 'openvino'))}\n- Peer: ultralytics {version[-1]}, torch {version[-2]}; "
        f"boxmill's instruction set: {_native.isa()}; seed {arguments.seed}"
    )
    print(body)
    if arguments.write:
        results.write_section("postprocess", body)


if __name__ == "__main__":
    main()
