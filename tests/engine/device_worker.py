"""A worker with the loop for devices and a device that fails at random, or always on an input that says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np
from faulty_device import FakeFlight, Faults, FaultyDevice
from file_worker import FileStore, conclude, ordered_job

from boxmill.engine import DEVICE_FAULT, BatchSizes, StagedOptions, StagedRun, WorkerLink
from boxmill.images import DecodeLimits
from boxmill.types import Frame, Geometry, HeadSpec, InputSpec, ModelSpec, Outcome

SPEC = ModelSpec(InputSpec(size=(32, 32), dynamic=True), HeadSpec("yolo"), ("cat", "dog"))


def decode(data: bytes, key: str, limits: DecodeLimits) -> Frame:
    seed = 0 if data == b"poison" else int(data)
    frame = Frame(key, np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8))
    return Frame("poison", frame.pixels) if data == b"poison" else frame


class Device(FaultyDevice):
    """Loses itself over the poison."""

    def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> FakeFlight:
        self.faults.fault = self.usual if all(image.key != "poison" for image in images) else 1.0
        return super().launch(images, geometries)

    usual = 0.0


class BoxStore(FileStore):
    """A line `I DIGEST` for each input: what its objects amount to."""

    def add(self, outcome: Outcome) -> None:
        boxes = getattr(outcome.result, "boxes", np.empty(0))
        os.write(self.file, b"%d %s\n" % (outcome.index, boxes.tobytes().hex()[:64].encode() or b"none"))
        self.link.kept(1)


def main() -> int:
    link = WorkerLink(int(sys.argv[1]), int(sys.argv[2]))
    order = link.receive()
    device = Device(SPEC, Faults(seed=order["seed"], memory=order["memory"]), most_images=8)
    device.usual = order["fault"]
    job = ordered_job(order, link, device, BoxStore(order["journal"], link), workers=2, decode=decode)
    run = StagedRun(job, device, BatchSizes(most=8), StagedOptions(pauses=(0.0,) * 40))
    code = conclude(link, job, run, {"pid": os.getpid(), "place": order.get("place")}, interval=0.01)
    if "faults" in order:  # how many there were: short memory, lost devices
        with open(order["faults"], "a") as file:
            file.write(f"{device.faults.out_of_memory} {device.faults.faults}\n")
    return code


if __name__ == "__main__":
    code = main()
    assert code in (0, DEVICE_FAULT)
    os._exit(code)
