"""A worker with the real loop and a decoder that obeys its input: `crash`, `hang`, `eat`; else a made-up picture."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import partial

import numpy as np

from boxmill.engine import Job, Run, TimeTable, WorkerLink
from boxmill.images import DecodeLimits
from boxmill.post import Postprocessor
from boxmill.runtimes.fake import FakeRuntime
from boxmill.types import EncodedItem, Frame, HeadSpec, InputSpec, ModelSpec, Outcome

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


class FileStore:
    """A line `I ok` for each input, in one write; kept at once."""

    def __init__(self, path: str, link: WorkerLink) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self.link = link

    def add(self, outcome: Outcome) -> None:
        os.write(self.file, b"%d ok\n" % outcome.index)
        self.link.kept(1)


def items(inputs: list[str]) -> Iterator[EncodedItem]:
    return (EncodedItem(index, f"{index}.png", partial(str.encode, text)) for index, text in enumerate(inputs))


def main() -> int:
    link = WorkerLink(int(sys.argv[1]), int(sys.argv[2]))
    order = link.receive()
    with open(order["journal"]) as lines:
        finished = {int(line.split()[0]) for line in lines}
    job = Job(
        items=(item for item in items(order["inputs"]) if item.index not in finished),
        total=len(order["inputs"]),
        runtime=FakeRuntime(SPEC),
        postprocessor=Postprocessor(SPEC.head),
        store=FileStore(order["journal"], link),
        alone=[item for item in items(order["inputs"]) if item.index in order["alone"]],
        workers=3,
        decode=decode,
        reporter=link,
    )
    run = Run(job)
    link.watch(run.stop)
    link.ready({"runtime": job.runtime.name})

    def work() -> TimeTable:
        return run.execute(lambda progress: link.times(run.table()), interval=0.2)

    return link.conclude(work)


if __name__ == "__main__":
    os._exit(main())
