"""`boxmill run`: a detector over a source."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from boxmill.cli.console import Reporter
from boxmill.errors import BoxmillError, OutputError, UsageError
from boxmill.mill import Mill
from boxmill.settings import RunSettings, settings
from boxmill.store import walk_dumps

Many = Parameter(consume_multiple=True, negative="")
Plain = Parameter(negative="")


def run(
    source: str,
    /,
    *,
    weights: Annotated[Path | None, Parameter(name=["--weights", "-w"])] = None,
    card: Path | None = None,
    labels: Path | None = None,
    lang: Literal["en", "zh"] | None = None,
    imgsz: Annotated[list[int] | None, Many] = None,
    rect: bool | None = None,
    conf: float | None = None,
    keep_conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    max_nms: int | None = None,
    classes: Annotated[list[str] | None, Many] = None,
    agnostic_nms: Annotated[bool | None, Plain] = None,
    multi_label: Annotated[bool | None, Plain] = None,
    nms: Literal["hard", "soft", "soft-gaussian"] | None = None,
    top_k: int | Literal["all"] | None = None,
    workers: int | Literal["auto"] | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None,
    half: Annotated[bool | None, Plain] = None,
    runtime: Literal["openvino", "onnxruntime", "tensorrt", "torch", "fake"] | None = None,
    device: str | None = None,
    batch: int | Literal["auto"] | None = None,
    compile: Annotated[bool | None, Plain] = None,  # noqa: A002 - what PyTorch calls it
    fast_decode: Annotated[bool | None, Plain] = None,
    image_timeout: float | None = None,
    memory_limit: float | None = None,
    project: Path | None = None,
    name: str | None = None,
    resume: str | None = None,
    fresh: Annotated[bool | None, Plain] = None,
    exist_ok: Annotated[bool | None, Plain] = None,
    add: Annotated[bool | None, Plain] = None,
    retry_failed: Annotated[bool | None, Plain] = None,
    allow_failed: str | None = None,
    image_json: bool | None = None,
    json_names: Literal["full", "stem"] | None = None,
    int_boxes: Annotated[bool | None, Plain] = None,
    save_txt: Annotated[bool | None, Plain] = None,
    save_conf: Annotated[bool | None, Plain] = None,
    save_crop: Annotated[bool | None, Plain] = None,
    save_img: Annotated[bool | None, Plain] = None,
    dump_heads: Annotated[bool | None, Plain] = None,
    json: Annotated[bool, Plain] = False,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Run a detector or a tagger over images: one JSON file for each image, and a summary.

    Examples:

        boxmill run demo/pictures --lang zh --save-img

        boxmill run photos/ --weights yolov8n.onnx

        boxmill run 'photos/**/*.jpg' -w yolox.onnx --card yolox.yaml --lang zh --conf 0.4

        boxmill run list.txt -w best.onnx --classes 0 2 person --imgsz 640

    Results are written to runs/NAME while the run goes on; a bad file becomes a failure with its reason and never
    stops the run. Whatever stops it (Ctrl-C, a crash, a full disk, a reboot), the same command goes on where it was.
    Exit codes: 0 all done, 2 usage, 3 source, 4 model, 5 interrupted, 6 disk full or write error, 7 finished but more
    images failed than --allow-failed (they are listed).

    Parameters
    ----------
    source
        An image, a folder (searched recursively), an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz; never extracted),
        a quoted glob, or a .txt file with a path on each line.
    weights
        The detector or tagger, an ONNX file; or a YOLOv9 checkpoint (.pt), which is converted once and never executed.
        Default: boxmill's own demo detector, which knows things as emoji show them, not your photos.
    card
        Model card: how images go in and boxes come out. Default: the .yaml beside the weights, if there is one.
    labels
        Class names: JSON, YAML or text, one a line. Default: those of the card or the weights.
    lang
        Language of the names: en or zh. COCO's and the demo's are built in; for others labels_zh.json or labels_en.json
        beside the label file or the weights.
    imgsz
        Network input in pixels, one number or height and width. Default: what the network was exported for.
    rect
        Smallest shape of the image's own aspect ratio instead of a square. Default: wherever the network takes it.
    conf
        Keep what scores above this. Default: 0.25; for a tagger whose classes compete (softmax, or no activation) the
        best --top-k whatever their score.
    keep_conf
        Journal objects down to this score, so that `boxmill export --conf` can show them later. Default: --conf.
    iou
        Overlap above which the lower-scored box of a class is suppressed. Default: 0.45; no suppression where the
        network selects its boxes itself (heads end2end, triple, detr).
    nms
        hard drops such boxes. soft lowers their score instead, by 1 - IoU; soft-gaussian lowers that of every box which
        overlaps a better one, by exp(-2 IoU^2), and takes no --iou. Objects have the lowered scores, and --conf is
        compared with those. Default: hard.
    max_det
        At most this many objects an image. Default: 300.
    max_nms
        At most this many candidates an image go into suppression, best first. Default: 30000.
    classes
        Only these classes, by id or name.
    agnostic_nms
        Suppress across classes too.
    multi_label
        An anchor may yield several classes, as in validation.
    top_k
        Of a tagger: at most this many tags an image, or all. Default: 5; all where each class is judged by itself
        (sigmoid).
    workers
        Images under way at the same time. Default: auto, one for each available core. Several GPUs divide them.
    precision
        auto is bf16 where the processor has it natively, else fp32; with onnxruntime always fp32; with tensorrt fp32,
        or fp16 if given; with torch on a GPU fp16.
    half
        The same as --precision fp16.
    runtime
        What runs the network. Default: openvino. onnxruntime needs pip install 'boxmill[onnxruntime]'. tensorrt is
        ONNX Runtime's on a GPU: it builds an engine first, for minutes, and keeps it; one for all shapes, or with
        --no-rect for one shape. torch runs YOLOv9 checkpoints and needs pip install 'boxmill[torch]'. fake needs no
        network: made-up boxes to try a pipeline with, from a card alone.
    device
        cpu, cuda, cuda:N or N; 0,1 or cuda:0,cuda:1 for a worker process at each of several GPUs, which share the
        images as they get through them. With --runtime torch, by default a GPU where PyTorch sees one; with --runtime
        onnxruntime the CPU, and a GPU needs onnxruntime-gpu and PyTorch; with tensorrt, which needs TensorRT too, the
        first GPU.
    batch
        Images that go through a GPU together. Default: auto, where more of them gain nothing any more, found by
        measuring and remembered; memory that runs out lowers either for a while. With tensorrt auto ends at 32, and
        another number is another engine. On a CPU images go one by one.
    compile
        With --runtime torch: torch.compile, which needs a C++ compiler. The first image of each shape waits for it,
        minutes on a CPU; after that a network took 0.85 of the time.
    fast_decode
        Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, never below what the network needs. Faster; scores change
        a little, and small objects may be missed. Boxes are in full pixels all the same.
    project
        Folder for runs. Default: runs.
    name
        Name of this run. Default: the source's; a number is added where it is taken.
    image_timeout
        Seconds for one image, after which its process is ended and it is tried again alone. Default: 60; with
        --compile and with --runtime tensorrt 1800.
    memory_limit
        GiB that the worker process may hold; several divide it. Default: three quarters of the machine's.
    resume
        Go on with this run; the source may have moved.
    fresh
        Begin a new run even if there is an unfinished one.
    exist_ok
        With --name: exactly that folder, resumed if its settings are these.
    add
        Take in images that have appeared since the run began.
    retry_failed
        Try images that have failed once more.
    allow_failed
        So many images, or such a share (5%), may fail without exit code 7. Default: 0.
    image_json
        A JSON file for each image. Default: up to 100,000 images; above, only results.jsonl.
    json_names
        full: a.jpg.json. stem: a.json, which is refused where two images would share one.
    int_boxes
        Boxes in JSON as whole pixels instead of two decimals.
    save_txt
        YOLO text for each image in labels/: class, centre, width and height as shares of the image.
    save_conf
        With --save-txt: the score at the end of each line.
    save_crop
        Each object as a JPEG in crops/CLASS/. A resume does not make those of finished images again.
    save_img
        Each image with its objects drawn on it, a JPEG in images/, also where there are none; with --fast-decode, the
        smaller image that was decoded. A resume does not make those of finished images again.
    dump_heads
        Each image's raw network outputs in heads/, for `boxmill lab`: some megabytes an image (2.8 MB for 8400 anchors
        of 80 classes). A resume does not make those of finished images again.
    json
        Print the summary as JSON on standard output.
    quiet
        Print nothing but errors.
    """
    flags = {key: value for key, value in locals().items() if key not in ("source", "half", "json", "quiet")}
    if workers == "auto":
        flags["workers"] = None
    if batch == "auto":
        flags["batch"] = None
    if half:
        if precision not in (None, "fp16"):
            raise UsageError(f"--half means --precision fp16, and --precision {precision} was given; leave one out")
        flags["precision"] = "fp16"
    chosen = settings(source, flags)
    return _run(chosen, Reporter(quiet=quiet), as_json=json)


def _run(chosen: RunSettings, reporter: Reporter, *, as_json: bool) -> int:
    mill = Mill(chosen, tell=reporter.note)
    directory = mill.run.directory
    again = f"--resume {directory.name} in place of --fresh" if chosen.output.fresh else "the same command"
    try:
        reporter.settings(mill)
        if chosen.output.dump_heads:
            reporter.note(f"each image's raw outputs -> {directory / 'heads'}: some megabytes an image")
        with _stop_on_signal(mill, reporter), reporter.progress() as observe:
            ending = mill.work(observe)
        summary = mill.finish(ending)
    except OutputError:
        reporter.note(f"what was acknowledged is kept in {directory}; {again} goes on from there")
        raise
    except BoxmillError:
        reporter.note(f"what the worker process printed is in {mill.log}")
        raise
    finally:
        mill.close()
    reporter.summary(summary, mill.run.remarks, directory)
    if chosen.output.dump_heads:
        reporter.note(_dumped(directory))
    if as_json:
        reporter.json(summary)
    else:
        reporter.result(directory)
    if ending.interrupted:
        reporter.note(f"interrupted: {again} goes on where it stopped")
        return 5
    return 7 if summary["failed"]["count"] > chosen.output.failures_allowed(summary["total_images"]) else 0


def _dumped(directory: Path) -> str:
    sizes = [path.stat().st_size for path in walk_dumps(directory)]
    return (
        f"heads: {len(sizes)} images, {sum(sizes) / 1e6:.1f} MB in {directory / 'heads'}; "
        f"boxmill lab {directory} replays them"
    )


@contextmanager
def _stop_on_signal(mill: Mill, reporter: Reporter) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: finish what is under way. Second: stop now."""

    def handle(number: int, frame: object) -> None:
        reporter.note("stopping: finishing the images under way; once more stops now")
        mill.stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
