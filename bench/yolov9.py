"""One network, yolov9-s, through PyTorch, ONNX Runtime and OpenVINO on the CPU: milliseconds an image.

    PYTHONPATH=src .venv/bin/python bench/yolov9.py            # prints the table
    PYTHONPATH=src .venv/bin/python bench/yolov9.py --write    # and refreshes RESULTS.md

The published structure of yolov9-s (BOXMILL_ASSETS) with random weights of our own, auxiliary branch dropped, fused;
the ONNX file is the one that `boxmill convert` writes. Every runtime has all cores, OpenVINO a network for the shape at
hand; the calls are interleaved in one process, and each takes another of several images. PyTorch in bf16 has its
feature maps channels last, which is how it is fastest. In the same run every answer is compared with PyTorch's float32.
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
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import openvino as ov
import results
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from attacks import assembler

from boxmill.convert.graph import export
from boxmill.convert.images import pictures
from boxmill.models.yolov9 import build, fuse
from boxmill.runtimes.torch import mixed_precision
from boxmill.settings import available_cpus

SHAPES = ((640, 640), (384, 640))
BATCHES = (1, 8)
FRAMES = 3
TARGET = 2.5  # times PyTorch's float32, by OpenVINO in bf16
BASE, BEST = "torch fp32", "OpenVINO bf16"
PACKAGES = ("numpy", "torch", "onnxruntime", "openvino")
Call = Callable[[np.ndarray], np.ndarray]


def network_of(structure: Path) -> torch.nn.Module:
    """Gains that keep activations in the range that trained ones have: with smaller ones they end as denormals."""
    torch.manual_seed(0)
    network = build(json.loads(structure.read_text(encoding="utf-8"))).without_auxiliary().eval()
    for name, value in network.state_dict().items():
        if name.endswith("dfl.conv.weight"):
            value.copy_(torch.arange(16.0).view(1, 16, 1, 1))
        elif value.ndim == 4:
            value.copy_(torch.randn_like(value) * 1.5 / value[0].numel() ** 0.5)
    return fuse(network)


def in_torch(network: torch.nn.Module, layout: torch.memory_format) -> Call:
    def call(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(images).contiguous(memory_format=layout)).float().numpy()

    return call


def in_onnxruntime(path: Path, threads: int) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the next in turn wants the cores
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def in_openvino(path: Path, threads: int, precision: str, shape: tuple[int, ...]) -> Call:
    core = ov.Core()
    model = core.read_model(path)
    model.reshape({model.inputs[0]: list(shape)})
    properties = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(model, "CPU", properties).create_infer_request()

    def call(images: np.ndarray) -> np.ndarray:
        request.infer([images], share_inputs=True)
        return request.get_output_tensor(0).data

    return call


def sides(structure: Path, path: Path, threads: int) -> dict[str, Callable[[tuple[int, ...]], Call]]:
    """Each makes what runs images of one shape."""
    plain, rounded = network_of(structure), network_of(structure)
    path.write_bytes(export(plain, 84, {}))
    mixed_precision(rounded, torch.bfloat16).to(memory_format=torch.channels_last)
    eager = in_torch(plain, torch.contiguous_format)
    eager_bf16 = in_torch(rounded, torch.channels_last)
    session = in_onnxruntime(path, threads)
    return {
        BASE: lambda shape: eager,
        "torch bf16": lambda shape: eager_bf16,
        "ONNX Runtime fp32": lambda shape: session,
        "OpenVINO fp32": lambda shape: in_openvino(path, threads, "f32", shape),
        BEST: lambda shape: in_openvino(path, threads, "bf16", shape),
    }


def check(calls: dict[str, Call], images: np.ndarray) -> None:
    expected = calls[BASE](images)[:, 4:]
    for name, call in calls.items():
        difference = np.abs(call(images)[:, 4:] - expected).mean()
        assert difference < (0.05 if "bf16" in name else 1e-3), (name, difference)


def compare(calls: dict[str, Call], frames: list[np.ndarray], rounds: int) -> dict[str, float]:
    """Medians in ms an image."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for place, (name, call) in enumerate(calls.items()):
            images = frames[(turn + place) % FRAMES]
            start = time.perf_counter()
            call(images)
            if turn:  # the first warms up
                times[name].append((time.perf_counter() - start) * 1000 / len(images))
    return {name: median(values) for name, values in times.items()}


def table(made: dict[str, Callable[[tuple[int, ...]], Call]], rounds: int) -> str:
    lines = [f"| input | {' | '.join(made)} | {BASE} / {BEST} | target {TARGET} |", "|---" * (len(made) + 3) + "|"]
    for height, width in SHAPES:
        for batch in BATCHES:
            calls = {name: make((batch, 3, height, width)) for name, make in made.items()}
            every = pictures(FRAMES * batch, (height, width))
            frames = [np.ascontiguousarray(every[batch * i : batch * (i + 1)]) for i in range(FRAMES)]
            check(calls, frames[0])
            found = compare(calls, frames, rounds)
            ratio = found[BASE] / found[BEST]
            cells = " | ".join(f"{value:.1f}" for value in found.values())
            verdict = "met" if ratio >= TARGET else "not met"
            lines.append(f"| {batch} of {width}x{height} | {cells} | {ratio:.2f} | {verdict} |")
    return "\n".join(lines)


READER = """
import sys, time
from pathlib import Path
from boxmill.models.checkpoint import read_checkpoint
def peak():  # the process's own; ru_maxrss would be that of the one that started it
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
path, before, start = Path(sys.argv[1]), peak(), time.perf_counter()
found = read_checkpoint(path)
print(time.perf_counter() - start, 1024 * (peak() - before) / path.stat().st_size, len(found.state))
"""


def reading(structure: Path, path: Path, rounds: int = 5) -> str:
    """A checkpoint with the published keys and shapes of yolov9-s, read by processes of their own."""
    random = np.random.default_rng(0)
    keys = json.loads(structure.with_name("yolov9-s.keys.json").read_text(encoding="utf-8"))
    state = {key: random.integers(0, 1 << 14, shape, np.uint16).view(np.float16) for key, shape in keys.items()}
    pool = assembler.Pool()
    published = json.loads(structure.read_text(encoding="utf-8"))
    names = assembler.plain([f"class {number}" for number in range(published["nc"])])
    network = assembler.network(pool, state, published, assembler.STRIDE, names=names)
    path.write_bytes(assembler.checkpoint(assembler.program(assembler.dict_({"model": network})), pool.members))
    found = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", READER, str(path)], capture_output=True, text=True, check=True)
        found.append([float(value) for value in done.stdout.split()])
    seconds, memory, tensors = (median(column) for column in zip(*found, strict=True))
    verdict = "met" if seconds < 1 and memory < 3 else "not met"
    return (
        f"Its checkpoint as training writes it ({path.stat().st_size / 1e6:.1f} MB, {tensors:.0f} tensors) is read in "
        f"{seconds:.2f} s with {memory:.1f} times the file's size in memory; targets 1 s and 3 times: {verdict}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    if "BOXMILL_ASSETS" not in os.environ:
        parser.error("set BOXMILL_ASSETS to the folder of real weights and photographs")
    structure = Path(os.environ["BOXMILL_ASSETS"]) / "yolov9" / "yolov9-s.structure.json"
    threads = available_cpus()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        body = table(sides(structure, Path(folder) / "yolov9-s.onnx", threads), arguments.rounds)
        read = reading(structure, Path(folder) / "yolov9-s.pt")
    how = f"Medians of {arguments.rounds} interleaved calls in ms an image, {threads} threads each; lower is better."
    text = "\n\n".join(["## YOLOv9-s: runtimes on the CPU", results.environment(PACKAGES), how, body, read])
    print(text)
    if arguments.write:
        results.write_section("yolov9", text)


if __name__ == "__main__":
    main()
