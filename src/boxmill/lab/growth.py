"""Time against N, and where one back-end overtakes another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from boxmill.lab.measure import Latency, latencies_by_set
from boxmill.lab.synthetic import crowd
from boxmill.post.backends import Backend

__all__ = ["SIZES", "Crossover", "Growth", "crossovers", "measure_growth"]

# with both sides of 1000, where torchvision's batched_nms changes its algorithm on a CPU
SIZES = (80, 200, 500, 1000, 1001, 1200, 2500, 5000)
_CLEAR = 1.1  # curves nearer than this ratio are level: noise would make them cross again and again


@dataclass(frozen=True, slots=True)
class Crossover:
    """Up to about `size` candidates `below` is faster, from there on `above`."""

    size: float
    below: str
    above: str


@dataclass(frozen=True, slots=True)
class Growth:
    """Latency of each back-end by the number of candidates: one synthetic crowd of 80 classes for each size."""

    sizes: tuple[int, ...]
    latency: Mapping[str, tuple[Latency, ...]]  # one for each size
    crossovers: tuple[Crossover, ...]  # among the hard ones


def measure_growth(backends: Sequence[Backend], sizes: Sequence[int], seconds: float, seed: int = 0) -> Growth:
    """Measures about `seconds` for each size, all sizes in each round, so that neighbours can be compared."""
    by_name = latencies_by_set(backends, [crowd(size, seed=seed) for size in sizes], seconds * len(sizes))
    hard = {
        one.name: [latency.median for latency in by_name[one.name]]
        for one in backends
        if one.method == "hard" and one.max_nms is None
    }
    return Growth(tuple(sizes), by_name, tuple(crossovers(sizes, hard)))


def crossovers(sizes: Sequence[int], medians: Mapping[str, Sequence[float]]) -> list[Crossover]:
    """Where two curves change places, interpolated on logarithmic axes between two sizes at which one clearly leads."""
    found = []
    for first, second in combinations(medians, 2):
        last: tuple[int, float] | None = None  # size, log of the ratio
        for size, one, other in zip(sizes, medians[first], medians[second], strict=True):
            ratio = math.log(one / other)
            if abs(ratio) < math.log(_CLEAR):
                continue
            if last is not None and (last[1] < 0) != (ratio < 0):
                share = last[1] / (last[1] - ratio)
                place = math.exp(math.log(last[0]) + share * (math.log(size) - math.log(last[0])))
                found.append(Crossover(place, *((first, second) if last[1] < 0 else (second, first))))
            last = (size, ratio)
    return sorted(found, key=lambda one: one.size)
