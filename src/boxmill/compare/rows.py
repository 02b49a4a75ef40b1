"""The table's arithmetic: what was measured of each program, and what follows from it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

__all__ = ["Comparison", "Missing", "Row", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One execution of one program; seconds and bytes."""

    images: int  # that it worked on
    wall: float  # from the first image to the last result
    whole: float  # of the whole process, its start and its end included
    cpu: float  # processor time within `wall`, of all threads
    peak_memory: int
    gpu: float | None  # share of time
    objects: int
    failed: int

    @property
    def per_image(self) -> float:
        """Seconds."""
        return self.wall / self.images


@dataclass(frozen=True, slots=True)
class Row:
    """One program."""

    letter: str  # a, b, c, c', d
    title: str
    total_images: int  # of the source
    samples: tuple[Sample, ...]  # one a round
    ap: float | None = None

    @property
    def sampled(self) -> int | None:
        """How many images it worked on, where these were not all; its total is then extrapolated."""
        return None if self.samples[0].images == self.total_images else self.samples[0].images

    @property
    def per_image(self) -> float:
        """Seconds, the median of all rounds; starting is not in it."""
        return statistics.median(one.per_image for one in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Seconds an image in the fastest and the slowest round."""
        every = [one.per_image for one in self.samples]
        return min(every), max(every)

    @property
    def start(self) -> float:
        """Seconds of the process before its first image and behind its last result."""
        return statistics.median(one.whole - one.wall for one in self.samples)

    @property
    def total(self) -> float:
        """Seconds for all images of the source, starting included."""
        return self.start + self.per_image * self.total_images

    def cpu_share(self, cores: int) -> float:
        """Share of all cores' time that it computed in, from the first image to the last result."""
        return statistics.median(one.cpu / (one.wall * cores) for one in self.samples)

    @property
    def gpu_share(self) -> float | None:
        """Share of time in which the GPU computed; None: nobody could be asked."""
        known = [one.gpu for one in self.samples if one.gpu is not None]
        return statistics.median(known) if known else None

    @property
    def peak_memory(self) -> int:
        """Bytes, the most of all rounds."""
        return max(one.peak_memory for one in self.samples)

    def times(self, other: Row) -> float:
        """How many times as fast as `other` this is, by the time of an image."""
        return other.per_image / self.per_image


@dataclass(frozen=True, slots=True)
class Missing:
    """A program that did not take part."""

    letter: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole table."""

    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    cores: int
    facts: dict[str, Any]  # machine, versions, network, thresholds, source: JSON-able
    notes: tuple[str, ...]  # for people

    def row(self, letter: str) -> Row | None:
        """The row with this letter, if it took part."""
        return next((row for row in self.rows if row.letter == letter), None)

    @property
    def bases(self) -> list[Row]:
        """What multiples are given over: the scripts, as far as they took part."""
        return [row for letter in ("a", "b", "c", "c'") if (row := self.row(letter)) is not None]

    def document(self) -> dict[str, Any]:
        """As JSON; seconds, bytes, shares from 0 to 1."""
        return {
            **self.facts,
            "cores": self.cores,
            "rows": [self._row(row) for row in self.rows],
            "missing": [{"row": one.letter, "title": one.title, "reason": one.reason} for one in self.missing],
            "notes": list(self.notes),
        }

    def _row(self, row: Row) -> dict[str, Any]:
        first = row.samples[0]
        return {
            "row": row.letter, "title": row.title, "rounds": len(row.samples),
            "seconds_per_image": row.per_image, "spread": list(row.spread),
            "start": row.start, "total": row.total,
            "extrapolated_from": row.sampled,
            "cpu_share": row.cpu_share(self.cores), "gpu_share": row.gpu_share,
            "peak_memory": row.peak_memory,
            "objects": first.objects, "failed": first.failed, "ap": row.ap,
            "times": {base.letter: row.times(base) for base in self.bases},
        }  # fmt: skip
