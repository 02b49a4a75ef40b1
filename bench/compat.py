"""post.compat against the functions that it stands for: the same call on the same tensors, time and results.

    PYTHONPATH=src .venv-peers/bin/python bench/compat.py
    PYTHONPATH=src .venv-peers/bin/python bench/compat.py --yolov9 CHECKOUT --yolov5 CHECKOUT --write

ultralytics, and the two repositories where their checkouts are given, run in processes of their own; torchvision and
OpenCV in this one. Rounds alternate; one thread each; torch tensors in and out, arrays for OpenCV. Times are medians in
µs a call; the ratio is the median over rounds. `unlike` counts rows that only one side reports: with the exact answer,
and with like_original.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import candidates
import cv2
import numpy as np
import results
import torch
import torchvision

from boxmill import _native
from boxmill.post.compat import opencv as our_opencv
from boxmill.post.compat import torchvision as our_torchvision
from boxmill.post.compat import ultralytics, yolov5, yolov9

ROOT = Path(__file__).resolve().parent.parent
IOU, ROUNDS, CALLS = 0.45, 9, 7
COLUMNS = "boxmill | original | original / boxmill | results | unlike | unlike like_original"


class Original:
    """A project's own function in a persistent process."""

    def __init__(self, checkout: str | None, folder: Path):
        command = [sys.executable, "-W", "ignore", str(ROOT / "bench/peers/nms_originals.py")]
        self.process = subprocess.Popen(
            command + ([] if checkout is None else [checkout]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.heads, self.found = folder / "heads.npy", folder / "found.npy"

    def measure(self, options: dict[str, Any], calls: int) -> float:
        request = {"heads": str(self.heads), "found": str(self.found), "options": options, "calls": calls}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the original ended with {self.process.wait()}: {' '.join(self.process.args)}")
        return json.loads(answer)["us"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@dataclass(frozen=True)
class Head:
    """One raw head and how it is asked for its objects."""

    hits: int  # anchors above conf
    conf: float
    multi_label: bool = False
    batch: int = 1
    half: bool = False
    classes: int = 80

    def raw(self) -> np.ndarray:
        low = 600 if self.conf > 0.1 else self.hits - 80
        heads = [
            candidates.yolo_head(self.hits if self.conf > 0.1 else 80, low, n_classes=self.classes, seed=i)
            for i in range(self.batch)
        ]
        return np.concatenate(heads).astype(np.float16 if self.half else np.float32)

    @property
    def options(self) -> dict[str, Any]:
        return {"conf_thres": self.conf, "iou_thres": IOU, "multi_label": self.multi_label}

    @property
    def name(self) -> str:
        many = "" if self.batch == 1 else f", batch {self.batch}"
        kind = (", multi-label" if self.multi_label else "") + (", float16" if self.half else "")
        return f"{self.classes} classes, {self.hits} of 8400 anchors above {self.conf}{kind}{many}"


HEADS = [
    Head(80, 0.25),
    Head(300, 0.25),
    Head(1200, 0.25),
    Head(300, 0.25, batch=8),
    Head(300, 0.25, half=True),
    Head(2080, 0.001, multi_label=True),
    Head(8400, 0.001, multi_label=True),
    Head(300, 0.25, classes=1500),
]


def with_objectness(raw: np.ndarray) -> np.ndarray:
    """(B, 4 + C, A) -> (B, A, 5 + C): the best score becomes the objectness, the classes share it."""
    best = raw[:, 4:].max(axis=1, keepdims=True)  # (B, 1, A)
    return np.ascontiguousarray(np.concatenate([raw[:, :4], best, raw[:, 4:] / best], axis=1).transpose(0, 2, 1))


def timed(call: Callable[[], Any], calls: int) -> float:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * median(times)


def unlike(ours: np.ndarray, theirs: np.ndarray) -> int:
    def rows(table: np.ndarray) -> set[bytes]:
        return {row.tobytes() for row in np.ascontiguousarray(table, np.float32).reshape(len(table), -1)}

    return len(rows(ours) ^ rows(theirs))


def line(name: str, ours: list[float], theirs: list[float], found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> str:
    exact, like_original, original = found
    ratio = median(their / our for our, their in zip(ours, theirs, strict=True))
    cells = [name, f"{median(ours):.0f}", f"{median(theirs):.0f}", f"**{ratio:.1f}**", str(len(original))]
    text = "| " + " | ".join([*cells, str(unlike(exact, original)), str(unlike(like_original, original))]) + " |"
    print(text, flush=True)
    return text


def project_line(project: str, function: Callable[..., Any], head: Head, original: Original) -> str:
    raw = with_objectness(head.raw()) if project == "yolov5" else head.raw()
    np.save(original.heads, raw)
    prediction = torch.from_numpy(raw)
    calls = CALLS if head.conf > 0.1 and head.classes == 80 else 1
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(timed(lambda: function(prediction, **head.options), CALLS))
        theirs.append(original.measure(head.options, calls))
    tables = [function(prediction, **head.options, like_original=like)[0].numpy() for like in (False, True)]
    return line(f"{project}, {head.name}", ours, theirs, (*tables, np.load(original.found)))


def projects_table(arguments: argparse.Namespace) -> str:
    lines = [f"| non_max_suppression | {COLUMNS} |", "|---" * 7 + "|"]
    checkouts = {"ultralytics": None, "yolov9": arguments.yolov9, "yolov5": arguments.yolov5}
    functions = {"ultralytics": ultralytics, "yolov9": yolov9, "yolov5": yolov5}
    for project, checkout in checkouts.items():
        if checkout is None and project != "ultralytics":
            continue
        with tempfile.TemporaryDirectory() as folder:
            original = Original(checkout, Path(folder))
            lines += [project_line(project, functions[project].non_max_suppression, head, original) for head in HEADS]
            original.close()
    return "\n".join(lines)


def interleaved(name: str, ours: Callable[..., Any], theirs: Callable[..., Any]) -> str:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        times[0].append(timed(ours, CALLS))
        times[1].append(timed(theirs, 3))
    found = tuple(np.asarray(each, np.int64) for each in (ours(), ours(like_original=True), theirs()))
    return line(name, *times, found)


def functions_table() -> str:
    lines = [f"| function, boxes | {COLUMNS} |", "|---" * 7 + "|"]
    for size in (80, 300, 1000, 1001, 5000):
        boxes, scores, classes = candidates.crowded(size)
        tensors = [torch.from_numpy(array) for array in (boxes, scores, classes)]
        sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        ids = classes.astype(np.int32)
        calls: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
            "torchvision nms": (our_torchvision.nms, torchvision.ops.nms, (*tensors[:2], IOU)),
            "torchvision batched_nms": (our_torchvision.batched_nms, torchvision.ops.batched_nms, (*tensors, IOU)),
            "OpenCV NMSBoxes": (our_opencv.NMSBoxes, cv2.dnn.NMSBoxes, (sizes, scores, 0.0, IOU)),
            "OpenCV NMSBoxesBatched": (
                our_opencv.NMSBoxesBatched,
                cv2.dnn.NMSBoxesBatched,
                (sizes, scores, ids, 0.0, IOU),
            ),
        }
        for name, (ours, theirs, inputs) in calls.items():
            lines.append(
                interleaved(
                    f"{name}, {size}",
                    lambda ours=ours, inputs=inputs, **options: ours(*inputs, **options),
                    lambda theirs=theirs, inputs=inputs: theirs(*inputs),
                )
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yolov9", metavar="CHECKOUT", help="a clone of the YOLOv9 repository")
    parser.add_argument("--yolov5", metavar="CHECKOUT", help="a clone of the YOLOv5 repository")
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    packages = ("numpy", "torch", "torchvision", "ultralytics", "opencv-python-headless")
    body = (
        f"## post.compat, µs a call, IoU {IOU}, one thread\n\n{projects_table(arguments)}\n\n{functions_table()}\n\n"
        "`unlike`: rows that only one side reports, of the first image; the originals separate classes by adding "
        "offsets to coordinates, which rounds them, and decode float16 in float16.\n\n"
        f"{results.environment(packages)}\n- boxmill's instruction set: {_native.isa()}"
    )
    print(body)
    if arguments.write:
        results.write_section("compat", body)


if __name__ == "__main__":
    main()
