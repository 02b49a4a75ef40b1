"""What is compared: the plan, the programs that follow from it, and those that this machine or this network refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from boxmill.compare.order import Limits, Precision, ScriptRuntime
from boxmill.compare.rows import Missing
from boxmill.errors import UsageError
from boxmill.models import read_onnx
from boxmill.runtimes.openvino import has_native_bf16
from boxmill.types import ModelSpec

__all__ = [
    "NO_HALF",
    "Mill",
    "Plan",
    "Program",
    "Script",
    "missing_half",
    "needs_half_file",
    "network_of",
    "programs",
    "refused",
]

NO_HALF = (
    "ONNX Runtime computes in its file's precision, and only YOLOv9 checkpoints (.pt) are converted to float16 here"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    source: str
    network: Path  # an ONNX file; for torch, the checkpoint
    spec: ModelSpec
    limits: Limits
    mill: tuple[str, ...]  # flags of `boxmill run` behind the source
    cores: int
    reload_images: int = 10  # that the script which loads for each image works on
    batch: int = 8  # of the scripts; boxmill finds its own
    rounds: int = 1
    factors: bool = False  # boxmill without half precision and without rectangles too
    runtime: ScriptRuntime = "openvino"  # boxmill's
    device: str = "cpu"  # or cuda:N, boxmill's and the scripts'
    half: Path | str = NO_HALF  # the network in float16, for ONNX Runtime on a GPU; a text says why there is none

    def check(self) -> None:
        """Raises UsageError."""
        counts = {"--reload-images": self.reload_images, "--batch": self.batch, "--rounds": self.rounds}
        for flag, count in counts.items():
            if count < 1:
                raise UsageError(f"{flag}: expected 1 or more, got {count}")
        if self.spec.task != "detect" or self.spec.input.resize == "center_crop":
            raise UsageError("boxmill compare compares detectors; this model is a tagger")


@dataclass(frozen=True, slots=True)
class Script:
    """A script as people write it."""

    letter: str
    title: str
    runtime: ScriptRuntime
    precision: Precision
    reload: bool
    batch: int


@dataclass(frozen=True, slots=True)
class Mill:
    """boxmill, with flags of `boxmill run` behind those of the plan."""

    letter: str
    title: str
    flags: tuple[str, ...]


Program = Script | Mill


def programs(plan: Plan) -> list[Program]:
    """In the order of the table."""
    runtime, batches = _scripts_runtime(plan), f"script, batches of {plan.batch}"
    half_runtime, half = _half(plan)
    found: list[Program] = [
        Script("a", "script, network loaded for each image", runtime, "fp32", True, 1),
        Script("b", "script, loaded once, one by one", runtime, "fp32", False, 1),
        Script("c", batches, runtime, "fp32", False, plan.batch),
        Script("c'", f"{batches}, {half}", half_runtime, half, False, plan.batch),
        Mill("d", "boxmill", ()),
    ]
    if plan.factors:
        factors = (
            Mill("d1", "boxmill, fp32", ("--precision", "fp32")),
            Mill("d2", "boxmill, square", ("--no-rect",)),
            Mill("d3", "boxmill, fp32, square", ("--precision", "fp32", "--no-rect")),
        )
        # through ONNX Runtime boxmill is in fp32 already
        found += [one for one in factors if plan.runtime != "onnxruntime" or "--precision" not in one.flags]
    return found


def _scripts_runtime(plan: Plan) -> ScriptRuntime:
    """That of boxmill; for OpenVINO, which few scripts use, ONNX Runtime where it is installed."""
    if plan.runtime == "openvino" and find_spec("onnxruntime") is not None:
        return "onnxruntime"
    return plan.runtime


def _half(plan: Plan) -> tuple[ScriptRuntime, Precision]:
    """Half precision, and what computes in it: on a CPU ONNX Runtime does not."""
    if plan.device != "cpu":
        return plan.runtime, "fp16"
    return ("torch" if plan.runtime == "torch" else "openvino"), "bf16"


def needs_half_file(plan: Plan) -> bool:
    """Whether (c') runs a network file of its own."""
    return plan.device != "cpu" and plan.runtime == "onnxruntime"


def network_of(plan: Plan, one: Script) -> Path:
    """The file that a script loads."""
    own = one.precision == "fp16" and needs_half_file(plan)
    return plan.half if own and isinstance(plan.half, Path) else plan.network


def missing_half(plan: Plan) -> str | None:
    """Why half precision cannot take part, if it cannot."""
    if plan.device == "cpu":
        return None if has_native_bf16() else "this processor has no bfloat16 instructions"
    return plan.half if needs_half_file(plan) and isinstance(plan.half, str) else None


def refused(plan: Plan, every: Sequence[Program]) -> Iterator[Missing]:
    """What this network or this machine cannot do, known before anything runs."""
    fixed = None if plan.runtime == "torch" else (read_onnx(plan.network).inputs[0].dims or (None,))[0]
    half = missing_half(plan)
    for one in every:
        if not isinstance(one, Script):
            continue
        if one.precision != "fp32" and half is not None:
            yield Missing(one.letter, one.title, half)
        elif one.batch > 1 and isinstance(fixed, int) and fixed != one.batch:
            yield Missing(one.letter, one.title, f"the network takes batches of {fixed} only")
