"""The worker process: the whole pipeline, from the frozen manifest to the journal, under a supervisor's eyes.

`python -m boxmill.worker ORDERS REPORTS`, started by `boxmill.mill` only. Tests start it with a decoder of their own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import msgspec

from boxmill.api import json_style, make_postprocessor, make_runtime, resolve_model, shown_conf, worker_count
from boxmill.convert import cache_folder
from boxmill.engine import (
    DEVICE_FAULT,
    BatchSizes,
    Handed,
    Job,
    Progress,
    RememberedSizes,
    Run,
    StagedRun,
    TimeTable,
    WorkerLink,
    keep_freed_memory,
    prove,
)
from boxmill.engine.pipeline import Decoder, Sink
from boxmill.errors import ImageError, ModelError, UsageError
from boxmill.images import DecodeLimits, configure_opencv, decode, geometry, read_header, wanted_by
from boxmill.inputs import HandedInputs, Inputs, OpenInputs, Origin
from boxmill.models import Resolution
from boxmill.render import Painter
from boxmill.runtimes import Runtime
from boxmill.runtimes.device import DeviceRuntime
from boxmill.settings import RunSettings
from boxmill.store import (
    CropFiles,
    DumpHeader,
    HeadFiles,
    JournalWriter,
    JsonFiles,
    PictureFiles,
    TextFiles,
    file_sha256,
    printable,
    seen,
)
from boxmill.types import EncodedItem, Frame, InputSpec, Outcome

__all__ = ["Order", "main"]

_TIMES_INTERVAL = 1.0  # seconds between two reports of where the time goes
_REHEARSED = 8  # inputs tried for one that decodes


@dataclass(frozen=True, slots=True)
class Order:
    """What a supervisor asks of a worker."""

    settings: RunSettings
    directory: Path  # of the run
    root: str | None  # where the source lies now, if it has moved
    epoch: int
    writer: int
    suspects: tuple[int, ...]  # inputs to take alone first
    retry_failed: bool  # inputs that failed in earlier epochs are open again
    image_json: bool
    share: tuple[int, ...] | None  # inputs to begin with, more are handed out; None: whatever is open
    rehearse: bool  # with a share: whether the run has no result yet

    def document(self) -> dict[str, Any]:
        """As JSON."""
        document: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return document

    @classmethod
    def of(cls, document: dict[str, Any]) -> Order:
        """From JSON."""
        return msgspec.convert(document, cls, strict=False, dec_hook=lambda kind, value: kind(value))


class WorkerStore:
    """Keeps each outcome: the files that people read, then its record in the journal, which is what counts."""

    def __init__(self, journal: JournalWriter, files: Sequence[JsonFiles | TextFiles], conf: float | None) -> None:
        """`conf`: where the journal keeps more than is shown, the score above which it is."""
        self._journal, self._files, self._conf = journal, files, conf

    def add(self, outcome: Outcome) -> None:
        """See engine.Store."""
        shown = seen(outcome, self._conf)
        for files in self._files:
            files.write(shown)
        self._journal.add(outcome)


class _Stopper:
    """Passes `stop` on to the run, also when it comes before there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._stopped = False

    def attach(self, run: Run) -> None:
        with self._lock:
            self._run = run
            if self._stopped:
                run.stop()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._run is not None:
                self._run.stop()


def main(arguments: Sequence[str], decoder: Decoder | None = None) -> int:
    """Works one order off; returns the exit code.

    Args:
        arguments: the descriptors of the orders and of the reports.
        decoder: what turns bytes into a frame. None: what the settings ask for.
    """
    link = WorkerLink(int(arguments[0]), int(arguments[1]))
    order = Order.of(link.receive())
    stopper = _Stopper()
    handed = None if order.share is None else Handed(order.share)
    link.watch(stopper.stop, handed)
    return link.conclude(lambda: _work(_Desk(order, link, stopper, handed), decoder))


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a worker was given."""

    order: Order
    link: WorkerLink
    stopper: _Stopper
    handed: Handed | None

    def inputs(self, limits: DecodeLimits) -> Inputs:
        """What there is to read."""
        order = self.order
        root = None if order.root is None else os.fsencode(order.root)
        origin = Origin(order.directory, root, limits.max_bytes)
        if self.handed is not None and order.share is not None:
            return HandedInputs(origin, order.suspects, order.share, self.handed)
        return OpenInputs(origin, order.suspects, order.epoch if order.retry_failed else 0)

    def rehearses(self, inputs: Inputs) -> bool:
        """Whether one image goes through the whole chain before all else: one result says that the model works."""
        return inputs.untried and self.order.rehearse


def _work(desk: _Desk, decoder: Decoder | None) -> TimeTable:
    start = perf_counter()
    configure_opencv()
    keep_freed_memory()
    order, link = desk.order, desk.link
    settings = order.settings
    resolution = resolve_model(settings.model, settings.engine.runtime)
    spec, rect, limits = resolution.spec, resolution.rect, DecodeLimits()
    inputs = desk.inputs(limits)
    suspects = inputs.suspects()
    workers = worker_count(settings, inputs.total)
    runtime = _open_runtime(settings, resolution, workers)
    loaded = perf_counter()
    postprocessor = make_postprocessor(settings, spec)
    network = _likely_shape(next(chain(inputs.first(), suspects), None), spec.input, rect=rect)
    prove(runtime, postprocessor, network)
    shown = shown_conf(settings, spec)
    journal = JournalWriter(order.directory, order.epoch, order.writer, link.kept, shown)
    job = Job(
        items=inputs.open(),
        total=inputs.total,
        alone=suspects,
        runtime=runtime,
        postprocessor=postprocessor,
        store=WorkerStore(journal, _files(order, spec.names), shown),
        sink=_sink(order, spec.names, shown),
        heads=_head_files(order, runtime),
        rect=rect,
        limits=limits,
        workers=workers,
        decode=decoder or _decoder(settings, spec.input, rect=rect),
        reporter=link,
        warm_up=network,
        handed=desk.handed,
    )
    remembered, sizes = _batch_sizes(settings, runtime)
    try:
        run = StagedRun(job, runtime, sizes) if isinstance(runtime, DeviceRuntime) else Run(job)
        if desk.rehearses(inputs):
            run.rehearse(islice(inputs.first(), _REHEARSED))
        run.warm_up()
        desk.stopper.attach(run)
        times = {"workers": workers, "load": loaded - start, "warm-up": perf_counter() - loaded}
        link.ready({**times, **_device_facts(runtime)})
        return run.execute(_TimesReport(link, run).observe)
    finally:
        journal.close()
        if remembered is not None:
            remembered.save(sizes.found())


def _open_runtime(settings: RunSettings, resolution: Resolution, workers: int) -> Runtime:
    """Raises ModelError, also where the device refuses before it has computed anything."""
    try:
        return make_runtime(settings, resolution, workers)
    except RuntimeError as error:  # what PyTorch raises for a device that is not there, taken, or full
        if settings.engine.runtime == "openvino" or settings.engine.device == "cpu":
            raise
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the network cannot be loaded on the device {settings.engine.device}: {problem}; "
            "end other programs on that device, or give another --device"
        ) from error


def _batch_sizes(settings: RunSettings, runtime: Runtime) -> tuple[RememberedSizes | None, BatchSizes]:
    """For a device; and where what is found is kept: nowhere for a size that was given, or without a cache."""
    if not isinstance(runtime, DeviceRuntime):
        return None, BatchSizes()
    if settings.engine.batch is not None:
        return None, BatchSizes(settings.engine.batch, most=runtime.most_images)
    try:
        folder = cache_folder("batches")
    except UsageError:
        return None, BatchSizes(most=runtime.most_images)
    about = {
        "weights": file_sha256(settings.model.network),
        "runtime": f"{runtime.name} {runtime.version}",
        "precision": runtime.precision,
        "device": runtime.hardware,
    }
    remembered = RememberedSizes(folder, about)
    return remembered, BatchSizes(known=remembered.load(), most=runtime.most_images)


def _device_facts(runtime: Runtime) -> dict[str, Any]:
    if not isinstance(runtime, DeviceRuntime):
        return {}
    return {"device": {"name": runtime.device, "hardware": runtime.hardware, "uuid": runtime.uuid}}


def _decoder(settings: RunSettings, spec: InputSpec, *, rect: bool) -> Decoder:
    return partial(decode, fast=wanted_by(spec, rect=rect)) if settings.engine.fast_decode else decode


def _files(order: Order, names: Sequence[str]) -> list[JsonFiles | TextFiles]:
    output = order.settings.output
    files: list[JsonFiles | TextFiles] = []
    if order.image_json:
        files.append(JsonFiles(order.directory, names, json_style(output)))
    if output.save_txt:
        files.append(TextFiles(order.directory, with_score=output.save_conf))
    return files


def _sink(order: Order, names: Sequence[str], conf: float | None) -> Sink | None:
    sinks: list[Sink] = []
    if order.settings.output.save_crop:
        sinks.append(CropFiles(order.directory, names, conf))
    if order.settings.output.save_img:
        sinks.append(PictureFiles(order.directory, Painter(names).draw, conf))
    return _Sinks(tuple(sinks)) if sinks else None


@dataclass(frozen=True, slots=True)
class _Sinks:
    """Several sinks as one."""

    sinks: tuple[Sink, ...]

    def add(self, frame: Frame, outcome: Outcome) -> None:
        """See engine.Sink."""
        for sink in self.sinks:
            sink.add(frame, outcome)


def _head_files(order: Order, runtime: Runtime) -> HeadFiles | None:
    if not order.settings.output.dump_heads:
        return None
    spec, weights = runtime.spec, order.settings.model.weights
    header = DumpHeader(spec.head, spec.names, printable(weights.name), runtime.name, runtime.precision)
    return HeadFiles(order.directory, header)


class _TimesReport:
    """Tells the supervisor now and then where the time goes, because a worker that dies cannot say it at its end."""

    def __init__(self, link: WorkerLink, run: Run) -> None:
        self._link, self._run, self._last = link, run, monotonic()

    def observe(self, progress: Progress) -> None:
        if monotonic() - self._last >= _TIMES_INTERVAL:
            self._last = monotonic()
            self._link.times(self._run.table())


def _likely_shape(first: EncodedItem | None, spec: InputSpec, *, rect: bool) -> tuple[int, int]:
    """The network shape of the first open input, to warm up with; the full size where that cannot be told."""
    if first is None or first.fetch is not None:  # to reach it in a compressed archive may take minutes
        return spec.size
    try:
        header = read_header(first.read())
        turned = header.orientation >= 5
        size = (header.width, header.height) if turned else (header.height, header.width)
        return geometry(size, spec, rect=rect).network
    except (ImageError, OSError, ValueError):  # it will fail in its turn, and be recorded then
        return spec.size


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code == DEVICE_FAULT:
        os._exit(code)  # what libraries do at an exit may hang on a device that has faulted
    sys.exit(code)
