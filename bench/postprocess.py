"""Raw head to final boxes: boxmill against ultralytics' non_max_suppression and against merely reading the head.

    PYTHONPATH=src python bench/postprocess.py                  # synthetic heads
    PYTHONPATH=src python bench/postprocess.py --photos 32 --write   # and heads of real models on real photos

One thread each, best class per anchor, IoU .45, at most 300 objects. ultralytics runs in a process of its own
(--peer, default .venv-peers/bin/python); rounds alternate. The floor is numpy's maximum over the same array. Real heads
need BOXMILL_ASSETS. Times are medians in µs a head, measured from Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
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
SYNTHETIC = [(0, 0.25), (80, 0.25), (300, 0.25), (950, 0.25), (1200, 0.25), (2080, 0.001), (4950, 0.001), (8400, 0.001)]


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

    def measure(self, conf: float, calls: int) -> list[float]:
        request = {"heads": str(self.heads), "found": str(self.found), "conf": conf, "iou": IOU, "calls": calls}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())["us"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def timed(call, heads: np.ndarray, calls: int) -> list[float]:
    """Median µs of `call` for each head."""
    times = []
    for head in heads:
        each = []
        for _ in range(calls):
            start = time.perf_counter()
            call(head)
            each.append(time.perf_counter() - start)
        times.append(1e6 * median(each))
    return times


def rows(boxes, scores, classes) -> set[bytes]:
    table = np.column_stack([boxes, scores, classes]).astype(np.float32)
    return {row.tobytes() for row in table}


def compare(name: str, heads: np.ndarray, post: Postprocessor, peer: Peer | None) -> str:
    """One row of the table. Without a peer (it does not know the layout), its columns stay empty."""
    network = (640, 640)
    few = CALLS if len(heads) == 1 else 3
    times: dict[str, list[list[float]]] = {"ours": [], "floor": [], "peer": []}
    if peer:
        np.save(peer.heads, heads)
    for _ in range(ROUNDS):
        times["ours"].append(timed(lambda head: post(head, network), heads, few))
        times["floor"].append(timed(np.max, heads, few))
        if peer:
            times["peer"].append(peer.measure(post.conf, few if post.conf > 0.1 else 3))
    us = {side: np.median(np.array(each), axis=0) for side, each in times.items() if each}  # (N,) each
    ours, floor = np.median(us["ours"]), np.median(us["floor"])
    objects = median(len(post(head, network)[0]) for head in heads)
    cells = [name, f"{objects:.0f}", f"{ours:.0f}", f"{floor:.0f}", f"{ours / floor:.1f}"]
    if peer:
        last, theirs = post(heads[-1], network)[0], np.load(peer.found)
        unlike = len(rows(last.boxes, last.scores, last.classes) ^ rows(theirs[:, :4], theirs[:, 4], theirs[:, 5]))
        cells += [f"{np.median(us['peer']):.0f}", f"**{np.median(us['peer'] / us['ours']):.1f}**", str(unlike)]
    else:
        cells += ["–", "–", "–"]
    line = "| " + " | ".join(cells) + " |"
    print(line, flush=True)
    return line


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
    lines = [
        "| heads | objects | boxmill | floor | boxmill / floor | ultralytics | ultralytics / boxmill | unlike |",
        "|---|---|---|---|---|---|---|---|",
    ]
    yolo = HeadSpec("yolo")
    for hits, conf in SYNTHETIC:
        heads = candidates.yolo_head(hits if conf > 0.1 else 80, 600 if conf > 0.1 else hits - 80, seed=arguments.seed)
        lines.append(compare(f"84x8400, {hits} candidates at {conf}", heads, Postprocessor(yolo, conf, IOU), peer))
    if not arguments.photos:
        return "\n".join(lines)
    small = real_heads("yolov9t_relu_320_3cls.onnx", arguments.photos, True)
    large = real_heads("yolov5n_640.onnx", arguments.photos, True)
    for conf in (0.25, 0.001):
        post = Postprocessor(yolo, conf, IOU)
        lines.append(compare(f"YOLOv9-t 7x2100, {arguments.photos} photos, at {conf}", small, post, peer))
        lines.append(compare(f"YOLOv5n as 84x25200, photos, at {conf}", as_yolo(large), post, peer))
        lines.append(
            compare(f"YOLOv5n 25200x85, photos, at {conf}", large, replace(post, head=HeadSpec("yolov5")), None)
        )
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
    body = (
        f"## Raw head to boxes, µs a head from Python, IoU {IOU}, one thread\n\n{lines}\n\n"
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
