"""Which programs run, in which order, and what becomes of one that cannot."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from networks import write_detector
from small_runs import write_photos

from boxmill.api import resolve_model
from boxmill.compare import Comparison, Limits, Plan, compare, listed, machine, markdown, plot, programs
from boxmill.compare import comparison as module
from boxmill.compare.order import Finished, Order
from boxmill.compare.watch import Watched
from boxmill.errors import BoxmillError, ModelError, SourceError, UsageError
from boxmill.settings import ModelSettings

SUMMARY = {
    "total_images": 6, "wall": 0.6, "cpu": 0.9, "objects": 9, "failed": {"count": 1}, "workers": 2,
    "settings": {"runtime": "openvino", "precision": "bf16", "rect": True},
}  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(programs, "has_native_bf16", lambda: True)
    photos = write_photos(tmp_path / "photos", 6)
    weights = write_detector(tmp_path / "tiny.onnx", ("cat", "dog"))
    spec = resolve_model(ModelSettings(weights)).spec
    return Plan(str(photos), weights, spec, Limits(0.25, 0.45, 300), ("--weights", str(weights)), cores=2)


class Stage:
    """In place of `watch`: programs that take no time, and which of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fail: dict[str, str] = {}  # letter -> what it prints
        self.code = 1
        self.orders: dict[str, Order] = {}
        self.commands: dict[str, list[str]] = {}
        monkeypatch.setattr(module, "watch", self.watch)

    def watch(self, command: list[str], folder: Path) -> Watched:
        letter = folder.name.partition("-")[2]
        self.commands[letter] = list(command)
        if letter in self.fail:
            return Watched(self.code, 1.0, 1, None, "", self.fail[letter])
        if "run" in command:
            return Watched(0, 2.0, 200, None, json.dumps(SUMMARY), "")
        order = msgspec.json.decode((folder / "order.json").read_bytes(), type=Order)
        self.orders[letter] = order
        done = Finished(wall=0.3 * len(order.images), cpu=0.3, objects=3, failed=0)
        Path(os.fsdecode(order.answer)).write_bytes(msgspec.json.encode(done))
        return Watched(0, 0.3 * len(order.images) + 1.0, 100, 0.5, "", "")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def run(plan: Plan, tmp_path: Path, **options: Any) -> tuple[Comparison, list[str]]:
    lines: list[str] = []
    work = tmp_path / "work"
    work.mkdir()
    return compare(plan, work, lines.append, **options), lines


def test_every_program_runs_and_is_told_what_it_is(plan: Plan, stage: Stage, tmp_path: Path) -> None:
    found, lines = run(replace(plan, reload_images=3, batch=4), tmp_path)
    assert [row.letter for row in found.rows] == ["a", "b", "c", "c'", "d"]
    assert [line[:4] for line in lines] == ["(a) ", "(b) ", "(c) ", "(c')", "(d) "]
    told = {letter: (one.reload, one.batch, one.precision, one.runtime) for letter, one in stage.orders.items()}
    assert told == {
        "a": (True, 1, "fp32", "onnxruntime"),
        "b": (False, 1, "fp32", "onnxruntime"),
        "c": (False, 4, "fp32", "onnxruntime"),
        "c'": (False, 4, "bf16", "openvino"),
    }
    assert [key for key, _ in stage.orders["a"].images] == ["000.png", "002.png", "004.png"]
    assert len(stage.orders["b"].images) == 6
    assert found.row("a").sampled == 3
    assert found.row("a").total == pytest.approx(1.0 + 6 * 0.3)
    assert found.row("d").per_image == pytest.approx(0.1)
    assert found.row("d").times(found.row("b")) == pytest.approx(3.0)
    assert any("(d) left 1 of 6 images out" in note for note in found.notes)
    times = json.loads(json.dumps(found.document()))["rows"][4]["times"]
    assert times == pytest.approx({"a": 3.0, "b": 3.0, "c": 3.0, "c'": 3.0})


def test_boxmill_is_given_the_same_source_and_flags(plan: Plan, stage: Stage, tmp_path: Path) -> None:
    run(replace(plan, factors=True), tmp_path)
    command = stage.commands["d"]
    assert command[:7] == [sys.executable, "-P", "-m", "boxmill", "run", plan.source, "--weights"]
    assert "--precision" not in command
    assert stage.commands["d1"][8:10] == ["--precision", "fp32"]
    assert stage.commands["d2"][8] == "--no-rect"
    assert stage.commands["d3"][8:11] == ["--precision", "fp32", "--no-rect"]


def test_rounds_are_interleaved_and_begin_with_another_program(plan: Plan, stage: Stage, tmp_path: Path) -> None:
    found, lines = run(replace(plan, rounds=2), tmp_path)
    assert [len(row.samples) for row in found.rows] == [2] * 5
    assert [line.partition(")")[0][1:] for line in lines] == ["a", "b", "c", "c'", "d", "c", "c'", "d", "a", "b"]
    assert lines[0].endswith("round 1 of 2")


def test_a_script_that_fails_is_left_out_and_says_why(plan: Plan, stage: Stage, tmp_path: Path) -> None:
    stage.fail = {"c'": "Traceback\nRuntimeError: no such shape\n\n", "b": ""}
    found, _ = run(replace(plan, rounds=2), tmp_path)
    assert [row.letter for row in found.rows] == ["a", "c", "d"]
    assert [(one.letter, one.reason) for one in found.missing] == [
        ("b", "it ended with 1: it printed nothing"),
        ("c'", "it ended with 1: RuntimeError: no such shape"),
    ]
    assert list(found.document()["rows"][2]["times"]) == ["a", "c"]


@pytest.mark.parametrize(("code", "kind"), [(2, UsageError), (3, SourceError), (4, ModelError), (1, BoxmillError)])
def test_without_boxmill_there_is_no_comparison(
    plan: Plan, stage: Stage, tmp_path: Path, code: int, kind: type[BoxmillError]
) -> None:
    stage.fail, stage.code = {"d": "boxmill: this and that\n"}, code
    with pytest.raises(kind, match="boxmill: this and that"):
        run(plan, tmp_path)


def test_a_network_of_one_image_takes_no_batches(plan: Plan, stage: Stage, tmp_path: Path) -> None:
    weights = write_detector(tmp_path / "fixed.onnx", ("cat", "dog"), dynamic=False)
    found, _ = run(replace(plan, network=weights), tmp_path)
    assert {one.letter: one.reason for one in found.missing} == {
        "c": "the network takes batches of 1 only",
        "c'": "the network takes batches of 1 only",
    }


def test_without_native_bfloat16_there_is_no_such_row(plan: Plan, stage: Stage, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(programs, "has_native_bf16", lambda: False)
    found, _ = run(plan, tmp_path)
    assert [(one.letter, one.reason) for one in found.missing] == [
        ("c'", "this processor has no bfloat16 instructions")
    ]
    assert "OpenVINO" not in found.notes[0]


def test_without_onnxruntime_scripts_run_through_openvino(
    plan: Plan, stage: Stage, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    found, _ = run(plan, tmp_path)
    assert {one.runtime for one in stage.orders.values()} == {"openvino"}
    assert "pip install 'boxmill[compare]'" in found.notes[0]


@pytest.fixture
def on_gpu(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(machine, "_gpu", lambda device: "a GPU")
    monkeypatch.setattr(programs, "has_native_bf16", lambda: False)  # what the processor lacks does not matter
    return replace(plan, runtime="onnxruntime", device="cuda:1", mill=("--runtime", "onnxruntime", "--device", "1"))


def test_on_a_gpu_scripts_use_what_boxmill_uses_there(on_gpu: Plan, stage: Stage, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    found, _ = run(replace(on_gpu, half=half, factors=True), tmp_path)
    told = {letter: (one.runtime, one.device, one.precision) for letter, one in stage.orders.items()}
    fp32 = ("onnxruntime", "cuda:1", "fp32")
    assert told == {"a": fp32, "b": fp32, "c": fp32, "c'": ("onnxruntime", "cuda:1", "fp16")}
    files = {letter: Path(os.fsdecode(one.network)).name for letter, one in stage.orders.items()}
    assert files == {"a": "tiny.onnx", "b": "tiny.onnx", "c": "tiny.onnx", "c'": "half.onnx"}
    assert stage.commands["d"][6:10] == ["--runtime", "onnxruntime", "--device", "1"]
    assert [row.letter for row in found.rows] == ["a", "b", "c", "c'", "d", "d2"]  # d is in fp32
    assert "ONNX Runtime on cuda:1, with arrays in and out" in found.notes[0]
    assert "(c') runs the same checkpoint, converted to float16" in found.notes[0]
    assert "on cuda:1" in found.notes[1]
    assert found.facts["gpu"] == "a GPU"
    assert ", 2 cores, a GPU, " in markdown(found)


def test_on_a_gpu_half_precision_needs_a_file_in_it(on_gpu: Plan, stage: Stage, tmp_path: Path) -> None:
    found, _ = run(on_gpu, tmp_path)
    assert [(one.letter, one.reason) for one in found.missing] == [("c'", programs.NO_HALF)]
    assert "(c')" not in found.notes[0]


def test_through_pytorch_one_checkpoint_is_run_in_both_precisions(on_gpu: Plan, stage: Stage, tmp_path: Path) -> None:
    checkpoint = tmp_path / "tiny.pt"  # is not read here
    found, _ = run(replace(on_gpu, network=checkpoint, runtime="torch", factors=True), tmp_path)
    told = {letter: (one.runtime, one.precision) for letter, one in stage.orders.items()}
    assert told == {"a": ("torch", "fp32"), "b": ("torch", "fp32"), "c": ("torch", "fp32"), "c'": ("torch", "fp16")}
    assert {one.network for one in stage.orders.values()} == {os.fsencode(checkpoint)}
    assert [row.letter for row in found.rows] == ["a", "b", "c", "c'", "d", "d1", "d2", "d3"]
    assert "PyTorch on cuda:1" in found.notes[0]
    assert "torch" in found.facts["versions"]


@pytest.mark.parametrize("native", [True, False])
def test_through_pytorch_on_a_cpu_half_precision_is_bf16(
    plan: Plan, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(programs, "has_native_bf16", lambda: native)
    found, _ = run(replace(plan, network=tmp_path / "tiny.pt", runtime="torch"), tmp_path)
    assert [one.reason for one in found.missing] == ([] if native else ["this processor has no bfloat16 instructions"])
    assert {one.runtime for one in stage.orders.values()} == {"torch"}
    assert "PyTorch with its default threads" in found.notes[0]
    assert "gpu" not in found.facts


def test_the_judge_sees_every_program_once_but_the_sampled_one(
    plan: Plan, stage: Stage, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "write_judged", lambda order, folder: folder)
    seen: list[str] = []

    def judge(folder: Path) -> float:
        seen.append(folder.parent.name)
        return 0.5

    found, _ = run(replace(plan, rounds=2), tmp_path, judge=judge)
    assert seen == ["0-b", "0-c", "0-c'", "0-d"]
    assert [row.ap for row in found.rows] == [None, 0.5, 0.5, 0.5, 0.5]
    assert any(note.startswith("AP: COCO's") for note in found.notes)


@pytest.mark.parametrize("field", ["reload_images", "batch", "rounds"])
def test_numbers_are_checked(plan: Plan, stage: Stage, tmp_path: Path, field: str) -> None:
    with pytest.raises(UsageError, match=f"--{field.replace('_', '-')}: expected 1 or more, got 0"):
        run(replace(plan, **{field: 0}), tmp_path)


def test_taggers_are_refused(plan: Plan) -> None:
    with pytest.raises(UsageError, match="detectors"):
        replace(plan, spec=replace(plan.spec, task="tag")).check()


def test_scripts_need_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.jpg", b"x")
    with pytest.raises(SourceError, match="unpack it"):
        listed(str(tmp_path / "photos.zip"))


def test_the_picture_is_a_png(plan: Plan, stage: Stage, tmp_path: Path) -> None:
    found, _ = run(replace(plan, reload_images=2, factors=True), tmp_path)
    assert plot(found)[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_matplotlib_there_is_no_picture(plan: Plan, stage: Stage, tmp_path: Path, monkeypatch) -> None:
    found, _ = run(plan, tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert plot(found) is None
