"""The letterbox tests demand the reference's bits; they pass under every instruction set that runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boxmill import _native


@pytest.mark.parametrize("isa", [name for name in _native.isas() if name != _native.isa()])
def test_letterbox_tests_pass_under(isa):
    tests = Path(__file__).with_name("test_letterbox.py")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tests)],
        env={**os.environ, "BOXMILL_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
