"""The one loop: inputs in, outcomes out. The only place where the rooms meet.

Each worker thread takes one input (or a batch) through the whole chain, and then the next. On a CPU this keeps every
core busy: reading, decoding, the network, native pre- and post-processing and writing all release the GIL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Protocol, TypeVar

from boxmill.engine.batching import BatchBuffer, by_shape
from boxmill.engine.clock import Clock, TimeTable, time_table
from boxmill.engine.failures import StageFailed
from boxmill.images import DecodeLimits, decode, geometry, preprocess
from boxmill.post import Postprocessor
from boxmill.runtimes import Runtime
from boxmill.types import Detections, EncodedItem, Failure, Float32, Frame, Geometry, Outcome

__all__ = ["Items", "Job", "Progress", "Run", "Store"]

T = TypeVar("T")


class Store(Protocol):
    """Whatever keeps the outcomes."""

    def add(self, outcome: Outcome) -> None:
        """Keeps one outcome; called from every worker at once. An error it raises stops the run."""


class Items(Protocol):
    """What is to be worked off, in order."""

    def __len__(self) -> int: ...

    def item(self, index: int) -> EncodedItem:
        """One input, not read yet."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a run needs."""

    items: Items
    runtime: Runtime
    postprocessor: Postprocessor
    store: Store
    rect: bool = False
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    workers: int = 1
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """A glance at a run."""

    done: int
    failed: int
    total: int
    seconds: float  # since the workers started


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
        self._lock = threading.Lock()  # guards the four below
        self._next = self._done = self._failed = 0
        self._working = job.workers
        self._all_done = threading.Event()
        self._stopping = threading.Event()
        self._error: BaseException | None = None

    def stop(self) -> None:
        """Finish what is under way and take no further input."""
        self._stopping.set()

    def execute(self, observe: Callable[[Progress], None] = lambda progress: None, interval: float = 0.1) -> TimeTable:
        """Works off the job, or what comes before `stop`; calls `observe` every `interval` seconds and at the end.

        Raises:
            OutputError: an outcome could not be kept.
        """
        clocks = [Clock() for _ in range(self._job.workers)]
        start, cpu = perf_counter(), process_time()
        for clock in clocks:
            threading.Thread(target=self._work, args=(clock,), daemon=True).start()
        finished = False
        while not finished:
            finished = self._all_done.wait(interval)
            observe(Progress(self._done, self._failed, len(self._job.items), perf_counter() - start))
        if self._error is not None:
            raise self._error
        return time_table(clocks, perf_counter() - start, process_time() - cpu)

    def _work(self, clock: Clock) -> None:
        buffer = BatchBuffer()
        try:
            while chunk := self._take(clock):
                loaded = [one for item in chunk if (one := self._load(item, clock)) is not None]
                for group in by_shape(loaded):
                    self._detect(group, clock, buffer)
        except BaseException as error:  # the store cannot keep results, or a defect: nothing may go on unnoticed
            self._error = self._error or error
            self.stop()
        with clock.wait("last worker"):
            self._leave()

    def _take(self, clock: Clock) -> list[EncodedItem]:
        with clock.wait("next input"), self._lock:
            if self._stopping.is_set():
                return []
            first, end = self._next, min(self._next + self._job.batch, len(self._job.items))
            self._next = end
        return [self._job.items.item(index) for index in range(first, end)]

    def _leave(self) -> None:
        with self._lock:
            self._working -= 1
            if self._working == 0:
                self._all_done.set()
        self._all_done.wait()

    def _load(self, item: EncodedItem, clock: Clock) -> _Loaded | None:
        """Reads and decodes one input; keeps its failure and returns None where that is impossible."""
        times: dict[str, float] = {}
        try:
            data = _timed(clock, "read", times, item.read)
            frame = _timed(clock, "decode", times, lambda: decode(data, item.key, self._job.limits))
        except StageFailed as failed:
            self._keep(Outcome(item.key, item.index, failed.failure(item.key), None, times), clock)
            return None
        height, width = frame.pixels.shape[:2]
        return _Loaded(item, frame, geometry((height, width), self._job.runtime.spec.input, rect=self._job.rect), times)

    def _detect(self, group: Sequence[_Loaded], clock: Clock, buffer: BatchBuffer) -> None:
        """Takes images of one network shape from pixels to kept outcomes."""
        times: dict[str, float] = {}
        try:
            found: Sequence[Detections | Failure] = self._infer(group, clock, times, buffer)
        except StageFailed as failed:
            if len(group) > 1:  # one of them is to blame: find out which
                for one in group:
                    self._detect([one], clock, buffer)
                return
            found = [failed.failure(group[0].item.key)]
        for one, result in zip(group, found, strict=True):
            one.times.update({stage: spent / len(group) for stage, spent in times.items()})
            height, width = one.geometry.source
            self._keep(Outcome(one.item.key, one.item.index, result, (width, height), one.times), clock)

    def _infer(
        self, group: Sequence[_Loaded], clock: Clock, times: dict[str, float], buffer: BatchBuffer
    ) -> list[Detections]:
        runtime, network = self._job.runtime, group[0].geometry.network

        def fill() -> Float32:
            tensor = buffer.tensor(len(group), network, runtime.spec.input)
            for slot, one in zip(tensor, group, strict=True):
                preprocess(one.frame, one.geometry, runtime.spec.input, out=slot)
            return tensor

        tensor = _timed(clock, "preprocess", times, fill)
        raw = _timed(clock, "model", times, lambda: runtime.infer(tensor))
        geometries = [one.geometry for one in group]
        return _timed(clock, "postprocess", times, lambda: self._job.postprocessor(raw, network, geometries))

    def _keep(self, outcome: Outcome, clock: Clock) -> None:
        with clock.stage("write"):
            self._job.store.add(outcome)
        with self._lock:
            self._done += 1
            self._failed += isinstance(outcome.result, Failure)


def _timed(clock: Clock, stage: str, times: dict[str, float], work: Callable[[], T]) -> T:
    lap = clock.stage(stage)
    try:
        with lap:
            return work()
    except Exception as error:
        raise StageFailed(stage, error) from error
    finally:
        times[stage] = lap.seconds * 1e3
