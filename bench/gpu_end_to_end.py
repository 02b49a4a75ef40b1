"""The engine on a GPU: yolov9-s in half precision, alone, fed from decoded images, and from JPEGs.

    scripts/gpu_check --end-to-end                          # calls this, where there is a GPU
    PYTHONPATH=src python bench/gpu_end_to_end.py           # the same
    OMP_NUM_THREADS=1 … --device cpu --size 64 --source 96 128 --images 40 --batches 1 2    # only to try it

The structure of yolov9-s's main branch with random weights; the threshold is such that 1,200 anchors an image pass it.

1. the model alone: device events around forwards of inputs that lie there already, at each batch size, by the median;
2. the engine without decoding: images are decoded already, everything else is done, at the batch that was best in 1;
3. device memory over those images: taken at every twentieth of them, after the first tenth;
4. the engine from JPEGs, made here: what limits it is whatever does not wait;
5. the first article's table, the same network as a checkpoint (gpu_table.py): in what remains of 450 seconds.

Prints a table, and writes JSON to $OUT, where that is set, and to bench/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from gpu_table import FACTOR, Table, factor_of, table, table_lines

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from checkpoints import write_checkpoint

from boxmill.engine import BatchSizes, Job, StagedRun, TimeTable
from boxmill.images import DecodeLimits, decode
from boxmill.models.yolov9 import build, fuse
from boxmill.post import Postprocessor
from boxmill.runtimes.cuda import GraphedForward, Lanes, lanes_of
from boxmill.runtimes.torch import mixed_precision
from boxmill.runtimes.torch_device import DeviceNetwork, DeviceSelect, TorchDevice
from boxmill.settings import available_cpus
from boxmill.types import EncodedItem, Frame, HeadSpec, InputSpec, ModelSpec, Outcome

NO_GPU = 3  # exit code
CLASSES, CANDIDATES = 80, 1200
SOURCE = (1080, 1920)
TARGET = 0.9  # of the model alone, decoding excluded
GROWTH = 0.01  # of the device memory in use, over all images
ROUNDS, REPEATS = 5, 8
SECONDS = 450.0  # for everything


def structure() -> dict[str, Any]:
    """The main branch of the published yolov9-s."""

    def stage(width: int) -> list[Any]:
        return [-1, 1, "RepNCSPELAN4", [width, width, width // 2, 3]]

    down = [[[-1, 1, "AConv", [width]], stage(width)] for width in (128, 192, 256)]
    up = [-1, 1, "nn.Upsample", ["None", 2, "nearest"]]

    def join(other: int) -> list[Any]:
        return [[-1, other], 1, "Concat", [1]]

    stem = [[-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [64, 3, 2]], [-1, 1, "ELAN1", [64, 64, 32]]]
    neck = [[-1, 1, "SPPELAN", [256, 128]], up, join(6), stage(192), up, join(4), stage(128)]
    neck += [[-1, 1, "AConv", [96]], join(12), stage(192), [-1, 1, "AConv", [128]], join(9), stage(256)]
    head = [*neck, [[15, 18, 21], 1, "DDetect", ["nc"]]]
    backbone = [*stem, *(row for rows in down for row in rows)]
    scale = {"depth_multiple": 1.0, "width_multiple": 1.0, "anchors": 3}
    return {"nc": CLASSES, **scale, "backbone": backbone, "head": head}


def network_on(device: torch.device) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build(structure()).eval()
    for name, value in network.state_dict().items():
        if name.endswith("dfl.conv.weight"):
            value.copy_(torch.arange(16.0).view(1, 16, 1, 1))
        elif value.ndim == 4:
            value.copy_(torch.randn_like(value) * 1.5 / value[0].numel() ** 0.5)
    fused = fuse(network)
    if device.type == "cuda":
        fused = mixed_precision(fused, torch.float16)
    return fused.to(device, memory_format=torch.channels_last)


def frames(count: int, source: tuple[int, int]) -> list[Frame]:
    """Textures: smooth noise, so that JPEGs of them have the size of photographs'."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        coarse = torch.from_numpy(rng.random((1, 3, source[0] // 12, source[1] // 12), np.float32))
        fine = torch.nn.functional.interpolate(coarse, size=source, mode="bicubic")[0].permute(1, 2, 0).numpy()
        grain = rng.normal(0, 0.03, fine.shape).astype(np.float32)
        made.append(Frame(f"{number}", ((fine + grain).clip(0, 1) * 255).astype(np.uint8)))
    return made


@dataclass
class Counting:
    """A store that keeps nothing, and looks at the device's memory now and then."""

    every: int
    lanes: Lanes
    outcomes: int = 0
    objects: int = 0
    failed: int = 0
    used: list[int] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def add(self, outcome: Outcome) -> None:
        with self.lock:
            self.outcomes += 1
            self.failed += not hasattr(outcome.result, "boxes")
            self.objects += len(getattr(outcome.result, "boxes", ()))
            if self.outcomes % self.every == 0:
                self.used.append(memory_in_use(self.lanes))


def memory_in_use(lanes: Lanes) -> int:
    if lanes.device.type != "cuda":
        return 0
    free, whole = torch.cuda.mem_get_info(lanes.device)
    return whole - free


def alone(network: torch.nn.Module, lanes: Lanes, size: int, batches: Sequence[int]) -> dict[int, float]:
    """Images a second of forwards in a row, by batch size; CUDA graphs where they can be captured."""
    dtype = torch.float16 if lanes.device.type == "cuda" else torch.float32
    forward = GraphedForward(lambda images: [network(images)], lanes)
    rates = {}
    for count in batches:
        shape = (count, 3, size, size)
        inputs = [torch.rand(shape, device=lanes.device).to(dtype) for _ in range(3)]
        seconds = []
        for _ in range(ROUNDS + 2):
            with torch.inference_mode(), lanes.computing(inputs) as lap:
                for turn in range(REPEATS):
                    images = forward.input(shape, partial(empty, dtype, lanes.device))
                    images.copy_(inputs[turn % len(inputs)])
                    forward(images)
            seconds.append(lap.wait())
        rates[count] = REPEATS * count / median(seconds[2:])
        forward.release()
        lanes.release_memory()
    return rates


def empty(dtype: torch.dtype, device: torch.device, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)


def threshold(network: torch.nn.Module, lanes: Lanes, size: int) -> float:
    """The score that `CANDIDATES` anchors of a random image pass, rounded up into the next of a thousand steps."""
    with torch.inference_mode():
        dtype = torch.float16 if lanes.device.type == "cuda" else torch.float32
        scores = network(torch.rand(1, 3, size, size, device=lanes.device).to(dtype))[0, 4:].amax(0).float().cpu()
    return min(0.999, float(scores.sort(descending=True).values[min(CANDIDATES, len(scores) - 1)]))


def selection(post: Postprocessor, lanes: Lanes) -> DeviceSelect | None:
    if lanes.device.type != "cuda" or find_spec("triton") is None:
        return None
    from boxmill.post.gpu import postprocess, unpack

    def pack(outputs: Any, network: Any, geometries: Any) -> torch.Tensor:
        found = postprocess(post.head, outputs, network, geometries, conf=post.conf, iou=post.iou, max_det=post.max_det)
        return found.packed

    return DeviceSelect(pack, partial(unpack, max_det=post.max_det))


@dataclass(frozen=True)
class Side:
    """What one run of the engine came to."""

    rate: float  # images a second
    table: TimeTable
    store: Counting

    def document(self) -> dict[str, Any]:
        busy = self.table.device_busy or 0.0
        return {
            "images_per_s": self.rate,
            "idle_share": 1 - busy / self.table.wall,
            "objects": self.store.objects,
            "failed": self.store.failed,
            "stages": self.table.stages,
            "waits": self.table.waits,
            "unexplained": self.table.unexplained,
            "threads": self.table.workers,
            "wall": self.table.wall,
        }


def engine(device: TorchDevice, lanes: Lanes, job: dict[str, Any], batch: int, count: int) -> Side:
    store = Counting(max(1, count // 20), lanes)
    base = {"runtime": device, "store": store, "workers": available_cpus(), "warm_up": device.spec.input.size}
    run = StagedRun(Job(total=count, **base, **job), device, BatchSizes(batch))
    run.warm_up()
    start = time.perf_counter()
    table = run.execute()
    return Side(count / (time.perf_counter() - start), table, store)


def prepared(images: list[Frame], count: int, post: Postprocessor) -> dict[str, Any]:
    """Inputs that are decoded already."""

    def give(data: bytes, key: str, limits: DecodeLimits) -> Frame:
        return images[int(key) % len(images)]

    items = (EncodedItem(number, str(number), bytes) for number in range(count))
    return {"items": items, "postprocessor": post, "decode": give}


def jpegs(images: list[Frame], count: int, post: Postprocessor) -> dict[str, Any]:
    import cv2

    files = [
        cv2.imencode(".jpg", image.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for image in images
    ]
    items = (
        EncodedItem(number, str(number), partial(files.__getitem__, number % len(files))) for number in range(count)
    )
    return {"items": items, "postprocessor": post, "decode": decode}


def growth(used: list[int]) -> float:
    """Of the memory in use, from the end of the first tenth to the end, as a share of it."""
    steady = used[2:]
    return (steady[-1] - steady[0]) / max(steady[0], 1) if len(steady) > 1 else 0.0


def bottleneck(side: Side, cpus: int) -> str:
    busy = (side.table.device_busy or 0.0) / side.table.wall
    if busy >= TARGET:
        return "the GPU"
    parts = {name: seconds for name, seconds in side.table.stages.items() if name != "model"}
    slowest = max(parts, key=parts.__getitem__)
    return f"the processor ({slowest}: {parts[slowest] / side.table.wall:.1f} of {cpus} cores)"


def facts(device: TorchDevice) -> dict[str, Any]:
    return {
        "device": device.hardware,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cpus": available_cpus(),
        "processor": platform.processor() or platform.machine(),
        "post": "device" if device._select is not None else "processor",
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    lanes = lanes_of(options.device)
    network = network_on(lanes.device)
    conf = threshold(network, lanes, options.size)
    spec = ModelSpec(
        InputSpec((options.size, options.size), dynamic=True), HeadSpec("yolo"), tuple(map(str, range(CLASSES)))
    )
    post = Postprocessor(spec.head, conf=conf)
    dtype = torch.float16 if lanes.device.type == "cuda" else torch.float32
    parts = DeviceNetwork(lambda images: [network(images)], "torch", "", "", dtype, graphs=True, channels_last=True)
    device = TorchDevice(spec, parts, lanes, selection(post, lanes))
    rates = alone(network, lanes, options.size, options.batches)
    best = max(rates, key=rates.__getitem__)
    images = frames(8, tuple(options.source))
    engine(device, lanes, prepared(images, 12 * best, post), best, 12 * best)  # compiles, captures, fills pools
    fed = engine(device, lanes, prepared(images, options.images, post), best, options.images)
    found: dict[str, Any] = {
        **facts(device),
        "model_alone": rates,
        "batch": best,
        "decoded": fed.document(),
        "of_the_model_alone": fed.rate / rates[best],
        "memory_in_use": fed.store.used,
        "memory_growth": growth(fed.store.used),
    }
    if find_spec("cv2") is None:
        return {**found, "jpegs": None}
    count = max(60, min(options.images, int(40 * fed.rate)))
    side = engine(device, lanes, jpegs(images, count, post), best, count)
    return {**found, "jpegs": {**side.document(), "bottleneck": bottleneck(side, available_cpus())}}


def article(options: argparse.Namespace, until: float) -> dict[str, Any]:
    """The table, of the given checkpoint or of one with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        weights, conf = options.weights, options.conf
        if weights is None:
            names, conf = [str(number) for number in range(CLASSES)], None
            weights = write_checkpoint(Path(folder) / "yolov9-s.pt", structure=structure(), names=names)
        wanted = Table(weights.resolve(), options.device, conf, options.glyphs, until, options.scenes)
        return table(replace(wanted, imgsz=options.size))


def report(found: dict[str, Any]) -> list[str]:
    best, fed = found["batch"], found["decoded"]
    rates = ", ".join(f"{count}: {rate:.0f}" for count, rate in found["model_alone"].items())
    lines = [
        f"{found['device']}, torch {found['torch']}, {found['cpus']} cores, post-processing on the {found['post']}",
        f"model alone, images/s by batch   {rates}",
        f"decoded images, batch {best}       {fed['images_per_s']:.0f} images/s = {found['of_the_model_alone']:.1%} "
        f"of the model alone (wanted {TARGET:.0%}), GPU idle {fed['idle_share']:.1%}, {fed['failed']} failed",
        f"device memory                    {found['memory_growth']:+.2%} over the run (wanted below {GROWTH:.0%})",
    ]
    if found["jpegs"] is None:
        return [*lines, "JPEGs                            not measured: OpenCV is not installed"]
    side = found["jpegs"]
    lines.append(
        f"JPEGs                            {side['images_per_s']:.0f} images/s, GPU idle "
        f"{side['idle_share']:.1%}; limited by {side['bottleneck']}"
    )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--source", type=int, nargs=2, default=SOURCE, help="height and width of the images")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16, 32, 64, 128])
    parser.add_argument("--weights", type=Path, help="a YOLOv9 checkpoint for the table; default: random weights")
    parser.add_argument("--conf", type=float, default=0.25, help="of --weights")
    parser.add_argument("--scenes", type=int, default=867, help="in the table; 0: no table")
    parser.add_argument("--glyphs", type=Path, help="what boxmill demo glyphs wrote, where the font is missing")
    options = parser.parse_args()
    until = time.monotonic() + SECONDS
    if options.device != "cpu" and not torch.cuda.is_available():
        print("no GPU here: nothing was measured", file=sys.stderr)
        return NO_GPU
    found = measure(options)
    found["table"] = article(options, until) if options.scenes else {"not_measured": "--scenes 0"}
    text = json.dumps(found, indent=1)
    name = f"gpu-end-to-end-{found['device'].replace(' ', '-').lower()}.json"
    folders = [Path(__file__).parent / "results"] if options.device != "cpu" else []
    folders += [Path(os.environ["OUT"])] if os.environ.get("OUT") else []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    print("\n".join([*report(found), *table_lines(found["table"])]))
    good = (
        ("not_measured" in found["table"] or factor_of(found["table"]) >= FACTOR)
        and found["of_the_model_alone"] >= TARGET
        and abs(found["memory_growth"]) < GROWTH
        and not found["decoded"]["failed"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
