"""A worker whose decoder does what its input's name says: crash, hang or eat memory; a good decoder for the rest."""

from __future__ import annotations

import ctypes
import os
import sys

import numpy as np

from boxmill import worker
from boxmill.images import DecodeLimits, decode
from boxmill.types import Frame

EATEN = 512  # MiB, well above a worker of the fake runtime and the limit that the tests set


def evil(data: bytes, key: str, limits: DecodeLimits) -> Frame:
    name = key.rsplit("/", 1)[-1]
    if name.startswith("crash"):
        ctypes.string_at(0)  # a real segmentation fault
    elif name.startswith("hang"):
        ctypes.PyDLL(None).sleep(1000)  # holds the GIL: no thread of this process can do anything about it
    elif name.startswith("eat"):
        keep = [np.ones(16 << 20, np.uint8) for _ in range(EATEN // 16)]
        ctypes.CDLL(None).sleep(1000)
        del keep
    elif name.startswith("slow"):
        ctypes.CDLL(None).usleep(150_000)
    return decode(data, key, limits)


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(worker.main(sys.argv[1:], evil))
