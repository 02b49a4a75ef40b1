"""What the compiler makes of each kernel, for sm_80 and sm_90: no GPU is needed for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

KERNELS = {
    "all_classes",
    "best_classes",
    "more_survivors",
    "order",
    "plain_boxes",
    "soft_survivors",
    "suppression",
    "survivors",
}
WITH_IOU = {"more_survivors", "soft_survivors", "suppression"}


@pytest.fixture(scope="module", params=["80", "90"])
def compiled(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("compile_kernels.py")
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    command = [sys.executable, str(script), request.param]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kernel_compiles_and_fits(compiled: list[dict[str, Any]]) -> None:
    assert {each["kernel"] for each in compiled} == KERNELS
    for each in compiled:
        assert each["reg"] <= 255, each
        assert each["local"] == 0, each
        assert each["stack"] <= 16, each  # spilled registers would lie there; a call to the division needs a little
        assert each["shared"] <= 48 * 1024, each


def test_arithmetic_is_rounded_as_the_reference_does(compiled: list[dict[str, Any]]) -> None:
    """No fused multiply-add, no approximate division; exp in double has its own fused ones, and is rounded after."""
    for each in compiled:
        assert each["single_fma"] == 0, each
        assert each["other_divisions"] == 0, each
        assert each["double_fma"] == 0 or each["exponential"], each
        assert each["exact_divisions"] > 0 or each["kernel"] not in WITH_IOU, each
