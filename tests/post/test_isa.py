"""Every instruction set that this processor can run gives the same answers: the post tests pass under each of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boxmill import _native

OTHERS = [name for name in _native.isas() if name != _native.isa()]
REPORT = "from boxmill import _native; print(_native.isa())"


def python(isa: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "BOXMILL_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("isa", OTHERS)
def test_post_tests_pass_under(isa):
    assert python(isa, "-c", REPORT).stdout.strip() == isa
    here = Path(__file__)
    run = python(isa, "-m", "pytest", "-p", "no:cacheprovider", str(here.parent), f"--ignore={here}")
    assert run.returncode == 0, run.stdout + run.stderr


def test_best_is_the_default():
    assert python("", "-c", REPORT).stdout.strip() == _native.isas()[0]


def test_unknown_name_is_refused_with_the_choices():
    run = python("v9", "-c", REPORT)
    assert run.returncode != 0
    assert "ImportError" in run.stderr
    assert "BOXMILL_ISA=v9" in run.stderr
    assert ", ".join(_native.isas()) in run.stderr
