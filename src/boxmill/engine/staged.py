"""The loop for a device: threads that decode, one that feeds the device, and the first again for what comes back.

A device works while the processor decodes, so the stages are apart: decoded images wait in a bounded `Stock`, one
thread launches them in batches of one shape and keeps two launched, so that the device finds the next batch when it has
done with one; whatever comes back is finished by the threads that decode, before they decode more.

Every input ends in one outcome here too. Memory that runs out costs an image nothing but time: its batch is halved, and
alone it is tried again when all else has left the device. A device that faults ends the run with `DeviceFault`; the
reporter knows what was under way then.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from boxmill.engine.batch_size import BatchSize, BatchSizes
from boxmill.engine.batching import BatchBuffer
from boxmill.engine.clock import Clock, Lap
from boxmill.engine.failures import StageFailed
from boxmill.engine.pipeline import Job, Run, timed
from boxmill.engine.stock import Decoded, Returned, Stock
from boxmill.errors import ModelError
from boxmill.images import geometry
from boxmill.runtimes import RawOutput
from boxmill.runtimes.device import DeviceFault, DeviceRuntime, Flight, Landed, OutOfDeviceMemory
from boxmill.types import Detections, EncodedItem, Failure, Frame, Geometry, Outcome, Tags

__all__ = ["StagedOptions", "StagedRun"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StagedOptions:
    """How a device is fed."""

    launched: int = 2  # batches on the device at a time: one that it works at, and the next
    most_pixels: int = 256 << 20  # of source images, decoded and not back yet; 3 bytes each
    pauses: tuple[float, ...] = (0.0, 0.1, 0.5, 2.0)  # seconds before an image alone is tried again for want of memory


@dataclass(frozen=True, slots=True)
class _Launched:
    images: Sequence[Decoded]
    flight: Flight


class StagedRun(Run):
    """One execution of a job whose runtime is a `DeviceRuntime`.

    Args:
        job: `workers` threads decode and finish; one more feeds the device. `batch` is without effect.
        device: the job's runtime.
        sizes: of batches.
        options: how the device is fed.
    """

    def __init__(
        self, job: Job, device: DeviceRuntime, sizes: BatchSizes, options: StagedOptions | None = None
    ) -> None:
        super().__init__(replace(job, workers=job.workers + 1, batch=1))
        self._device, self._sizes = device, sizes
        self._options = options or StagedOptions()
        if job.handed is None:
            self._stock = Stock(self._options.most_pixels)
        else:  # whoever waited for an input would not finish what comes back
            self._stock = Stock(self._options.most_pixels, job.handed.reserve)
            job.handed.on_change(self._stock.inputs_came)
        self._clocks[0] = self._feeder = Clock.beside_a_device()  # the first thread is the one that feeds the device
        self._launched: deque[_Launched] = deque()  # oldest first; this and the next are that thread's alone
        self._again: deque[Sequence[Decoded]] = deque()  # batches that have to be launched anew, in parts
        self._busy = 0.0  # seconds
        self._device_busy = 0.0

    def stop(self) -> None:
        """See `Run.stop`."""
        super().stop()
        self._stock.no_more_inputs()

    def _get_warm(self, buffer: BatchBuffer) -> None:
        self._warm_device()
        self._warm.wait()
        self._go.wait()

    def _work_off(self, clock: Clock, buffer: BatchBuffer) -> None:
        if clock is self._feeder:
            try:
                while self._turn():
                    pass
            finally:
                self._stock.end()
            return
        while work := self._claim(clock):
            if isinstance(work, Returned):
                self._finish(work, clock)
            else:
                self._prepare(clock)

    def _process(self, chunk: Sequence[EncodedItem], clock: Clock, buffer: BatchBuffer) -> None:
        """Suspects, one at a time; only the thread that feeds the device has any."""
        try:
            for item in chunk:
                if image := self._decode(item, clock):
                    self._stock.suspect(image)
                    self._again.append([image])
                while self._again or self._launched:
                    self._turn()
                while returned := self._stock.returned():
                    self._finish(returned, clock)
        except BaseException:
            self._stock.end()
            raise

    def _claim(self, clock: Clock) -> Returned | bool:
        with clock.wait("next input"):
            return self._stock.claim()

    def _prepare(self, clock: Clock) -> None:
        """Decodes the next input into the stock."""
        image = None
        try:
            if chunk := self._take(clock):
                image = self._decode(chunk[0], clock)
            else:
                self._stock.no_more_inputs()
        finally:
            self._stock.decoded(image)

    def _decode(self, item: EncodedItem, clock: Clock) -> Decoded | None:
        """One input, read, decoded, and where the device can fetch it; None, its failure kept, if that cannot be."""
        if (loaded := self._load(item, clock)) is None:
            return None
        try:
            held = timed(clock, "preprocess", loaded.times, lambda: self._device.hold(loaded.frame))
        except StageFailed as failed:
            self._keep(Outcome(item.key, item.index, failed.failure(item.key), None, loaded.times), clock)
            return None
        frame = None if self._job.sink is None else loaded.frame
        return Decoded(item, held, loaded.geometry, loaded.times, frame)

    def _turn(self) -> bool:
        """Launches a batch, or waits for one to come back; False at the end."""
        batch: Sequence[Decoded] | None = []
        if len(self._launched) < self._options.launched:
            batch = self._next()
        if batch:
            self._launch(batch)
        elif self._launched:
            self._land()
        return batch is not None

    def _next(self) -> Sequence[Decoded] | None:
        """What to launch; empty: nothing yet, but the device works; None: nothing will come any more."""
        if not self._again:
            with self._feeder.wait("images"):
                return self._stock.take(lambda network: self._size(network).size, busy=bool(self._launched))
        batch = self._again.popleft()
        most = self._size(batch[0].geometry.network).size
        if len(batch) > most:  # memory ran out once more since it was put back
            self._again.appendleft(batch[most:])
        return batch[:most]

    def _size(self, network: tuple[int, int]) -> BatchSize:
        return self._sizes.of(network, self._device.free_memory)

    def _launch(self, images: Sequence[Decoded]) -> None:
        held, places = [image.held for image in images], [image.geometry for image in images]
        flight = _attempt(self._feeder.stage("model"), lambda: self._device.launch(held, places))
        if isinstance(flight, Exception):
            self._went_wrong(flight, images)
        else:
            self._launched.append(_Launched(images, flight))

    def _land(self) -> None:
        """Waits for the oldest batch and hands it to whoever finishes it."""
        launched = self._launched.popleft()
        images = launched.images
        landed = _attempt(self._feeder.wait("device"), launched.flight.land)
        del launched  # what it keeps of the device
        if isinstance(landed, Exception):
            self._went_wrong(landed, images)
            return
        self._busy += landed.seconds
        self._device_busy = self._busy
        self._size(images[0].geometry.network).ran(len(images), landed.seconds)
        for image in images:
            image.held = None
            image.times["model"] = landed.seconds / len(images) * 1e3
        self._stock.came_back(Returned(images, landed))

    def _went_wrong(self, error: Exception, images: Sequence[Decoded]) -> None:
        if isinstance(error, OutOfDeviceMemory):
            self._make_room(error, images)
        elif len(images) > 1:  # one of them is to blame: find out which
            self._again.extend([image] for image in images)
        else:
            self._fail(images[0], error)

    def _make_room(self, error: OutOfDeviceMemory, images: Sequence[Decoded]) -> None:
        """Empties the device and puts the batch back in halves; one image is put back a few times."""
        self._size(images[0].geometry.network).did_not_fit(len(images))
        while self._launched:
            self._land()
        self._device.release_memory()
        if len(images) > 1:
            half = (len(images) + 1) // 2
            self._again.extendleft((images[half:], images[:half]))
            return
        (image,) = images
        if image.tries == len(self._options.pauses):
            self._fail(image, error)
            return
        with self._feeder.wait("device"):
            time.sleep(self._options.pauses[image.tries])
        image.tries += 1
        self._again.appendleft(images)

    def _fail(self, image: Decoded, error: Exception) -> None:
        self._stock.left([image])
        self._keep(self._outcome(image, StageFailed("model", error).failure(image.item.key)), self._feeder)

    def _finish(self, batch: Returned, clock: Clock) -> None:
        """From what a batch brought back to kept outcomes."""
        found = batch.landed.found
        results = self._results(batch.images, batch.landed.raw or [], clock) if found is None else found()
        for image, result in zip(batch.images, results, strict=True):
            self._keep(self._outcome(image, result), clock, image.frame)

    def _results(
        self, images: Sequence[Decoded], raw: Sequence[RawOutput], clock: Clock
    ) -> Sequence[Detections | Tags | Failure]:
        times: dict[str, float] = {}
        try:
            found = self._select(raw, images, clock, times)
        except StageFailed as failed:
            if len(images) == 1:
                return [failed.failure(images[0].item.key)]
            alone = [[array[number : number + 1] for array in raw] for number in range(len(images))]
            return [self._results([image], own, clock)[0] for image, own in zip(images, alone, strict=True)]
        self._keep_heads(raw, images, clock)
        for image in images:
            image.times.update({stage: spent / len(images) for stage, spent in times.items()})
        return found

    def _outcome(self, image: Decoded, result: Detections | Tags | Failure) -> Outcome:
        height, width = image.geometry.source
        return Outcome(image.item.key, image.item.index, result, (width, height), image.times)

    def _alone(self, frame: Frame, place: Geometry) -> Landed:
        return self._device.launch([self._device.hold(frame)], [place]).land()

    def _warm_device(self) -> None:
        """A grey image of the shape that most will have, as `Run.warm_up` says. Raises ModelError, DeviceFault."""
        if (network := self._job.warm_up) is None:
            return
        frame = Frame("warm-up", np.full((*network, 3), self._device.spec.input.pad, np.uint8))
        place = geometry(network, self._device.spec.input, rect=self._job.rect)
        for pause in (*self._options.pauses, None):
            landed = _attempt(self._feeder.stage("model"), lambda: self._alone(frame, place))
            if not isinstance(landed, Exception):
                return
            if not isinstance(landed, OutOfDeviceMemory):
                raise landed
            if pause is None:
                raise ModelError(
                    f"{self._device.device} has not enough free memory for one image of {network[1]}x{network[0]}: "
                    f"{landed}; end other programs on it, or use a smaller --imgsz or --device cpu"
                )
            self._device.release_memory()
            time.sleep(pause)


def _attempt(lap: Lap, work: Callable[[], T]) -> T | Exception:
    """What `work` gives, or the exception that it raised, without its traceback and without those it came from.

    Their frames hold the tensors of a forward that was not finished: a retry that begins while they live finds as
    little memory as the attempt did. DeviceFault is raised on.
    """
    try:
        with lap:
            return work()
    except DeviceFault:
        raise
    except Exception as error:
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
