"""A worker with the real loop and a decoder that obeys its input: `crash`, `hang`, `eat`; else a made-up picture."""

from __future__ import annotations

import ctypes
import os
import sys

import numpy as np
from file_worker import FileStore, conclude, ordered_job

from boxmill.engine import Run, WorkerLink
from boxmill.images import DecodeLimits
from boxmill.runtimes.fake import FakeRuntime
from boxmill.types import Frame, HeadSpec, InputSpec, ModelSpec

SPEC = ModelSpec(InputSpec(size=(64, 64), dynamic=True), HeadSpec("yolo"), ("cat", "dog"))


def decode(data: bytes, key: str, limits: DecodeLimits) -> Frame:
    if data == b"crash":
        ctypes.string_at(0)  # a real segmentation fault
    elif data == b"hang":
        ctypes.PyDLL(None).sleep(1000)  # holds the GIL: no thread of this process can do anything about it
    elif data == b"eat":
        keep = [np.ones(40 << 20, np.uint8) for _ in range(10)]
        ctypes.CDLL(None).sleep(1000)
        del keep
    rng = np.random.default_rng(data)
    return Frame(key, rng.integers(0, 255, (48, 64, 3), np.uint8))


def main() -> int:
    link = WorkerLink(int(sys.argv[1]), int(sys.argv[2]))
    order = link.receive()
    runtime, store = FakeRuntime(SPEC), FileStore(order["journal"], link)
    job = ordered_job(order, link, runtime, store, workers=3, decode=decode)
    return conclude(link, job, Run(job), {"runtime": runtime.name}, interval=0.2)


if __name__ == "__main__":
    os._exit(main())
