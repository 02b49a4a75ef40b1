"""Where the kernels run: on a GPU where there is one, otherwise in Triton's interpreter, on tensors of the CPU.

Triton reads TRITON_INTERPRET when it is imported, which no test has done yet when this file is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TRITON_INTERPRET", "0" if list(Path("/dev").glob("nvidia[0-9]*")) else "1")

REASON = "needs a CUDA device"


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    interpreted = os.environ["TRITON_INTERPRET"] == "1"
    if request.param == "cuda":
        if interpreted or not torch.cuda.is_available():
            pytest.skip(REASON)
        yield "cuda"
        return
    if not interpreted:
        pytest.skip("the interpreter is off where there is a GPU; TRITON_INTERPRET=1 turns it on")
    from boxmill.post.gpu import launch

    # few programs, so that they loop, and small steps, which the interpreter takes one by one
    monkeypatch.setattr(launch, "PROGRAMS", 2)
    monkeypatch.setattr(launch, "FEWEST_PROGRAMS", 2)
    monkeypatch.setattr(launch, "SOFT_ROWS", 16)
    with np.errstate(all="ignore"):
        yield "cpu"


@pytest.fixture
def cuda(device: str) -> str:
    """Only on a GPU."""
    if device != "cuda":
        pytest.skip(REASON)
    return device
