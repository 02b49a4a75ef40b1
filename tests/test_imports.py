"""What importing costs: numpy and the native module, nothing heavier, until it is needed."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import boxmill

HEAVY = ("torch", "cv2", "openvino", "onnxruntime", "yaml", "msgspec", "rich", "cyclopts")


def loaded_by(statement: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter has after `statement`."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import boxmill", "import boxmill.post"])
def test_importing_the_library_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement).isdisjoint(HEAVY)


COMPAT = ", ".join(
    f"boxmill.post.compat.{name}" for name in ("opencv", "torchvision", "ultralytics", "yolov5", "yolov9")
)


@pytest.mark.parametrize("statement", ["import boxmill.post", f"import {COMPAT}"])
def test_post_needs_only_numpy_and_the_native_module(statement: str) -> None:
    own = {"boxmill"}
    extra = loaded_by(statement) - loaded_by("import numpy") - own
    assert not {name for name in extra if name not in sys.stdlib_module_names}


def test_the_evaluator_is_loaded_when_it_is_needed() -> None:
    assert loaded_by("import boxmill.evaluate").isdisjoint({"hotcoco", "pycocotools", "torch", "openvino", "cv2"})


def test_the_command_line_loads_no_runtime_before_it_runs() -> None:
    assert loaded_by("from boxmill.cli import run_command").isdisjoint({"torch", "openvino", "onnxruntime", "cv2"})


ROOMS = (
    ".compare",
    ".convert",
    ".engine",
    ".errors",
    ".evaluate",
    ".images",
    ".models",
    ".post",
    ".render",
    ".report",
    ".runtimes",
    ".sources",
    ".store",
    ".types",
)


@pytest.mark.parametrize("room", ["", ".cli", *ROOMS])
def test_every_exported_name_exists_and_is_sorted(room: str) -> None:
    module = importlib.import_module(f"boxmill{room}")
    assert all(hasattr(module, name) for name in module.__all__)
    assert list(module.__all__) == sorted(module.__all__, key=lambda name: (not name.isupper(), name.islower(), name))


def test_version_is_a_version() -> None:
    assert all(part.isdigit() for part in boxmill.__version__.split("."))
