"""Every program over the same images: each in a fresh process, one after the other, rounds interleaved."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from boxmill.compare.judged import write_judged
from boxmill.compare.machine import facts
from boxmill.compare.order import Finished, Limits, Order, Precision, ScriptRuntime
from boxmill.compare.rows import Comparison, Missing, Row, Sample
from boxmill.compare.steps import SCRIPTED_HEADS
from boxmill.compare.watch import Watched, check_psutil, watch
from boxmill.errors import BoxmillError, ModelError, OutputError, SourceError, UsageError
from boxmill.models import read_onnx
from boxmill.runtimes.openvino import has_native_bf16
from boxmill.sources import Listing, list_source, locate
from boxmill.types import ModelSpec

__all__ = ["Plan", "compare", "listed"]

_PYTHON = (sys.executable, "-P", "-m")  # -P: the folder of the call may hold a numpy.py
_ERRORS: Mapping[int, type[BoxmillError]] = {2: UsageError, 3: SourceError, 4: ModelError, 6: OutputError}
Judge = Callable[[Path], float | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    source: str
    network: Path  # an ONNX file
    spec: ModelSpec
    limits: Limits
    mill: tuple[str, ...]  # flags of `boxmill run` behind the source
    cores: int
    reload_images: int = 10  # that the script which loads for each image works on
    batch: int = 8
    rounds: int = 1
    factors: bool = False  # boxmill without bf16 and without rectangles too

    def check(self) -> None:
        """Raises UsageError."""
        counts = {"--reload-images": self.reload_images, "--batch": self.batch, "--rounds": self.rounds}
        for flag, count in counts.items():
            if count < 1:
                raise UsageError(f"{flag}: expected 1 or more, got {count}")
        if self.spec.task != "detect" or self.spec.input.resize == "center_crop":
            raise UsageError("boxmill compare compares detectors; this model is a tagger")


@dataclass(frozen=True, slots=True)
class _Script:
    letter: str
    title: str
    runtime: ScriptRuntime
    precision: Precision
    reload: bool
    batch: int


@dataclass(frozen=True, slots=True)
class _Mill:
    letter: str
    title: str
    flags: tuple[str, ...]


_Program = _Script | _Mill


@dataclass(slots=True)
class _Gathered:
    """What has been measured so far."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    aps: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, Missing] = field(default_factory=dict)
    mill: dict[str, Any] = field(default_factory=dict)  # boxmill's effective settings


def listed(source: str) -> Listing:
    """The source's images, which scripts take as files.

    Raises:
        SourceError: there are none, or they are members of an archive.
    """
    if locate(source).kind == "archive":
        raise SourceError(f"{source!r} is an archive: boxmill reads it as it is, the scripts need files; unpack it")
    return list_source(source)


def compare(plan: Plan, work: Path, tell: Callable[[str], None], judge: Judge | None = None) -> Comparison:
    """Runs every program.

    Args:
        plan: what is compared.
        work: an empty folder for results, on the disk that results are to be written to; the caller removes it.
        tell: gets a line before each program.
        judge: average precision of a run at a folder; None: there is no ground truth.

    Raises:
        UsageError: psutil is missing or a number is out of range; SourceError: no image files;
        BoxmillError: boxmill itself did not run.
    """
    check_psutil()
    plan.check()
    listing = listed(plan.source)
    images = [(key, listing.path(key)) for key in listing.keys]
    _warm_files(images)
    programs, found = _programs(plan), _Gathered()
    _refuse_batches(plan, programs, found)
    for number in range(plan.rounds):
        turn = number * len(programs) // plan.rounds
        for program in programs[turn:] + programs[:turn]:
            if program.letter in found.missing:
                continue
            tell(f"({program.letter}) {program.title}" + f", round {number + 1} of {plan.rounds}" * (plan.rounds > 1))
            folder = work / f"{number}-{program.letter}"
            folder.mkdir()
            if isinstance(program, _Script):
                _run_script(plan, program, images, folder, found, judge)
            else:
                _run_mill(plan, program, folder, found, judge)
    return _table(plan, programs, len(images), found)


def _warm_files(images: Sequence[tuple[str, bytes]]) -> None:
    """Every file once through the system's cache, so that the first program does not pay for all."""
    for _, path in images:
        with suppress(OSError), open(path, "rb") as file:  # what cannot be read fails in every program
            while file.read(1 << 20):
                pass


def _programs(plan: Plan) -> list[_Program]:
    runtime: ScriptRuntime = "openvino" if find_spec("onnxruntime") is None else "onnxruntime"
    programs: list[_Program] = [
        _Script("a", "script, network loaded for each image", runtime, "fp32", True, 1),
        _Script("b", "script, loaded once, one by one", runtime, "fp32", False, 1),
        _Script("c", f"script, batches of {plan.batch}", runtime, "fp32", False, plan.batch),
        _Script("c'", f"script, batches of {plan.batch}, bf16", "openvino", "bf16", False, plan.batch),
        _Mill("d", "boxmill", ()),
    ]
    if plan.factors:
        programs += [
            _Mill("d1", "boxmill, fp32", ("--precision", "fp32")),
            _Mill("d2", "boxmill, square", ("--no-rect",)),
            _Mill("d3", "boxmill, fp32, square", ("--precision", "fp32", "--no-rect")),
        ]
    return programs


def _refuse_batches(plan: Plan, programs: Sequence[_Program], found: _Gathered) -> None:
    """What this network or this processor cannot do is known before anything runs."""
    first = (read_onnx(plan.network).inputs[0].dims or (None,))[0]
    for one in programs:
        if not isinstance(one, _Script):
            continue
        if one.precision == "bf16" and not has_native_bf16():
            found.missing[one.letter] = Missing(one.letter, one.title, "this processor has no bfloat16 instructions")
        elif one.batch > 1 and isinstance(first, int) and first != one.batch:
            found.missing[one.letter] = Missing(one.letter, one.title, f"the network takes batches of {first} only")


def _run_script(
    plan: Plan, one: _Script, images: Sequence[tuple[str, bytes]], folder: Path, found: _Gathered, judge: Judge | None
) -> None:
    chosen = _spread(images, plan.reload_images) if one.reload else list(images)
    order = Order(
        network=os.fsencode(plan.network.absolute()),
        spec=plan.spec,
        limits=plan.limits,
        runtime=one.runtime,
        precision=one.precision,
        reload=one.reload,
        batch=one.batch,
        images=chosen,
        folder=os.fsencode((folder / "json").absolute()),
        answer=os.fsencode((folder / "answer.json").absolute()),
    )
    order.write(folder / "order.json")
    seen = watch([*_PYTHON, "boxmill.compare.script", str(folder / "order.json")], folder)
    if seen.code:
        found.missing[one.letter] = Missing(one.letter, one.title, f"it ended with {seen.code}: {_last(seen.errors)}")
        return
    done = msgspec.json.decode((folder / "answer.json").read_bytes(), type=Finished)
    found.samples[one.letter].append(
        _sample(seen, len(chosen), done.wall, done.cpu, objects=done.objects, failed=done.failed)
    )
    if judge is not None and not one.reload and one.letter not in found.aps:
        found.aps[one.letter] = judge(write_judged(order, folder / "judged"))


def _run_mill(plan: Plan, one: _Mill, folder: Path, found: _Gathered, judge: Judge | None) -> None:
    flags = ["--project", str(folder), "--name", "run", "--allow-failed", "100%", "--json", "--quiet"]
    seen = watch([*_PYTHON, "boxmill", "run", plan.source, *plan.mill, *one.flags, *flags], folder)
    if seen.code:
        kind = _ERRORS.get(seen.code, BoxmillError)
        raise kind(f"({one.letter}) {one.title}: ended with {seen.code}: {_last(seen.errors)}")
    done = msgspec.json.decode(seen.output)
    found.mill.setdefault(one.letter, {**done["settings"], "workers": done["workers"]})
    counts = {"objects": done["objects"], "failed": done["failed"]["count"]}
    found.samples[one.letter].append(_sample(seen, done["total_images"], done["wall"], done["cpu"], **counts))
    if judge is not None and one.letter not in found.aps:
        found.aps[one.letter] = judge(folder / "run")


def _sample(seen: Watched, images: int, wall: float, cpu: float, *, objects: int, failed: int) -> Sample:
    return Sample(images, wall, seen.wall, cpu, seen.peak_memory, seen.gpu, objects, failed)


def _spread(images: Sequence[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """So many of the images, from the first to the last at equal distances; all where there are no more."""
    if count >= len(images):
        return list(images)
    return [images[number * len(images) // count] for number in range(count)]


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _table(plan: Plan, programs: Sequence[_Program], total: int, found: _Gathered) -> Comparison:
    rows = tuple(
        Row(one.letter, one.title, total, tuple(found.samples[one.letter]), found.aps.get(one.letter))
        for one in programs
        if one.letter not in found.missing
    )
    order = [one.letter for one in programs]
    missing = tuple(sorted(found.missing.values(), key=lambda one: order.index(one.letter)))
    about = {
        **facts(),
        "source": plan.source,
        "images": total,
        "network": plan.network.name,
        "network_size": list(plan.spec.input.size),
        "conf": plan.limits.conf,
        "iou": plan.limits.iou,
        "max_det": plan.limits.max_det,
        "judged": bool(found.aps),
        "boxmill_settings": found.mill,
    }
    return Comparison(rows, missing, plan.cores, about, tuple(_notes(plan, programs, rows, found)))


def _notes(plan: Plan, programs: Sequence[_Program], rows: Sequence[Row], found: _Gathered) -> list[str]:
    runtime = next(one.runtime for one in programs if isinstance(one, _Script))
    if runtime == "onnxruntime":
        notes = ["Scripts run the network through ONNX Runtime with its default threads"]
    else:
        notes = ["ONNX Runtime is not installed (pip install 'boxmill[compare]'): scripts run through OpenVINO in fp32"]
    if any(row.letter == "c'" for row in rows):
        notes[0] += "; (c') through OpenVINO, since ONNX Runtime computes in fp32 on a CPU" * (runtime != "openvino")
    post = "NumPy and OpenCV's NMS" if plan.spec.head.type in SCRIPTED_HEADS else "boxmill.post"
    notes[0] += f". They decode and letterbox to the whole {_size(plan)} with OpenCV; boxes by {post}."
    mine = found.mill.get("d", {})
    shape = "each image's own rectangle" if mine.get("rect") else "the square"
    notes.append(f"boxmill: {mine.get('runtime')} in {mine.get('precision')}, {shape}, {mine.get('workers')} workers.")
    notes += [
        f"({row.letter}) left {row.samples[0].failed} of {row.samples[0].images} images out: it cannot read them."
        for row in rows
        if row.samples[0].failed
    ]
    if found.aps:
        notes.append(
            f"AP: COCO's, of what each program wrote in this very run, so above score {plan.limits.conf:g}; it "
            "compares these programs, and with published figures only below a --conf of 0.01. (a) computes what (b) "
            "computes."
        )
    return notes


def _size(plan: Plan) -> str:
    return f"{plan.spec.input.size[1]}x{plan.spec.input.size[0]}"
