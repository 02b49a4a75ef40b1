"""Post-processing on a GPU: device time of `boxmill.post.gpu` against torchvision's CUDA pipeline, checked first.

    python bench/gpu_post.py [NAME]            # writes bench/results/gpu-NAME.json; $OUT/gpu_post.json where OUT is set
    python bench/gpu_post.py --differences     # only what torchvision keeps otherwise, and why; on a CPU, too

Times are medians by device events. `graph`: one replay of a CUDA graph of the call, so what the device needs; `call`:
the call from Python, so the launches count too. Several input buffers take turns so that the cache does not flatter.
Every output is compared with the CPU's before it is timed. An image in which torchvision keeps other boxes is put down
to a cause (bench/differences.py); one without a cause fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from candidates import crowded, yolo_head
from differences import UNEXPLAINED, Case, explanation, rows_of

from boxmill.post import Postprocessor, nms
from boxmill.types import Detections, HeadSpec

HEAD, NETWORK = HeadSpec("yolo"), (640, 640)
CONF, IOU, MOST = 0.25, 0.45, 300  # what boxmill.post.gpu.postprocess takes by default
SIZES = (1000, 10000)  # boxes of NMS alone
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
    """(B, 84, 8400) float16 values: `candidates` anchors score above 0.25."""
    return np.concatenate([yolo_head(candidates, seed=1000 * seed + n).astype(np.float16) for n in range(images)])


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
            chosen = scores > CONF
            centre, half = image[:2, chosen].T, image[2:4, chosen].T / 2
            corners = torch.cat([centre - half, centre + half], 1)
            kept = batched_nms(corners, scores[chosen], labels[chosen], IOU)[:MOST]
            tables.append(torch.cat([corners[kept], scores[chosen][kept, None], labels[chosen][kept, None].float()], 1))
        return tables

    return pipeline


def case_of(image: np.ndarray) -> Case:
    """The candidates of one image of a head, as the pipeline finds them."""
    raw = image.astype(np.float32)
    scores, labels = raw[4:].max(0), raw[4:].argmax(0)
    chosen = scores > np.float32(CONF)
    centre, half = raw[:2, chosen].T, raw[2:4, chosen].T / np.float32(2)
    return Case(np.concatenate([centre - half, centre + half], 1), scores[chosen], labels[chosen], IOU, MOST)


def head_differences(tables: list[torch.Tensor], arrays: np.ndarray) -> Counter[str]:
    """Images by why the pipeline keeps other boxes than the reference; those in which it does not are left out."""
    found = (
        explanation(case_of(image), [one.tobytes() for one in table.float().cpu().numpy()])
        for image, table in zip(arrays, tables, strict=True)
    )
    return Counter(cause for cause in found if cause is not None)


def nms_difference(kept: torch.Tensor, arrays: tuple[np.ndarray, ...]) -> Counter[str]:
    """The same of one call of torchvision's batched_nms."""
    case = Case(*arrays, IOU)
    cause = explanation(case, rows_of(case, kept.cpu().numpy()))
    return Counter() if cause is None else Counter([cause])


def head_row(cell: tuple[int, torch.dtype, int, int | None], peer: Callable[..., Any] | None) -> Row:
    from boxmill.post import gpu

    images, dtype, candidates, target = cell
    arrays = [heads(images, candidates, seed) for seed in range(BUFFERS)]
    tensors = [torch.from_numpy(each).to("cuda", dtype) for each in arrays]
    post = Postprocessor(HEAD, conf=CONF, iou=IOU, max_det=MOST)
    wanted = [post(each, NETWORK) for each in arrays]
    exact = [
        same(gpu.postprocess(HEAD, tensor, NETWORK).to_detections(), each)
        for tensor, each in zip(tensors, wanted, strict=True)
    ]
    calls = [lambda tensor=tensor: gpu.postprocess(HEAD, tensor, NETWORK) for tensor in tensors]
    row: Row = {"cell": name_of(cell), "target": target}
    row |= {"graph": graph_time(calls), "call": device_time(calls), "exact": all(exact)}
    if peer is not None:
        row["torchvision"] = device_time([lambda tensor=tensor: peer(tensor) for tensor in tensors[:2]])
        causes = [head_differences(peer(one), each) for one, each in zip(tensors, arrays, strict=True)]
        row |= {"differs": sum(causes, Counter()), "images": images * BUFFERS}
    return row


def name_of(cell: tuple[int, torch.dtype, int, int | None]) -> str:
    return f"({cell[0]}, 84, 8400) {str(cell[1])[6:]}, {cell[2]} candidates"


def nms_row(n: int, with_peer: bool) -> Row:
    from boxmill.post import gpu

    arrays = [crowded(n, seed=seed) for seed in range(BUFFERS)]
    tensors = [[torch.from_numpy(part).cuda() for part in each] for each in arrays]
    exact = [
        np.array_equal(nms(*tensor).cpu().numpy(), nms(*each)) for tensor, each in zip(tensors, arrays, strict=True)
    ]
    static = [lambda t=t: gpu.batched_nms(*(part[None] for part in t)) for t in tensors]
    row: Row = {"cell": f"nms of {n:,} boxes", "target": None, "graph": graph_time(static), "exact": all(exact)}
    row["call"] = device_time([lambda t=t: nms(*t) for t in tensors])
    if with_peer:
        from torchvision.ops import batched_nms

        row["torchvision"] = device_time([lambda t=t: batched_nms(*t, IOU) for t in tensors])
        causes = [nms_difference(batched_nms(*one, IOU), each) for one, each in zip(tensors, arrays, strict=True)]
        row |= {"differs": sum(causes, Counter()), "images": BUFFERS}
    return row


def only_differences(device: str, peer: Callable[..., Any]) -> list[Row]:
    """What torchvision keeps otherwise, without a measurement."""
    from torchvision.ops import batched_nms

    rows = []
    for cell in CELLS:
        images = min(cell[0], 8)
        arrays = [heads(images, cell[2], seed) for seed in range(BUFFERS)]
        causes = [head_differences(peer(torch.from_numpy(each).to(device, cell[1])), each) for each in arrays]
        row = {"cell": name_of((images, *cell[1:])), "differs": sum(causes, Counter()), "images": images * BUFFERS}
        rows += [] if row in rows else [row]
    for n in SIZES:
        lists = [crowded(n, seed=seed) for seed in range(BUFFERS)]
        kept = [batched_nms(*(torch.from_numpy(part).to(device) for part in each), IOU) for each in lists]
        causes = [nms_difference(one, each) for one, each in zip(kept, lists, strict=True)]
        rows.append({"cell": f"nms of {n:,} boxes", "differs": sum(causes, Counter()), "images": BUFFERS})
    return rows


def itemised(rows: list[Row]) -> list[str]:
    """A line for each cell and cause; the images without one last."""
    lines = ["", "torchvision keeps other boxes than the reference, images by cause:"]
    total: Counter[str] = Counter()
    for row in rows:
        if "differs" in row:
            total += row["differs"]
            lines.append(f"{row['cell']:44} {row['differs'].total():4} of {row['images']}")
            named = sorted(one for one in row["differs"] if one != UNEXPLAINED)
            lines += [f"{row['differs'][cause]:8}  {cause}" for cause in named]
    return [*lines, f"unexplained: {total[UNEXPLAINED]} of {total.total()}"]


def unexplained(rows: list[Row]) -> int:
    return sum(row.get("differs", Counter())[UNEXPLAINED] for row in rows)


def report(rows: list[Row], facts: dict[str, Any]) -> str:
    lines = [f"{'cell':44} {'graph us':>9} {'target':>7} {'call us':>9} {'torchvision':>12} {'ratio':>7}  exact"]
    for row in rows:
        peer = row.get("torchvision")
        ratio = "" if peer is None else f"{peer / row['graph']:.1f}x"
        lines.append(
            f"{row['cell']:44} {row['graph']:9.1f} {row['target'] or '':>7} {row['call']:9.1f} "
            f"{'' if peer is None else f'{peer:.1f}':>12} {ratio:>7}  {row['exact']}"
        )
    return "\n".join([*lines, *itemised(rows), *(f"{name}: {value}" for name, value in facts.items())])


def measure(name: str) -> int:
    import triton

    from boxmill.post import gpu

    began = time.perf_counter()
    gpu.postprocess(HEAD, torch.from_numpy(heads(1, 300, 0)).cuda(), NETWORK)
    torch.cuda.synchronize()
    first = time.perf_counter() - began
    peer = torchvision_pipeline()
    rows = [head_row(cell, peer) for cell in CELLS] + [nms_row(n, peer is not None) for n in SIZES]
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
    places = [Path(__file__).parent / "results" / f"gpu-{name}.json"]
    places += [Path(os.environ["OUT"]) / "gpu_post.json"] if os.environ.get("OUT") else []
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(report(rows, facts))
    return 0 if all(row["exact"] for row in rows) and not unexplained(rows) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="post")
    parser.add_argument("--differences", action="store_true", help="measure nothing, and do without a GPU")
    options = parser.parse_args()
    found = torch.cuda.is_available()
    if options.differences and (peer := torchvision_pipeline()) is not None:
        rows = only_differences("cuda" if found else "cpu", peer)
        print("\n".join(itemised(rows)[1:]))
        return 1 if unexplained(rows) else 0
    if options.differences or not found:
        missing = "torchvision" if options.differences else "CUDA device"
        print(f"gpu_post: no {missing} here; nothing was measured", file=sys.stderr)
        return 3
    return measure(options.name)


if __name__ == "__main__":
    sys.exit(main())
