"""What people have to know of a table, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from boxmill.compare.order import ScriptRuntime
from boxmill.compare.programs import Plan, Program, Script
from boxmill.compare.rows import Row
from boxmill.compare.steps import SCRIPTED_HEADS

__all__ = ["notes"]

_NAMES: Mapping[ScriptRuntime, str] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}


def notes(plan: Plan, every: Sequence[Program], rows: Sequence[Row], mine: Mapping[str, Any]) -> Iterator[str]:
    """How the scripts and boxmill computed, what was left out, and what the AP is of.

    Args:
        plan: of the comparison.
        every: all programs.
        rows: those that took part.
        mine: boxmill's effective settings; empty where they are not known.
    """
    yield f"{_scripts(plan, every, rows)}. {_steps(plan)}"
    shape = "each image's own rectangle" if mine.get("rect") else "the square"
    where = f" on {plan.device}" * (plan.device != "cpu")
    yield f"boxmill: {mine.get('runtime')} in {mine.get('precision')}{where}, {shape}, {mine.get('workers')} workers."
    for row in rows:
        if row.samples[0].failed:
            failed, images = row.samples[0].failed, row.samples[0].images
            yield f"({row.letter}) left {failed} of {images} images out: it cannot read them."
    if any(row.ap is not None for row in rows):
        yield (
            f"AP: COCO's, of what each program wrote in this very run, so above score {plan.limits.conf:g}; it "
            "compares these programs, and with published figures only below a --conf of 0.01. (a) computes what (b) "
            "computes."
        )


def _scripts(plan: Plan, every: Sequence[Program], rows: Sequence[Row]) -> str:
    """What ran the scripts' network."""
    scripts = {one.letter: one for one in every if isinstance(one, Script)}
    runtime, half = scripts["b"].runtime, scripts["c'"]
    if plan.device != "cpu":
        text = (
            f"Scripts run the network through {_NAMES[runtime]} on {plan.device}, with arrays in and out, in fp32 as "
            "that is computed by default (TF32 where the GPU has it)"
        )
    elif runtime == "openvino":
        text = "ONNX Runtime is not installed (pip install 'boxmill[compare]'): scripts run through OpenVINO in fp32"
    else:
        text = f"Scripts run the network through {_NAMES[runtime]} with its default threads"
    if not any(row.letter == half.letter for row in rows):
        return text
    if half.runtime != runtime:
        return f"{text}; (c') through {_NAMES[half.runtime]}, since ONNX Runtime computes in fp32 on a CPU"
    converted = plan.device != "cpu" and runtime == "onnxruntime"
    return f"{text}; (c') runs the same checkpoint, converted to float16" if converted else text


def _steps(plan: Plan) -> str:
    post = "NumPy and OpenCV's NMS" if plan.spec.head.type in SCRIPTED_HEADS else "boxmill.post"
    height, width = plan.spec.input.size
    return f"They decode and letterbox to the whole {width}x{height} with OpenCV; boxes by {post}."
