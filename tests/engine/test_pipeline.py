"""The loop around a deterministic runtime: complete, batch-invariant, and stopped by nothing but its store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from memory_store import Memory

from boxmill.engine import Job, Run
from boxmill.errors import OutputError
from boxmill.images import DecodeLimits, decode
from boxmill.post import Postprocessor
from boxmill.runtimes.fake import FakeRuntime
from boxmill.types import Detections, EncodedItem, Failure, Float32, Frame, HeadSpec, InputSpec, ModelSpec, Outcome

SPEC = ModelSpec(InputSpec(size=(96, 96), dynamic=True), HeadSpec("yolo"), ("cat", "dog", "cow"))


def inputs(files: Sequence[tuple[str, Callable[[], bytes]]]) -> list[EncodedItem]:
    return [EncodedItem(index, key, read) for index, (key, read) in enumerate(files)]


def png(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    height, width = ((60, 80), (80, 60), (64, 64), (40, 200))[seed % 4]
    return cv2.imencode(".png", rng.integers(0, 255, (height, width, 3), np.uint8))[1].tobytes()


def photos(count: int) -> list[tuple[str, Callable[[], bytes]]]:
    return [(f"{seed}.png", partial(png, seed)) for seed in range(count)]


def job(items: list[EncodedItem], **changes: object) -> Job:
    base = Job(items, len(items), FakeRuntime(SPEC), Postprocessor(SPEC.head, conf=0.1), Memory(), rect=True)
    return replace(base, **changes)


def same(a: Outcome, b: Outcome) -> bool:
    assert isinstance(a.result, Detections)
    assert isinstance(b.result, Detections)
    arrays = ("boxes", "scores", "classes", "indices")
    return all(getattr(a.result, name).tobytes() == getattr(b.result, name).tobytes() for name in arrays)


@pytest.mark.parametrize("rect", [True, False])
@pytest.mark.parametrize(("workers", "batch"), [(1, 4), (2, 1), (2, 3), (4, 8)])
def test_results_do_not_depend_on_neighbours_or_workers(workers: int, batch: int, rect: bool) -> None:
    alone, together = Memory(), Memory()
    for file in photos(13):
        Run(job(inputs([file]), store=alone, rect=rect)).execute()
    Run(job(inputs(photos(13)), store=together, rect=rect, workers=workers, batch=batch)).execute()
    assert together.outcomes.keys() == alone.outcomes.keys()
    assert sum(len(outcome.result) for outcome in alone.outcomes.values()) > 100
    assert all(same(alone.outcomes[key], together.outcomes[key]) for key in alone.outcomes)


def gone() -> bytes:
    raise FileNotFoundError(2, "No such file or directory")


def test_bad_inputs_become_failures_and_stop_nothing() -> None:
    store = Memory()
    files = [*photos(3), ("gone.jpg", gone), ("text.jpg", lambda: b"hello, this is no picture"), ("empty.jpg", bytes)]
    Run(job(inputs(files), store=store, workers=2, batch=2)).execute()
    failures = {key: o.result for key, o in store.outcomes.items() if isinstance(o.result, Failure)}
    assert {key: (f.stage, f.code) for key, f in failures.items()} == {
        "gone.jpg": ("read", "missing"),
        "text.jpg": ("decode", "unsupported"),
        "empty.jpg": ("decode", "empty"),
    }
    assert len(store.outcomes) == 6
    assert all(store.outcomes[key].size is None for key in failures)
    assert store.outcomes["0.png"].size == (80, 60)


class Picky(FakeRuntime):
    """Refuses tensors that hold one particular picture."""

    def __init__(self, refused: Float32) -> None:
        super().__init__(SPEC)
        self.refused = refused

    def infer(self, tensor: Float32) -> list[Float32]:
        if any(np.array_equal(image, self.refused) for image in tensor):
            raise RuntimeError("primitive descriptor failed")
        return super().infer(tensor)


def test_a_network_error_in_a_batch_is_pinned_on_the_image_that_causes_it() -> None:
    class Recorder(FakeRuntime):
        def infer(self, tensor: Float32) -> list[Float32]:
            seen.append(tensor[0].copy())
            return super().infer(tensor)

    seen: list[Float32] = []
    files = [(f"{i}.png", partial(png, 4 * i)) for i in range(6)]  # one shape: one batch
    Run(job(inputs(files[2:3]), runtime=Recorder(SPEC))).execute()
    store = Memory()
    Run(job(inputs(files), store=store, runtime=Picky(seen[0]), batch=6)).execute()
    failed = [key for key, outcome in store.outcomes.items() if isinstance(outcome.result, Failure)]
    assert failed == ["2.png"]
    assert store.outcomes["2.png"].result == Failure(
        "2.png", "model", "error", "RuntimeError: primitive descriptor failed"
    )


def test_a_store_that_cannot_keep_results_stops_the_run() -> None:
    class Full(Memory):
        def add(self, outcome: Outcome) -> None:
            if len(self.outcomes) == 2:
                raise OutputError("disk full")
            super().add(outcome)

    store = Full()
    with pytest.raises(OutputError, match="disk full"):
        Run(job(inputs(photos(40)), store=store, workers=2)).execute()
    assert len(store.outcomes) == 2


def test_stop_finishes_what_is_under_way_and_takes_nothing_more() -> None:
    class Stopper(Memory):
        def add(self, outcome: Outcome) -> None:
            super().add(outcome)
            run.stop()

    store = Stopper()
    run = Run(job(inputs(photos(40)), store=store, workers=2, batch=2))
    run.execute()
    assert 2 <= len(store.outcomes) <= 4


def test_time_table_adds_up_and_every_outcome_has_its_times() -> None:
    store = Memory()
    table = Run(job(inputs(photos(9)), store=store, workers=3)).execute()
    accounted = sum(table.stages.values()) + sum(table.waits.values()) + table.unexplained
    assert accounted == pytest.approx(3 * table.wall)
    assert all(seconds > 0 for seconds in table.stages.values())
    stages = {"read", "decode", "preprocess", "model", "postprocess"}
    assert all(stages <= outcome.times.keys() for outcome in store.outcomes.values())


def test_progress_ends_complete() -> None:
    seen = []
    Run(job(inputs([*photos(5), ("gone", gone)]), workers=2)).execute(seen.append, interval=0.001)
    assert (seen[-1].done, seen[-1].failed, seen[-1].total) == (6, 1, 6)


class Witness:
    """Remembers what is under way, and with whom."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[int] = set()
        self.company: dict[int, set[int]] = {}
        self.order: list[int] = []
        self.failed: set[int] = set()

    def start(self, index: int) -> None:
        with self.lock:
            assert index not in self.company, "taken twice"
            self.order.append(index)
            self.company[index] = set(self.running)
            for other in self.running:
                self.company[other].add(index)
            self.running.add(index)

    def end(self, index: int, failed: bool) -> None:
        with self.lock:
            self.running.remove(index)
            if failed:
                self.failed.add(index)


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (3, 1), (2, 4)])
def test_suspects_are_worked_off_first_and_alone(workers: int, batch: int) -> None:
    witness, store = Witness(), Memory()
    files = inputs([*photos(20), ("gone", gone)])
    suspects = [files[15], files[20], files[3]]
    Run(job(files, store=store, alone=suspects, workers=workers, batch=batch, reporter=witness)).execute()
    assert witness.order[:3] == [15, 20, 3]
    assert all(witness.company[index] == set() for index in (15, 20, 3))
    assert len(store.outcomes) == 21
    assert (witness.running, witness.failed) == (set(), {20})


def test_stop_among_the_suspects_takes_nothing_more() -> None:
    class Stopper(Memory):
        def add(self, outcome: Outcome) -> None:
            super().add(outcome)
            run.stop()

    store = Stopper()
    files = inputs(photos(9))
    run = Run(job(files, store=store, alone=files[5:8], workers=3))
    run.execute()
    assert store.outcomes.keys() == {"5.png"}


def test_an_error_among_the_suspects_ends_the_run() -> None:
    class Full(Memory):
        def add(self, outcome: Outcome) -> None:
            raise OutputError("disk full")

    files = inputs(photos(9))
    with pytest.raises(OutputError, match="disk full"):
        Run(job(files, store=Full(), alone=files[5:8], workers=3)).execute()


def test_inputs_are_taken_lazily_and_a_broken_list_ends_the_run() -> None:
    def listed() -> Iterator[EncodedItem]:
        yield from inputs(photos(3))
        raise OutputError("manifest-0.jsonl: line 4 is damaged")

    store = Memory()
    with pytest.raises(OutputError, match="line 4"):
        Run(replace(job([]), items=listed(), total=9, store=store)).execute()
    assert len(store.outcomes) == 3


@pytest.mark.parametrize("broken", [False, True])
def test_no_thread_outlives_the_run(broken: bool) -> None:
    class Full(Memory):
        def add(self, outcome: Outcome) -> None:
            raise OutputError("disk full")

    before = set(threading.enumerate())
    run = Run(job(inputs(photos(9)), store=Full() if broken else Memory(), workers=4))
    with pytest.raises(OutputError) if broken else nullcontext():
        run.execute()
    assert set(threading.enumerate()) <= before


def test_the_decoder_is_a_parameter() -> None:
    def negative(data: bytes, key: str, limits: DecodeLimits) -> Frame:
        frame = decode(data, key, limits)
        return Frame(key, 255 - frame.pixels)

    usual, other = Memory(), Memory()
    Run(job(inputs(photos(1)), store=usual)).execute()
    Run(job(inputs(photos(1)), store=other, decode=negative)).execute()
    assert not same(usual.outcomes["0.png"], other.outcomes["0.png"])


def test_an_input_is_fetched_before_it_counts_as_under_way() -> None:
    """What bringing it within reach takes is no input's fault, so no time limit may run then."""
    events: list[str] = []

    class Watching:
        def start(self, index: int) -> None:
            events.append(f"start {index}")

        def end(self, index: int, failed: bool) -> None:
            events.append(f"end {index}")

    items = [replace(item, fetch=partial(events.append, f"fetch {item.index}")) for item in inputs(photos(3))]
    Run(job(items[1:], alone=items[:1], reporter=Watching())).execute()
    assert events == [f"{event} {index}" for index in range(3) for event in ("fetch", "start", "end")]


class Pixels:
    """A sink that remembers what it was given, and what the store had by then."""

    def __init__(self, store: Memory) -> None:
        self.store = store
        self.seen: dict[str, tuple[tuple[int, ...], bool]] = {}

    def add(self, frame: Frame, outcome: Outcome) -> None:
        assert frame.key == outcome.key
        self.seen[frame.key] = (frame.pixels.shape, frame.key in self.store.outcomes)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_sink_gets_the_pixels_of_every_result_before_the_store(batch: int) -> None:
    store = Memory()
    sink = Pixels(store)
    files = [*photos(5), ("broken.png", lambda: b"no image")]
    Run(job(inputs(files), store=store, sink=sink, batch=batch, workers=2)).execute()
    assert isinstance(store.outcomes["broken.png"].result, Failure)
    assert sink.seen.keys() == store.outcomes.keys() - {"broken.png"}
    for key, (shape, stored) in sink.seen.items():
        assert store.outcomes[key].size == (shape[1], shape[0])
        assert not stored


def test_a_sink_that_cannot_write_stops_the_run() -> None:
    class Full:
        def add(self, frame: Frame, outcome: Outcome) -> None:
            raise OutputError("disk full")

    store = Memory()
    with pytest.raises(OutputError, match="disk full"):
        Run(job(inputs(photos(5)), store=store, sink=Full())).execute()
    assert not store.outcomes
