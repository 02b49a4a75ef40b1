"""How long each back-end takes, and which boxes it keeps that the reference does not, or the other way round."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from time import perf_counter
from typing import TypeVar

import numpy as np

from boxmill.lab.candidates import Candidates, Head
from boxmill.post import reference
from boxmill.post.backends import Backend, Kept, Rule
from boxmill.post.cost import nms_cost

__all__ = [
    "Difference",
    "Internals",
    "Latency",
    "differences",
    "internals",
    "latencies",
    "latencies_by_set",
    "whole_latency",
]

T = TypeVar("T")
_QUICK = 2e-3  # seconds; a faster call is repeated, because a timer's and a cache's noise is as large as it
_REPEATS = 5
_MAX_ROUNDS = 200
_REPORTS = 15  # of each set


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds of one call, from Python."""

    median: float
    p95: float
    best: float
    calls: int


@dataclass(frozen=True, slots=True)
class Internals:
    """What boxmill's NMS does inside one image, `boxmill.post.cost`; medians over images, and over repeats of each."""

    candidates: int
    tests: int  # IoUs computed
    kept: int
    filter: float  # µs, and so are those below
    group: float
    sort: float
    suppress: float


@dataclass(frozen=True, slots=True)
class Difference:
    """What a back-end keeps against `boxmill.post.reference`, summed over images."""

    expected: int  # boxes that the reference keeps
    missing: int  # of those, not kept
    extra: int  # kept, and not by the reference
    score: float | None  # soft: the largest difference of a decayed score among the common boxes


def latencies(backends: Sequence[Backend], sets: Sequence[Candidates], seconds: float) -> dict[str, Latency]:
    """Of each back-end over all sets together; see `latencies_by_set`."""
    spent = _measure({one.name: partial(_replay, one) for one in backends}, sets, seconds)
    return {name: _latency([time for times in by_set for time in times]) for name, by_set in spent.items()}


def latencies_by_set(
    backends: Sequence[Backend], sets: Sequence[Candidates], seconds: float
) -> dict[str, tuple[Latency, ...]]:
    """Of each back-end, one for each set.

    Interleaved: in each round every set goes through every back-end before the next set, so that a machine's other work
    falls on all alike. The first call of each pair is not counted: some packages compile themselves then. Rounds go on
    for about `seconds`, but there are at least three.
    """
    spent = _measure({one.name: partial(_replay, one) for one in backends}, sets, seconds)
    return {name: tuple(_latency(times) for times in by_set) for name, by_set in spent.items()}


def _replay(backend: Backend, found: Candidates) -> Kept:
    return backend.suppress(*found.arrays())


def internals(sets: Sequence[Candidates], iou: float) -> Internals:
    """Counts and steps of boxmill's hard NMS."""
    reports = [[nms_cost(*one.arrays(), iou=iou) for _ in range(_REPORTS)] for one in sets]
    counts = np.array([(one[0].candidates, one[0].tests, len(one[0].kept)) for one in reports])
    times = np.array([[(r.filter, r.group, r.sort, r.suppress) for r in one] for one in reports])  # (sets, reports, 4)
    steps: list[float] = np.median(np.median(times, axis=1), axis=0).tolist()
    return Internals(*(int(count) for count in np.median(counts, axis=0)), *steps)


def whole_latency(heads: Sequence[Head], seconds: float) -> Latency | None:
    """Raw head to final boxes in network pixels by `boxmill.post.Postprocessor`; None without heads."""
    if not heads:
        return None
    spent = _measure({"": lambda head: head.postprocessor(head.raw, head.network)}, heads, seconds)[""]
    return _latency([time for times in spent for time in times])


def _measure(
    calls: Mapping[str, Callable[[T], object]], inputs: Sequence[T], seconds: float
) -> dict[str, list[list[float]]]:
    """Seconds of each call, by name and input."""
    repeats = {name: [_warm_up(call, one) for one in inputs] for name, call in calls.items()}
    spent: dict[str, list[list[float]]] = {name: [[] for _ in inputs] for name in calls}
    names, shuffle = [*calls], Random(0)
    start, rounds = perf_counter(), 0
    with _no_collection():
        while rounds < 3 or (perf_counter() - start < seconds and rounds < _MAX_ROUNDS):
            shuffle.shuffle(names)  # whoever comes after the slowest finds the coldest caches
            rounds += 1
            for number, one in enumerate(inputs):
                for name in names:
                    spent[name][number] += [_timed(calls[name], one) for _ in range(repeats[name][number])]
    return spent


def _warm_up(call: Callable[[T], object], one: T) -> int:
    """How often a call is repeated in a round."""
    call(one)
    return _REPEATS if _timed(call, one) < _QUICK else 1


def _timed(call: Callable[[T], object], one: T) -> float:
    start = perf_counter()
    call(one)
    return perf_counter() - start


@contextmanager
def _no_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _latency(times: Sequence[float]) -> Latency:
    micros = np.array(times) * 1e6
    return Latency(float(np.median(micros)), float(np.percentile(micros, 95)), float(micros.min()), len(times))


def differences(backend: Backend, sets: Sequence[Candidates], rule: Rule) -> Difference:
    """Against the full answer of the same method: what a pre-filter cuts counts as missing."""
    expected = missing = extra = 0
    worst: float | None = None
    for found in sets:
        rows, decayed = _reference(backend, found, rule)
        kept, scores = backend.suppress(*found.arrays())
        wanted, given = set(rows.tolist()), set(kept.tolist())
        expected += len(wanted)
        missing += len(wanted - given)
        extra += len(given - wanted)
        if decayed is not None and scores is not None:
            known = dict(zip(rows.tolist(), decayed.tolist(), strict=True))
            told = dict(zip(kept.tolist(), scores.tolist(), strict=True))
            worst = max([worst or 0.0, *(abs(known[row] - told[row]) for row in wanted & given)])
    return Difference(expected, missing, extra, worst)


def _reference(backend: Backend, found: Candidates, rule: Rule) -> Kept:
    if backend.method == "hard":
        return reference.nms(*found.arrays(), iou=rule.iou).kept, None
    iou = rule.soft_iou
    return reference.soft_nms(*found.arrays(), method=backend.method, iou=iou, sigma=rule.sigma, conf=rule.conf)
