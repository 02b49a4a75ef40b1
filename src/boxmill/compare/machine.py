"""On what a comparison was measured."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from boxmill import __version__
from boxmill.compare.order import ScriptRuntime

__all__ = ["facts"]

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "opencv-python-headless", "numpy")
_ON_GPUS = ("torch", "triton")


def facts(runtime: ScriptRuntime = "openvino", device: str = "cpu") -> dict[str, Any]:
    """Processor, GPU where one computes, system and versions; JSON-able."""
    found = {"boxmill": __version__, "Python": platform.python_version()}
    for package in (*_PACKAGES, *(_ON_GPUS if runtime == "torch" or device != "cpu" else ())):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        **({} if device == "cpu" else {"gpu": _gpu(device)}),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": found,
    }


def _gpu(device: str) -> str:
    import torch

    name: str = torch.cuda.get_device_name(device)
    return name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
