"""The one loop: inputs in, outcomes out. The only place where the rooms meet.

Each worker thread takes one input (or a batch) through the whole chain, and then the next. On a CPU this keeps every
core busy: reading, decoding, the network, native pre- and post-processing and writing all release the GIL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter, process_time
from typing import Protocol, TypeVar

from boxmill.engine.batching import BatchBuffer, HasGeometry, by_shape
from boxmill.engine.clock import Clock, TimeTable, time_table
from boxmill.engine.failures import StageFailed
from boxmill.engine.handed import Handed
from boxmill.engine.rehearsal import explained, inspect
from boxmill.errors import BoxmillError, ModelError
from boxmill.images import DecodeLimits, decode, geometry, preprocess
from boxmill.runtimes import RawOutput, Runtime
from boxmill.runtimes.device import DeviceFault
from boxmill.types import Detections, EncodedItem, Failure, Float32, Frame, Geometry, Outcome, Tags

__all__ = [
    "Decoder",
    "HeadSink",
    "Job",
    "Postprocess",
    "Progress",
    "Reporter",
    "Run",
    "Silent",
    "Sink",
    "Store",
    "timed",
]

T = TypeVar("T")
Decoder = Callable[[bytes, str, DecodeLimits], Frame]  # encoded image, key, limits; raises ImageError


class Postprocess(Protocol):
    """Raw outputs of a batch to one result an image; called from every worker at once."""

    def __call__(
        self, raw: Sequence[RawOutput], network: tuple[int, int], geometries: Sequence[Geometry] | None = None, /
    ) -> Sequence[Detections | Tags]:
        """`network`: height and width of its input; without geometries boxes stay there, unclipped."""


class Store(Protocol):
    """Whatever keeps the outcomes."""

    def add(self, outcome: Outcome) -> None:
        """Keeps one outcome; called from every worker at once. An error it raises stops the run."""


class Sink(Protocol):
    """Whatever wants the pixels of the images that have a result."""

    def add(self, frame: Frame, outcome: Outcome) -> None:
        """Takes one image before the store does; called from every worker at once. An error it raises stops the run."""


class HeadSink(Protocol):
    """Whatever wants the raw outputs of the images that have a result."""

    def add(self, key: str, raw: Sequence[RawOutput], geometry: Geometry) -> None:
        """Takes one image before the store does; called from every worker at once. An error it raises stops the run.

        The arrays are read before it returns: the thread's next image is written over them.
        """


class Reporter(Protocol):
    """Whoever wants to know, as it happens, which inputs are under way; called from every worker at once."""

    def start(self, index: int) -> None:
        """The input is about to be read."""

    def end(self, index: int, failed: bool) -> None:
        """Its outcome is there and goes to the store now: from here on, a hang or a crash is not its doing."""

    def leave(self, index: int) -> None:
        """It is not under way any more and has no outcome: it was only tried."""


class Silent:
    """A reporter that tells nobody."""

    def start(self, index: int) -> None:
        """Nothing."""

    def end(self, index: int, failed: bool) -> None:
        """Nothing."""

    def leave(self, index: int) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run needs."""

    items: Iterable[EncodedItem]  # taken in order, a few at a time, by one thread at a time
    total: int  # how many inputs there are, for progress
    runtime: Runtime
    postprocessor: Postprocess  # raw outputs of a batch, network height and width, geometries -> one result an image
    store: Store
    alone: Sequence[EncodedItem] = ()  # worked off before `items`, strictly one at a time; `items` may hold them too
    rect: bool = False
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    workers: int = 1
    batch: int = 1
    decode: Decoder = decode
    reporter: Reporter = field(default_factory=Silent)
    sink: Sink | None = None
    heads: HeadSink | None = None
    warm_up: tuple[int, int] | None = None  # network height and width that most images are likely to have
    handed: Handed | None = None  # where `items` has its inputs from, if it waits for them


@dataclass(frozen=True, slots=True)
class Progress:
    """A glance at a run."""

    done: int
    failed: int
    total: int
    seconds: float  # since the workers started
    before: int = 0  # of `done`: what earlier executions of the same run left finished


class _Known(Protocol):
    """Anything that is known as an input and knows how it lies in the network's input."""

    item: EncodedItem
    geometry: Geometry


@dataclass(slots=True)
class _Loaded:
    """One decoded input on its way through the network."""

    item: EncodedItem
    frame: Frame
    geometry: Geometry
    times: dict[str, float]  # milliseconds by stage


class Run:
    """One execution of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        suspects = {item.index for item in job.alone}
        self._taking = threading.Lock()  # guards the next; whoever holds it may have to wait for an input
        self._items = (item for item in job.items if item.index not in suspects)
        self._lock = threading.Lock()  # guards the next, and `_working`
        self._done = self._failed = 0
        self._clocks = [Clock() for _ in range(job.workers)]
        self._start, self._cpu = perf_counter(), process_time()
        self._device_busy: float | None = None  # seconds, where there is a device
        self._working = job.workers
        self._warm = threading.Barrier(job.workers + 1)
        self._go = threading.Event()
        self._together = threading.Event()  # set once nobody has to be alone any more
        self._all_done = threading.Event()
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def stop(self) -> None:
        """Finish what is under way and take no further input."""
        self._stopping.set()
        if self._job.handed is not None:
            self._job.handed.close()

    def warm_up(self) -> None:
        """Starts the workers and lets each put a grey image of `Job.warm_up` through the network.

        The first image of a shape costs every OpenVINO stream some 50 ms; no photo's time, and no time limit, should
        have to hold that. `execute` calls this where nobody has.

        Raises:
            ModelError: the network cannot run at that shape.
        """
        for number, clock in enumerate(self._clocks):
            alone = self._job.alone if number == 0 else None
            thread = threading.Thread(target=self._work, args=(clock, alone), daemon=True)
            thread.start()
            self._threads.append(thread)
        try:
            self._warm.wait()
        except threading.BrokenBarrierError:
            if isinstance(self._error, BoxmillError | DeviceFault):
                raise self._error from None
            raise ModelError(f"the network failed while it was warmed up: {self._error}") from self._error

    def rehearse(self, items: Iterable[EncodedItem]) -> None:
        """Takes the first of `items` that decodes through the whole chain and keeps nothing; before `warm_up`.

        Raises:
            ModelError: the network does not run, its output does not fit the head, or what it says cannot be meant.
        """
        clock, times, buffer = Clock(), dict[str, float](), BatchBuffer()
        for item in items:
            if item.fetch is not None:
                item.fetch()
            self._job.reporter.start(item.index)
            try:
                group = [self._open(item, clock, times)]
                raw = self._forward(group, clock, times, buffer)
                self._select(raw, group, clock, times)
                inspect(raw, self._job.runtime.spec, group[0].geometry.network)
                return
            except StageFailed as failed:
                if failed.stage in ("model", "postprocess"):
                    raise explained(failed, self._job.runtime.spec.head) from failed.cause
            finally:
                self._job.reporter.leave(item.index)

    def execute(self, observe: Callable[[Progress], None] = lambda progress: None, interval: float = 0.1) -> TimeTable:
        """Works off the job, or what comes before `stop`; calls `observe` every `interval` seconds and at the end.

        Raises:
            OutputError: an outcome could not be kept.
        """
        if not self._threads:
            self.warm_up()
        self._start, self._cpu = perf_counter(), process_time()
        self._go.set()
        finished = False
        while not finished:
            finished = self._all_done.wait(interval)
            observe(Progress(self._done, self._failed, self._job.total, perf_counter() - self._start))
        for thread in self._threads:  # Python shutting down under one of them aborted 10 of 24 processes with OpenVINO
            thread.join()
        if self._error is not None:
            raise self._error
        return self.table()

    def table(self) -> TimeTable:
        """Where the time has gone so far; what is still being timed counts as unexplained."""
        return time_table(self._clocks, perf_counter() - self._start, process_time() - self._cpu, self._device_busy)

    def _work(self, clock: Clock, alone: Sequence[EncodedItem] | None) -> None:
        buffer = BatchBuffer()
        try:
            self._get_warm(buffer)
            self._work_alone(clock, buffer, alone)
            self._work_off(clock, buffer)
        except BaseException as error:  # the store cannot keep results, or a defect: nothing may go on unnoticed
            self._error = self._error or error
            self.stop()
            self._warm.abort()
        self._together.set()
        with clock.wait("last worker"):
            self._leave()

    def _work_off(self, clock: Clock, buffer: BatchBuffer) -> None:
        while chunk := self._take(clock):
            self._process(chunk, clock, buffer)

    def _get_warm(self, buffer: BatchBuffer) -> None:
        if self._job.warm_up is not None:
            tensor = buffer.tensor(1, self._job.warm_up, self._job.runtime.spec.input)
            tensor.fill(0.5)
            self._job.runtime.infer(tensor)
        self._warm.wait()
        self._go.wait()

    def _work_alone(self, clock: Clock, buffer: BatchBuffer, alone: Sequence[EncodedItem] | None) -> None:
        """One worker takes the suspects through the chain while the others, who have none, wait."""
        if alone is None:
            with clock.wait("next input"):
                self._together.wait()
            return
        for item in alone:
            if not self._stopping.is_set():
                self._process([item], clock, buffer)
        self._together.set()

    def _process(self, chunk: Sequence[EncodedItem], clock: Clock, buffer: BatchBuffer) -> None:
        loaded = [one for item in chunk if (one := self._load(item, clock)) is not None]
        for group in by_shape(loaded):
            self._detect(group, clock, buffer)

    def _take(self, clock: Clock) -> list[EncodedItem]:
        with clock.wait("next input"), self._taking:
            return [] if self._stopping.is_set() else list(islice(self._items, self._job.batch))

    def _leave(self) -> None:
        with self._lock:
            self._working -= 1
            if self._working == 0:
                self._all_done.set()
        self._all_done.wait()

    def _load(self, item: EncodedItem, clock: Clock) -> _Loaded | None:
        """Reads and decodes one input; keeps its failure and returns None where that is impossible."""
        times: dict[str, float] = {}
        if item.fetch is not None:
            with clock.stage("read"):
                item.fetch()
        self._job.reporter.start(item.index)
        try:
            return self._open(item, clock, times)
        except StageFailed as failed:
            self._keep(Outcome(item.key, item.index, failed.failure(item.key), None, times), clock)
            return None

    def _open(self, item: EncodedItem, clock: Clock, times: dict[str, float]) -> _Loaded:
        data = timed(clock, "read", times, item.read)
        frame = timed(clock, "decode", times, lambda: self._job.decode(data, item.key, self._job.limits))
        return _Loaded(item, frame, geometry(frame.source, self._job.runtime.spec.input, rect=self._job.rect), times)

    def _detect(self, group: Sequence[_Loaded], clock: Clock, buffer: BatchBuffer) -> None:
        """Takes images of one network shape from pixels to kept outcomes."""
        times: dict[str, float] = {}
        try:
            raw = self._forward(group, clock, times, buffer)
            found: Sequence[Detections | Tags | Failure] = self._select(raw, group, clock, times)
        except StageFailed as failed:
            if len(group) > 1:  # one of them is to blame: find out which
                for one in group:
                    self._detect([one], clock, buffer)
                return
            found = [failed.failure(group[0].item.key)]
        else:
            self._keep_heads(raw, group, clock)
        for one, result in zip(group, found, strict=True):
            one.times.update({stage: spent / len(group) for stage, spent in times.items()})
            height, width = one.geometry.source
            self._keep(Outcome(one.item.key, one.item.index, result, (width, height), one.times), clock, one.frame)

    def _forward(
        self, group: Sequence[_Loaded], clock: Clock, times: dict[str, float], buffer: BatchBuffer
    ) -> list[RawOutput]:
        runtime, network = self._job.runtime, group[0].geometry.network

        def fill() -> Float32:
            tensor = buffer.tensor(len(group), network, runtime.spec.input)
            for slot, one in zip(tensor, group, strict=True):
                preprocess(one.frame, one.geometry, runtime.spec.input, out=slot)
            return tensor

        tensor = timed(clock, "preprocess", times, fill)
        return timed(clock, "model", times, lambda: runtime.infer(tensor))

    def _select(
        self, raw: Sequence[RawOutput], group: Sequence[HasGeometry], clock: Clock, times: dict[str, float]
    ) -> Sequence[Detections | Tags]:
        network, geometries = group[0].geometry.network, [one.geometry for one in group]
        return timed(clock, "postprocess", times, lambda: self._job.postprocessor(raw, network, geometries))

    def _keep_heads(self, raw: Sequence[RawOutput], group: Sequence[_Known], clock: Clock) -> None:
        if self._job.heads is None:
            return
        with clock.stage("write"):
            for number, one in enumerate(group):
                own = raw if len(group) == 1 else [array[number : number + 1] for array in raw]
                self._job.heads.add(one.item.key, own, one.geometry)

    def _keep(self, outcome: Outcome, clock: Clock, frame: Frame | None = None) -> None:
        failed = isinstance(outcome.result, Failure)
        self._job.reporter.end(outcome.index, failed)
        with clock.stage("write"):
            if self._job.sink is not None and frame is not None and not failed:
                self._job.sink.add(frame, outcome)
            self._job.store.add(outcome)
        with self._lock:
            self._done += 1
            self._failed += failed


def timed(clock: Clock, stage: str, times: dict[str, float], work: Callable[[], T]) -> T:
    """What `work` gives; the clock's stage and `times`, in milliseconds, get what it took. Raises StageFailed."""
    lap = clock.stage(stage)
    try:
        with lap:
            return work()
    except DeviceFault:  # no image's doing
        raise
    except Exception as error:
        raise StageFailed(stage, error) from error
    finally:
        times[stage] = lap.seconds * 1e3
