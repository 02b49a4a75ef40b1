"""What a run amounts to, counted from its journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from boxmill.store.documents import failure_document
from boxmill.types import Failure

__all__ = ["Counts", "Tally"]

MAX_LISTED_FAILURES = 1000
MAX_LISTED_RESULTS = 10_000


@dataclass(slots=True)
class Counts:
    """Counts over inputs with a result; those of two parts of a run add up."""

    processed: int = 0
    empty: int = 0
    truncated: int = 0
    objects: int = 0
    nan: int = 0
    by_class: dict[int, int] = field(default_factory=dict)

    def add_result(self, classes: Sequence[int], *, truncated: bool, nan: int) -> None:
        """Counts one input; `classes` holds the class of each object."""
        self.processed += 1
        self.objects += len(classes)
        self.empty += not classes
        self.truncated += truncated
        self.nan += nan
        for class_id in classes:
            self.by_class[class_id] = self.by_class.get(class_id, 0) + 1

    def merge(self, other: Counts) -> None:
        """Adds the counts of other inputs."""
        self.processed += other.processed
        self.empty += other.empty
        self.truncated += other.truncated
        self.objects += other.objects
        self.nan += other.nan
        for class_id, count in other.by_class.items():
            self.by_class[class_id] = self.by_class.get(class_id, 0) + count


@dataclass(slots=True)
class Tally(Counts):
    """Counts over outcomes; memory stays bounded however many there are."""

    failed: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, Failure]] = field(default_factory=list)  # the first ones, with their index
    results: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # image documents, dropped when too many
    results_dropped: bool = False

    def keep(self, index: int, document: dict[str, Any]) -> None:
        """Keeps an image's document for `results`, unless there are too many."""
        if len(self.results) == MAX_LISTED_RESULTS:
            self.results_dropped = True
            self.results.clear()
        if not self.results_dropped:
            self.results.append((index, document))

    def document(self, names: Sequence[str]) -> dict[str, Any]:
        """The counted part of summary.json, in the order of the listing."""
        failures = [failure for _, failure in sorted(self.failures, key=lambda pair: pair[0])]
        part: dict[str, Any] = {
            "processed": self.processed,
            "failed": {
                "count": self.failed,
                "by_code": dict(sorted(self.by_code.items())),
                "first": [{"image": failure.key, **failure_document(failure)} for failure in failures],
            },
            "empty": self.empty,
            "truncated": self.truncated,
            "objects": self.objects,
            "nan_candidates": self.nan,
            "classes": {names[class_id]: count for class_id, count in sorted(self.by_class.items())},
        }
        if not self.results_dropped:
            part["results"] = [document for _, document in sorted(self.results, key=lambda pair: pair[0])]
        return part
