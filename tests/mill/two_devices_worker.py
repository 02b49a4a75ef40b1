"""A worker at one of several devices that are none: they lose themselves now and then, and the second is slower.

FAULTS names a folder where each worker leaves a file: its device and its process. CALM: nothing goes wrong.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faulty_device import FakeFlight, Faults, FaultyDevice

from boxmill import worker
from boxmill.models import Resolution
from boxmill.runtimes import Runtime
from boxmill.settings import RunSettings
from boxmill.types import Frame, Geometry

SECONDS = {"cuda:0": 0.001, "cuda:1": 0.01}  # an image


class Device(FaultyDevice):
    def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> FakeFlight:
        time.sleep(SECONDS[self.device] * len(images))
        return super().launch(images, geometries)


def device(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    name = f"cuda:{settings.engine.device.removeprefix('cuda:')}"
    assert (settings.engine.workers, workers) == (1, 1), "two threads are divided between two devices"
    if os.environ.get("REFUSED") == name:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nmore of it")
    folder = Path(os.environ["FAULTS"])
    before = 2 if "CALM" in os.environ else len(list(folder.iterdir()))
    (folder / f"{name} {os.getpid()}").touch()
    found = Device(resolution.spec, Faults(seed=before, fault=0.1 if before < 2 else 0.0), most_images=8)
    found.device = name
    return found


if __name__ == "__main__":
    worker.make_runtime = device
    sys.stdout.flush()
    os._exit(worker.main(sys.argv[1:]))
