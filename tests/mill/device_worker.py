"""A worker whose network is on a device that has too little memory now and then, and sometimes faults."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faulty_device import Faults, FaultyDevice

from boxmill import worker
from boxmill.models import Resolution
from boxmill.runtimes import Runtime
from boxmill.settings import RunSettings


def device(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    """Until the first fault has come, one comes early; memory is short whenever it likes."""
    before = len(list(Path(os.environ["FAULTS"]).iterdir()))
    (Path(os.environ["FAULTS"]) / str(os.getpid())).touch()
    faults = Faults(seed=before, memory=0.2, fault=0.4 if before < 2 else 0.0)
    return FaultyDevice(resolution.spec, faults, most_images=8)


if __name__ == "__main__":
    worker.make_runtime = device
    sys.stdout.flush()
    os._exit(worker.main(sys.argv[1:]))
