"""The script that people write, as a process: `python -m boxmill.compare.script ORDER`.

Everything in one thread, one step after the other: OpenCV decodes, resizes and pads to the network's square, the
network runs with its runtime's default threads, or on a GPU with arrays in and out, NumPy and OpenCV's NMS make boxes,
a JSON file is written for each image. What the network is loaded for (each image, or once) and how many images share a
call is the order's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import msgspec
import numpy as np

from boxmill.compare.networks import Infer, loader
from boxmill.compare.order import Finished, Order
from boxmill.compare.steps import Objects, detect, read_pixels, to_tensor
from boxmill.images import geometry, tensor_shape
from boxmill.types import Float32, Geometry

__all__ = ["main", "work"]


def main() -> None:
    """Reads the order that the only argument names and writes the answer where that says."""
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    Path(os.fsdecode(order.answer)).write_bytes(msgspec.json.encode(work(order)))


def work(order: Order) -> Finished:
    """Does what a script does. Loading is timed only where it is part of each image's work, imports never are."""
    for key, _ in order.images:
        _file(order, key).parent.mkdir(parents=True, exist_ok=True)
    load = loader(order)
    network = None if order.reload else _warm(order, load())
    objects = failed = 0
    wall, cpu = perf_counter(), process_time()
    for chunk in _chunks(order):
        found = _batch(order, network or load(), chunk)
        objects += sum(found)
        failed += len(chunk) - len(found)
    return Finished(perf_counter() - wall, process_time() - cpu, objects, failed)


def _warm(order: Order, network: Infer) -> Infer:
    """Run once on nothing: a first call is slower, and no script is judged by it."""
    network(np.zeros((order.batch, *tensor_shape(order.spec.input.size, order.spec.input)), np.float32))
    return network


def _chunks(order: Order) -> Iterator[Sequence[tuple[str, bytes]]]:
    for start in range(0, len(order.images), order.batch):
        yield order.images[start : start + order.batch]


def _batch(order: Order, network: Infer, chunk: Sequence[tuple[str, bytes]]) -> list[int]:
    """How many objects each readable image of the chunk has."""
    keys: list[str] = []
    places: list[Geometry] = []
    tensors: list[Float32] = []
    for key, path in chunk:
        pixels = read_pixels(path)
        if pixels is None:
            print(f"{key}: OpenCV cannot read it, left out", file=sys.stderr)  # noqa: T201 - this is a script
            continue
        place = geometry((pixels.shape[0], pixels.shape[1]), order.spec.input)
        keys.append(key)
        places.append(place)
        tensors.append(to_tensor(pixels, place, order.spec.input))
    if not keys:
        return []
    raw = network(np.stack(tensors))
    counts = []
    for number, (key, place) in enumerate(zip(keys, places, strict=True)):
        own = [output[number : number + 1] if len(keys) > 1 else output for output in raw]  # some have no batch at all
        found = detect([np.asarray(one, np.float32) for one in own], order.spec, order.limits, place)
        text = json.dumps(_document(key, place, found, order.spec.names), ensure_ascii=False, indent=2)
        _file(order, key).write_text(text, encoding="utf-8")
        counts.append(len(found[1]))
    return counts


def _file(order: Order, key: str) -> Path:
    return Path(os.fsdecode(order.folder), f"{key}.json")


def _document(key: str, place: Geometry, found: Objects, names: Sequence[str]) -> dict[str, Any]:
    rows = zip(found[0].tolist(), found[1].tolist(), found[2].tolist(), strict=True)
    height, width = place.source
    objects = [
        {
            "label": names[int(class_id)],
            "class_id": int(class_id),
            "confidence": round(score, 6),
            "bbox": [round(side, 2) for side in box],
        }
        for box, score, class_id in rows
    ]
    return {"image": key, "width": width, "height": height, "objects": objects}


if __name__ == "__main__":
    main()
