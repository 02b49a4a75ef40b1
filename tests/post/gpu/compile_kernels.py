"""Compiles every kernel as real calls would launch it, without a GPU, and prints what came out: one JSON line each.

python compile_kernels.py 90        # the architecture; run in a process of its own, without TRITON_INTERPRET
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from boxmill.post import gpu
from boxmill.post.gpu import launch
from boxmill.types import HeadSpec

POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
}
PATTERNS = {
    "single_fma": r"\bfma\.rn(\.ftz)?\.f32|\bmad\.f32",
    "double_fma": r"\bfma\.rn\.f64",
    "exact_divisions": r"\bdiv\.rn\.f32",
    "other_divisions": r"\bdiv\.(full|approx)|\brcp\.approx|\bdiv\.rn\.ftz",
}
Launch = tuple[Any, dict[str, str], dict[str, Any], dict[tuple[int], Any], int]


def described(kernel: Any, warps: int, arguments: dict[str, Any]) -> Launch:
    """Types, constants and divisibility as Triton's launcher derives them from the arguments."""
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int], Any] = {}
    for i, parameter in enumerate(kernel.params):
        name, value = parameter.name, arguments[parameter.name]
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
            attributes[(i,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    return kernel, signature, constants, attributes, warps


def launches() -> list[Launch]:
    """Every kernel: of an fp16 yolo head, multi-label, a yolov5 head of logits, both soft ones, and boxes."""
    found: dict[str, Launch] = {}

    def record(kernel: Any, grid: Any, warps: int, arguments: dict[str, Any]) -> None:
        one = described(kernel, warps, arguments)
        found[f"{kernel.__name__} {one[1]} {one[2]}"] = one

    boxes = torch.empty(1, 1000, 4), torch.empty(1, 1000), torch.empty(1, 1000, dtype=torch.int64)
    head, logits = HeadSpec("yolo"), HeadSpec("yolov5", activation="sigmoid")
    raw, rows = torch.empty(2, 84, 8400, dtype=torch.float16), torch.empty(2, 8400, 85)
    with (
        mock.patch.object(launch, "launch", record),
        mock.patch("boxmill.post.gpu.postprocess.check_device"),
        mock.patch("boxmill.post.gpu.boxes.check_device"),
    ):
        gpu.postprocess(head, raw, (640, 640), torch.empty(2, 6))
        gpu.postprocess(head, raw, (640, 640), multi_label=True, iou=None)
        gpu.postprocess(logits, rows, (640, 640), nms="soft")
        gpu.postprocess(logits, rows, (640, 640), nms="soft-gaussian")
        with mock.patch.object(launch, "BITS_BYTES", 2**16):
            gpu.batched_nms(*boxes)
    return list(found.values())


def registers(cubin: bytes) -> dict[str, int]:
    """What cuobjdump, which comes with Triton, reads from the code."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return {name.lower(): int(re.search(rf"{name}:(\d+)", text)[1]) for name in ("REG", "STACK", "LOCAL")}  # type: ignore[index]


def main() -> None:
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    for kernel, signature, constants, attributes, warps in launches():
        options = {"num_warps": warps, "enable_fp_fusion": False}
        code = triton.compile(ASTSource(kernel, signature, constants, attributes), target=target, options=options)
        counts = {name: len(re.findall(pattern, code.asm["ptx"])) for name, pattern in PATTERNS.items()}
        exponential = bool(constants.get("SIGMOID") or constants.get("GAUSSIAN"))
        shared = {"shared": code.metadata.shared, "warps": warps, "exponential": exponential}
        line = json.dumps({"kernel": kernel.__name__} | counts | shared | registers(code.asm["cubin"]))
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
