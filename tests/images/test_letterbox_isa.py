"""These tests demand the references' bits; they pass under every instruction set that runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boxmill import _native


@pytest.mark.parametrize("isa", [name for name in _native.isas() if name != _native.isa()])
def test_resizing_tests_pass_under(isa):
    tests = [str(Path(__file__).with_name(name)) for name in ("test_letterbox.py", "test_crop.py")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests],
        env={**os.environ, "BOXMILL_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
