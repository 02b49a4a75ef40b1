"""Post-processing on a GPU: device time of `boxmill.post.gpu` against torchvision's CUDA pipeline, checked first.

    python bench/gpu_post.py [NAME]       # writes bench/results/gpu-NAME.json, and $OUT/gpu_post.json where OUT is set

Times are medians by device events. `graph`: one replay of a CUDA graph of the call, so what the device needs; `call`:
the call from Python, so the launches count too. Several input buffers take turns so that the cache does not flatter.
Every output is compared with the CPU's before it is timed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton

from boxmill.post import Postprocessor, gpu, nms
from boxmill.types import Detections, HeadSpec

HEAD, NETWORK = HeadSpec("yolo"), (640, 640)
BUFFERS, ROUNDS, REPEATS = 4, 20, 5  # inputs in turn; timed calls of each; repeats of all, the median counts
CELLS = (  # images, dtype, candidates an image, target in microseconds
    (1, torch.float16, 1200, 60),
    (8, torch.float16, 1200, 100),
    (64, torch.float16, 1200, 400),
    (1, torch.float16, 300, None),
    (8, torch.float16, 300, None),
    (1, torch.float32, 1200, None),
)
Row = dict[str, Any]


def heads(images: int, candidates: int, seed: int) -> np.ndarray:
    """(B, 84, 8400) float16 values: `candidates` anchors of 60 clustered objects score above 0.25."""
    rng = np.random.default_rng(seed)
    raw = (rng.random((images, 84, 8400), np.float32) * 0.2).astype(np.float16)
    for image in raw:
        objects = rng.uniform(20, 600, (60, 2))
        chosen = rng.permutation(8400)[:candidates]
        owner = rng.integers(0, 60, candidates)
        image[:2, chosen] = (objects[owner] + rng.normal(0, 8, (candidates, 2))).T
        image[2:4, chosen] = rng.uniform(30, 90, (2, candidates))
        image[4 + owner % 80, chosen] = rng.uniform(0.26, 1, candidates)
    return raw


def boxes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    objects = rng.uniform(0, 1200, (max(1, n // 15), 2))
    corner = objects[rng.integers(0, len(objects), n)] + rng.normal(0, 8, (n, 2))
    corners = np.concatenate([corner, corner + rng.uniform(30, 90, (n, 2))], 1).astype(np.float32)
    return corners, rng.random(n).astype(np.float32), rng.integers(0, 80, n)


def device_time(calls: list[Callable[[], Any]]) -> float:
    """Microseconds of one call, each buffer's in turn."""
    for call in calls * 2:
        call()
    medians = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(ROUNDS):
            for call in calls:
                call()
        end.record()
        torch.cuda.synchronize()
        medians.append(1000 * start.elapsed_time(end) / (ROUNDS * len(calls)))
    return statistics.median(medians)


def graph_time(calls: list[Callable[[], Any]]) -> float:
    """The same of replays; a graph keeps its own buffers, so each input has one."""
    replays = []
    for call in calls:
        call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        replays.append(graph.replay)
    return device_time(replays)


def same(found: list[Detections], wanted: list[Detections]) -> bool:
    names = ("boxes", "scores", "classes", "indices")
    return all(
        getattr(mine, name).tobytes() == getattr(other, name).tobytes()
        for mine, other in zip(found, wanted, strict=True)
        for name in names
    ) and [(each.cut, each.nan) for each in found] == [(each.cut, each.nan) for each in wanted]


def torchvision_pipeline() -> Callable[[torch.Tensor], list[torch.Tensor]] | None:
    """What people write around torchvision.ops.batched_nms; None where torchvision cannot be imported."""
    try:
        from torchvision.ops import batched_nms
    except (ImportError, RuntimeError):
        return None

    def pipeline(raw: torch.Tensor) -> list[torch.Tensor]:
        tables = []
        for image in raw.float():
            scores, labels = image[4:].max(0)
            chosen = scores > 0.25
            centre, half = image[:2, chosen].T, image[2:4, chosen].T / 2
            corners = torch.cat([centre - half, centre + half], 1)
            kept = batched_nms(corners, scores[chosen], labels[chosen], 0.45)[:300]
            tables.append(torch.cat([corners[kept], scores[chosen][kept, None], labels[chosen][kept, None].float()], 1))
        return tables

    return pipeline


def differences(tables: list[torch.Tensor], wanted: list[Detections]) -> int:
    """Images whose kept boxes are others than ours; torchvision moves classes apart by rounded offsets."""
    return sum(
        len(table) != len(image) or not np.array_equal(table[:, :4].cpu().numpy(), image.boxes)
        for table, image in zip(tables, wanted, strict=True)
    )


def head_row(cell: tuple[int, torch.dtype, int, int | None], peer: Callable[..., Any] | None) -> Row:
    images, dtype, candidates, target = cell
    arrays = [heads(images, candidates, seed) for seed in range(BUFFERS)]
    tensors = [torch.from_numpy(each).to("cuda", dtype) for each in arrays]
    post = Postprocessor(HEAD)
    wanted = [post(each, NETWORK) for each in arrays]
    exact = [
        same(gpu.postprocess(HEAD, tensor, NETWORK).to_detections(), each)
        for tensor, each in zip(tensors, wanted, strict=True)
    ]
    calls = [lambda tensor=tensor: gpu.postprocess(HEAD, tensor, NETWORK) for tensor in tensors]
    row: Row = {"cell": f"({images}, 84, 8400) {str(dtype)[6:]}, {candidates} candidates", "target": target}
    row |= {"graph": graph_time(calls), "call": device_time(calls), "exact": all(exact)}
    if peer is not None:
        row["torchvision"] = device_time([lambda tensor=tensor: peer(tensor) for tensor in tensors[:2]])
        row["differs"] = sum(differences(peer(t), each) for t, each in zip(tensors, wanted, strict=True))
    return row


def nms_row(n: int, with_peer: bool) -> Row:
    arrays = [boxes(n, seed) for seed in range(BUFFERS)]
    tensors = [[torch.from_numpy(part).cuda() for part in each] for each in arrays]
    exact = [
        np.array_equal(nms(*tensor).cpu().numpy(), nms(*each)) for tensor, each in zip(tensors, arrays, strict=True)
    ]
    static = [lambda t=t: gpu.batched_nms(*(part[None] for part in t)) for t in tensors]
    row: Row = {"cell": f"nms of {n:,} boxes", "target": None, "graph": graph_time(static), "exact": all(exact)}
    row["call"] = device_time([lambda t=t: nms(*t) for t in tensors])
    if with_peer:
        from torchvision.ops import batched_nms

        row["torchvision"] = device_time([lambda t=t: batched_nms(*t, 0.45) for t in tensors])
    return row


def report(rows: list[Row], facts: dict[str, Any]) -> str:
    lines = [f"{'cell':44} {'graph us':>9} {'target':>7} {'call us':>9} {'torchvision':>12} {'ratio':>7}  exact"]
    for row in rows:
        peer = row.get("torchvision")
        ratio = "" if peer is None else f"{peer / row['graph']:.1f}x"
        lines.append(
            f"{row['cell']:44} {row['graph']:9.1f} {row['target'] or '':>7} {row['call']:9.1f} "
            f"{'' if peer is None else f'{peer:.1f}':>12} {ratio:>7}  {row['exact']}"
        )
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in facts.items())])


def main() -> int:
    if not torch.cuda.is_available():
        print("gpu_post: no CUDA device here; nothing was measured", file=sys.stderr)
        return 3
    began = time.perf_counter()
    gpu.postprocess(HEAD, torch.from_numpy(heads(1, 300, 0)).cuda(), NETWORK)
    torch.cuda.synchronize()
    first = time.perf_counter() - began
    peer = torchvision_pipeline()
    rows = [head_row(cell, peer) for cell in CELLS] + [nms_row(n, peer is not None) for n in (1000, 10000)]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    facts = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
        "torchvision": "measured" if peer else "cannot be imported: not measured",
        "first call, with compilation unless cached, s": round(first, 2),
        "commit": commit.stdout.strip() or "unknown",
    }
    name = sys.argv[1] if len(sys.argv) > 1 else "post"
    places = [Path(__file__).parent / "results" / f"gpu-{name}.json"]
    places += [Path(os.environ["OUT"]) / "gpu_post.json"] if os.environ.get("OUT") else []
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(report(rows, facts))
    return 0 if all(row["exact"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
