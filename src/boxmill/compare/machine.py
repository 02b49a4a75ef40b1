"""On what a comparison was measured."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from boxmill import __version__

__all__ = ["facts"]

_PACKAGES = ("onnxruntime", "openvino", "opencv-python-headless", "numpy")


def facts() -> dict[str, Any]:
    """Processor, system and versions; JSON-able."""
    found = {"boxmill": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": found,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
