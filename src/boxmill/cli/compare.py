"""`boxmill compare`: boxmill beside the scripts that people write, on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from boxmill.errors import ModelError, OutputError, SourceError, UsageError

if TYPE_CHECKING:
    from boxmill.compare import Comparison, Plan
    from boxmill.settings import EngineSettings, RunSettings

Many = Parameter(consume_multiple=True, negative="")
Plain = Parameter(negative="")


def compare(
    source: str,
    /,
    *,
    weights: Annotated[Path | None, Parameter(name=["--weights", "-w"])] = None,
    card: Path | None = None,
    labels: Path | None = None,
    imgsz: Annotated[list[int] | None, Many] = None,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    gt: Path | None = None,
    runtime: Literal["openvino", "onnxruntime", "torch"] | None = None,
    device: str | None = None,
    reload_images: int = 10,
    batch: int = 8,
    rounds: int = 1,
    factors: Annotated[bool, Plain] = False,
    out: Path = Path("compare"),
    json: Annotated[bool, Plain] = False,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Measure boxmill beside the scripts that people write: the same images, the same network, this machine.

    Examples:

        boxmill compare demo/pictures --gt demo/ground_truth.coco.json

        boxmill compare photos/ --weights yolov8n.onnx

        boxmill compare val/ -w yolov8n.onnx --gt instances_val.json --rounds 3

        boxmill compare photos/ -w yolov9-s.pt --runtime torch --device cuda

    (a) a script that loads the network for each image, (b) one that loads it once, (c) one that takes batches, (c')
    the same in bf16 where the processor has it, on a GPU in fp16, (d) boxmill. Time of an image, total, share of CPU
    and GPU, peak memory, average precision with --gt. Written to --out: compare.json, compare.md, and with matplotlib
    compare.png. Needs psutil; on a CPU scripts run ONNX files through ONNX Runtime, or OpenVINO where that is missing:
    pip install 'boxmill[compare]'.
    Exit codes: 0 done, 2 usage, 3 source or ground truth cannot be read, 4 model, 6 nothing can be written.

    Parameters
    ----------
    source
        Images as files: a folder (searched recursively), a quoted glob, or a .txt file with a path on each line.
    weights
        The detector, an ONNX file, or a YOLOv9 checkpoint (.pt), which is converted once. Default: boxmill's own demo
        detector, which knows things as emoji show them, not your photos.
    card
        Model card. Default: the .yaml beside the weights, if there is one.
    labels
        Class names. Default: those of the card or the weights.
    imgsz
        Network input in pixels, one number or height and width. Default: what the network was exported for.
    conf
        Keep what scores above this, in every program. Default: 0.25.
    iou
        Overlap above which the lower-scored box of a class is suppressed. Default: 0.45.
    max_det
        At most this many objects an image. Default: 300.
    gt
        Ground truth: a COCO JSON file, or a folder of YOLO text or VOC XML. Needs boxmill[eval].
    runtime
        What runs the network in boxmill. Default: openvino. With onnxruntime and torch it runs the scripts' network
        too; torch takes YOLOv9 checkpoints.
    device
        cpu, cuda, cuda:N or N, for boxmill and the scripts, with --runtime onnxruntime or torch; as for boxmill run. On
        a GPU, ONNX Runtime has the row (c') only for YOLOv9 checkpoints, which are converted to float16 for it.
    reload_images
        How many images (a) works on; its total is extrapolated.
    batch
        Images in a batch of (c) and (c'). On a GPU boxmill finds its own.
    rounds
        Each program so many times, interleaved; medians are shown.
    factors
        boxmill in fp32, on squares, and both, too. Through ONNX Runtime boxmill computes in fp32 anyway.
    out
        Folder for the report, and for what the programs write meanwhile.
    json
        Print the JSON document instead of the table.
    quiet
        Print nothing but errors.
    """
    from boxmill.compare import check_psutil, listed
    from boxmill.compare import compare as measure
    from boxmill.settings import settings

    check_psutil()
    given = {"weights": weights, "card": card, "labels": labels, "imgsz": imgsz, "runtime": runtime, "device": device}
    chosen = settings(source, {**given, "conf": conf, "iou": iou, "max_det": max_det})
    plan = _plan(chosen, quiet, reload_images=reload_images, batch=batch, rounds=rounds, factors=factors)
    plan.check()
    judge = None if gt is None else _judge(gt, plan, listed(source).keys)
    _make(out)
    with TemporaryDirectory(prefix=".work-", dir=out) as work:
        found = measure(plan, Path(work), _teller(quiet), judge)
    _report(found, out, as_json=json, quiet=quiet)
    return 0


def _teller(quiet: bool) -> Callable[[str], None]:
    return (lambda line: None) if quiet else lambda line: print(line, file=sys.stderr, flush=True)


def _plan(chosen: RunSettings, quiet: bool, **numbers: Any) -> Plan:
    """The model as `boxmill run` understands it. Raises UsageError or ModelError."""
    from boxmill.api import resolve_model, with_network
    from boxmill.compare import Limits, Plan
    from boxmill.settings import DetectorPost, available_cpus, effective_post

    tell = _teller(quiet)
    device = _device(chosen.engine)
    chosen = with_network(chosen, tell)
    resolution = resolve_model(chosen.model, chosen.engine.runtime)
    for warning in resolution.warnings:
        tell(warning)
    spec = resolution.spec
    post = effective_post(chosen.post, spec)
    if not isinstance(post, DetectorPost):
        raise UsageError("boxmill compare compares detectors; this model is a tagger")
    limits = Limits(post.conf, post.iou, post.max_det)
    runtime: Any = chosen.engine.runtime  # the command line has refused fake
    flags, network = _flags(chosen), chosen.model.network
    plan = Plan(
        chosen.source, network, spec, limits, flags, available_cpus(), runtime=runtime, device=device, **numbers
    )
    return _with_half(plan, chosen.model.weights, tell)


def _device(engine: EngineSettings) -> str:
    """Where all networks compute, as `boxmill run` understands it. Raises UsageError with what it says."""
    from boxmill.api import engine_device
    from boxmill.runtimes.onnxruntime import check_available

    device = engine_device(engine)
    if engine.runtime == "onnxruntime":
        check_available("auto", device)
    return device


def _with_half(plan: Plan, weights: Path, tell: Callable[[str], None]) -> Plan:
    """With a float16 file for ONNX Runtime on a GPU, where the weights can be converted to one."""
    from boxmill.compare import needs_half_file
    from boxmill.convert import cached_network, is_checkpoint

    if not needs_half_file(plan) or not is_checkpoint(weights):
        return plan
    try:
        return replace(plan, half=cached_network(weights, tell, "fp16"))
    except ModelError as error:
        return replace(plan, half=f"{weights.name} cannot be converted to float16: {str(error).splitlines()[0]}")


def _flags(chosen: RunSettings) -> tuple[str, ...]:
    """What was given, as flags of `boxmill run`."""
    model, post, engine = chosen.model, chosen.post, chosen.engine
    values = {
        "--weights": model.weights, "--card": model.card, "--labels": model.labels,
        "--conf": post.conf, "--iou": post.iou, "--max-det": post.max_det,
        "--runtime": None if engine.runtime == "openvino" else engine.runtime,
        "--device": None if engine.device == "auto" else engine.device,
    }  # fmt: skip
    flags = [part for flag, value in values.items() if value is not None for part in (flag, str(value))]
    return (*flags, *(() if model.imgsz is None else ("--imgsz", *map(str, model.imgsz))))


def _judge(gt: Path, plan: Plan, keys: list[str]) -> Callable[[Path], float | None]:
    """Average precision of a run; what cannot fit is refused before anything is measured."""
    from boxmill.evaluate import coco_numbers, confront, map_classes, open_run, pair_images, read_truth

    if find_spec("hotcoco") is None:
        raise UsageError("--gt: average precision needs the evaluator hotcoco: pip install 'boxmill[eval]'")
    truth = read_truth(gt)
    map_classes(truth, plan.spec.names)
    pairs = pair_images([image.name for image in truth.images], keys, stems=truth.stems)
    if all(index is None for index in pairs.inputs):
        raise SourceError(f"--gt {str(gt)!r} knows none of the {len(keys)} images of {plan.source!r}")
    return lambda directory: coco_numbers(confront(truth, open_run(directory))).values[0]


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out {str(out)!r} cannot be made: {error.strerror}; give another folder") from error


def _report(found: Comparison, out: Path, *, as_json: bool, quiet: bool) -> None:
    from boxmill.compare import markdown, plot
    from boxmill.store import pretty, write_file

    picture = plot(found)
    document = pretty(found.document())
    text = markdown(found, None if picture is None else "compare.png")
    write_file(out / "compare.json", document)
    write_file(out / "compare.md", text.encode())
    if picture is not None:
        write_file(out / "compare.png", picture)
    if not quiet:
        if picture is None:
            print("no plot: it needs matplotlib, pip install 'boxmill[plot]'", file=sys.stderr)
        print(f"written: {os.fspath(out)}", file=sys.stderr)
    if as_json or not quiet:
        sys.stdout.write(document.decode() if as_json else text)
