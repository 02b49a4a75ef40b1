"""The loop for devices around one that fails at random: complete, nothing twice, results as without faults."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from faulty_device import FakeFlight, Faults, FaultyDevice
from memory_store import Memory
from test_pipeline import SPEC, Pixels, gone, inputs, job, photos, same

from boxmill.engine import BatchSizes, Job, Run, StagedOptions, StagedRun, TimeTable
from boxmill.errors import ModelError, OutputError
from boxmill.images import DecodeLimits
from boxmill.post import Postprocessor
from boxmill.runtimes.device import DeviceFault, Landed, OutOfDeviceMemory
from boxmill.types import EncodedItem, Failure, Frame, Geometry, Outcome

QUICK = StagedOptions(pauses=(0.0,) * 12)


def staged(
    work: Job, device: FaultyDevice | None = None, sizes: BatchSizes | None = None, options: StagedOptions = QUICK
) -> StagedRun:
    device = device or FaultyDevice(SPEC)
    return StagedRun(replace(work, runtime=device), device, sizes or BatchSizes(most=device.most_images), options)


def ordinary(files: Sequence[tuple[str, Callable[[], bytes]]]) -> Memory:
    store = Memory()
    Run(job(inputs(files), store=store)).execute()
    return store


def check_equal(found: Memory, expected: Memory) -> None:
    assert found.outcomes.keys() == expected.outcomes.keys()
    assert all(same(found.outcomes[key], one) for key, one in expected.outcomes.items())


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("launched", [1, 2, 3])
@pytest.mark.parametrize("batch", [None, 1, 5])
def test_results_are_those_of_the_ordinary_loop(workers: int, launched: int, batch: int | None) -> None:
    store = Memory()
    work = job(inputs(photos(23)), store=store, workers=workers)
    options = replace(QUICK, launched=launched)
    run = staged(work, sizes=BatchSizes(batch), options=options)
    run.execute()
    check_equal(store, ordinary(photos(23)))


def test_bad_inputs_become_failures_and_stop_nothing() -> None:
    store = Memory()
    files = [*photos(3), ("gone.jpg", gone), ("text.jpg", lambda: b"hello, this is no picture")]
    staged(job(inputs(files), store=store, workers=2)).execute()
    failures = {key: o.result for key, o in store.outcomes.items() if isinstance(o.result, Failure)}
    assert {key: (f.stage, f.code) for key, f in failures.items()} == {
        "gone.jpg": ("read", "missing"),
        "text.jpg": ("decode", "unsupported"),
    }
    assert store.outcomes["0.png"].size == (80, 60)
    assert len(store.outcomes) == 5


def test_a_bound_of_less_than_one_image_still_lets_all_through() -> None:
    store = Memory()
    options = replace(QUICK, most_pixels=1)
    staged(job(inputs(photos(9)), store=store, workers=2), sizes=BatchSizes(8), options=options).execute()
    check_equal(store, ordinary(photos(9)))


class Ledger:
    """A reporter that knows what is under way, as the supervisor does."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: dict[int, None] = {}

    def start(self, index: int) -> None:
        with self.lock:
            assert index not in self.running, "taken twice"
            self.running[index] = None

    def end(self, index: int, failed: bool) -> None:
        with self.lock:
            del self.running[index]

    def leave(self, index: int) -> None:
        self.end(index, failed=False)


def noise(data: bytes, key: str, limits: DecodeLimits) -> Frame:
    seed = int(data)
    height, width = ((24, 32), (32, 24), (32, 32), (12, 40))[seed % 4]
    return Frame(key, np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8))


def numbers(count: int) -> list[EncodedItem]:
    return inputs([(f"{number}", partial(str.encode, str(number))) for number in range(count)])


SMALL = replace(SPEC, input=replace(SPEC.input, size=(32, 32)))


def small_job(items: Iterable[EncodedItem], **changes: Any) -> Job:
    return job(list(items), decode=noise, postprocessor=Postprocessor(SMALL.head, conf=0.1), **changes)


def until_done(items: list[EncodedItem], faults: Faults, store: Memory) -> int:
    """Run after run as a supervisor starts them: what was under way when the device faulted is taken alone first."""
    suspects: list[int] = []
    for runs in range(1, 10_000):
        ledger, device = Ledger(), FaultyDevice(SMALL, faults, most_images=16)
        left = [item for item in items if item.key not in store.outcomes]
        alone = [items[index] for index in suspects]
        work = small_job(left, alone=alone, store=store, reporter=ledger, workers=2, runtime=device)
        try:
            StagedRun(work, device, BatchSizes(most=16), QUICK).execute(interval=0.01)
        except DeviceFault:
            suspects = [index for index in (*suspects, *ledger.running) if items[index].key not in store.outcomes]
            suspects = list(dict.fromkeys(suspects))
            continue
        assert not ledger.running
        return runs
    raise AssertionError("it does not end")


def test_a_thousand_faults_lose_nothing_double_nothing_and_change_nothing() -> None:
    items = numbers(3000)
    expected, store = Memory(), Memory()
    Run(small_job(items, store=expected, runtime=FaultyDevice(SMALL))).execute()
    faults = Faults(seed=5, memory=0.35, fault=0.02, capacity=8 * 32 * 32)
    runs = until_done(items, faults, store)  # the store refuses a second outcome
    assert faults.out_of_memory + faults.faults >= 1000
    assert faults.faults >= 20
    assert runs == faults.faults + 1
    check_equal(store, expected)


def test_a_batch_that_does_not_fit_is_halved_and_sizes_grow_again() -> None:
    store = Memory()
    device = FaultyDevice(SMALL, Faults(capacity=4 * 32 * 32), most_images=32)
    sizes = BatchSizes(16)
    options = replace(QUICK, launched=1)
    staged(small_job(numbers(200), store=store), device, sizes, options).execute()
    assert len(store.outcomes) == 200
    assert max(device.launches) <= 16
    assert device.faults.out_of_memory == device.released > 0


class Cramped(FaultyDevice):
    """Never has memory for one particular input, whatever else it has to do."""

    refused = "7"

    def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> FakeFlight:
        if any(image.key == self.refused for image in images):
            raise OutOfDeviceMemory("tried to allocate 80 GiB")
        return super().launch(images, geometries)


def test_an_image_that_never_fits_fails_alone() -> None:
    store = Memory()
    staged(small_job(numbers(20), store=store), Cramped(SMALL), options=replace(QUICK, pauses=(0.0, 0.001))).execute()
    (failure,) = [one.result for one in store.outcomes.values() if isinstance(one.result, Failure)]
    assert (failure.key, failure.stage, failure.code) == ("7", "model", "memory")
    assert "80 GiB" in failure.message
    assert len(store.outcomes) == 20


def test_a_network_error_is_pinned_on_the_image_that_causes_it() -> None:
    class Picky(FaultyDevice):
        def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> FakeFlight:
            if any(image.key == "7" for image in images):
                raise ModelError("cannot run on this")
            return super().launch(images, geometries)

    store = Memory()
    staged(small_job(numbers(20), store=store), Picky(SMALL)).execute()
    failed = [key for key, outcome in store.outcomes.items() if isinstance(outcome.result, Failure)]
    assert failed == ["7"]
    assert store.outcomes["7"].result == Failure("7", "model", "error", "cannot run on this")


class Tensors:
    """Stands for what a forward pass holds on a device."""


def test_nothing_of_a_failed_attempt_lives_when_memory_is_released() -> None:
    alive: list[weakref.ref[Tensors]] = []

    class Holding(FaultyDevice):
        def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> FakeFlight:
            if len(images) > 2:
                activations = Tensors()
                alive.append(weakref.ref(activations))
                try:
                    raise RuntimeError("CUDA out of memory")
                except RuntimeError as error:
                    raise OutOfDeviceMemory(str(error)) from error
            return super().launch(images, geometries)

        def release_memory(self) -> None:
            super().release_memory()
            assert all(tensors() is None for tensors in alive)

    device, store = Holding(SMALL), Memory()
    staged(small_job(numbers(40), store=store), device, BatchSizes(8)).execute()
    assert alive
    assert device.released == len(alive)
    assert len(store.outcomes) == 40


def test_suspects_are_worked_off_first_and_alone() -> None:
    order: list[list[str]] = []

    class Watched(FaultyDevice):
        def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> FakeFlight:
            order.append([image.key for image in images])
            assert len(order) > 3 or self.on_device == 0
            return super().launch(images, geometries)

    store = Memory()
    items = numbers(20)
    staged(small_job(items, alone=[items[15], items[2], items[9]], store=store), Watched(SMALL)).execute()
    assert order[:3] == [["15"], ["2"], ["9"]]
    assert len(store.outcomes) == 20


def test_a_fault_among_the_suspects_ends_the_run() -> None:
    items = numbers(20)
    device = FaultyDevice(SMALL, Faults(fault=1.0))
    with pytest.raises(DeviceFault, match="illegal memory access"):
        staged(small_job(items, alone=items[3:6], workers=3), device).execute()


def test_a_fault_while_warming_up_is_no_fault_of_the_model() -> None:
    run = staged(small_job(numbers(3), warm_up=(32, 32)), FaultyDevice(SMALL, Faults(fault=1.0)))
    with pytest.raises(DeviceFault):
        run.warm_up()


def test_a_device_without_memory_for_one_image_is_refused_at_the_start() -> None:
    run = staged(small_job(numbers(3), warm_up=(32, 32)), FaultyDevice(SMALL, Faults(capacity=0)))
    with pytest.raises(ModelError, match="fake:0 has not enough free memory for one image of 32x32"):
        run.warm_up()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_store_that_cannot_keep_results_stops_the_run_and_no_thread_outlives_it(workers: int) -> None:
    class Broken(Memory):
        def add(self, outcome: Outcome) -> None:
            if len(self.outcomes) == 2:
                raise OutputError("disk full")
            super().add(outcome)

    before = set(threading.enumerate())
    store = Broken()
    with pytest.raises(OutputError, match="disk full"):
        staged(small_job(numbers(60), store=store, workers=workers)).execute()
    assert len(store.outcomes) == 2
    assert set(threading.enumerate()) <= before


def test_stop_finishes_what_is_under_way_and_takes_nothing_more() -> None:
    class Stopper(Memory):
        def add(self, outcome: Outcome) -> None:
            super().add(outcome)
            run.stop()

    store, ledger = Stopper(), Ledger()
    run = staged(small_job(numbers(5000), store=store, reporter=ledger, workers=2), sizes=BatchSizes(4))
    run.execute()
    assert 1 <= len(store.outcomes) < 5000
    assert not ledger.running


def test_time_table_adds_up_and_knows_how_long_the_device_worked() -> None:
    store = Memory()
    device = FaultyDevice(SMALL)
    table: TimeTable = staged(small_job(numbers(64), store=store, workers=2), device, BatchSizes(8)).execute()
    accounted = sum(table.stages.values()) + sum(table.waits.values()) + table.unexplained
    assert accounted == pytest.approx(3 * table.wall)
    assert {"images", "device", "next input"} <= table.waits.keys()
    assert table.device_busy == pytest.approx(sum(1e-4 * (4 + count) for count in device.launches))
    stages = {"read", "decode", "preprocess", "model", "postprocess"}
    assert all(stages <= outcome.times.keys() for outcome in store.outcomes.values())


def test_a_sink_gets_the_pixels_of_every_result_before_the_store() -> None:
    store = Memory()
    sink = Pixels(store)
    staged(job(inputs(photos(7)), store=store, sink=sink, workers=2)).execute()
    assert sink.seen.keys() == store.outcomes.keys()
    assert not any(stored for _, stored in sink.seen.values())


def test_what_the_device_selected_itself_is_taken_as_it_is() -> None:
    class Selecting(FaultyDevice):
        def launch(self, images: Sequence[Frame], geometries: Sequence[Geometry]) -> Any:
            flight = super().launch(images, geometries)
            select = Postprocessor(SMALL.head, conf=0.1)

            class Selected:
                def land(self) -> Landed:
                    landed = flight.land()
                    assert landed.raw is not None
                    found = select(landed.raw, geometries[0].network, geometries)
                    return Landed(None, lambda: found, landed.seconds)

            return Selected()

    expected, store = Memory(), Memory()
    Run(small_job(numbers(30), store=expected, runtime=FaultyDevice(SMALL))).execute()

    def never(*_: object) -> list[Any]:
        raise AssertionError("the device has selected")

    work = replace(small_job(numbers(30), store=store), postprocessor=never)
    staged(work, Selecting(SMALL)).execute()
    check_equal(store, expected)
