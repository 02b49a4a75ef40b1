"""What workers of these tests are made of: inputs from the order, outcomes as lines of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from boxmill.engine import Handed, Job, Run, StagedRun, TimeTable, WorkerLink
from boxmill.post import Postprocessor
from boxmill.types import EncodedItem, Outcome

__all__ = ["FileStore", "conclude", "ordered_job"]


class FileStore:
    """A line `I ok` for each input, in one write; kept at once."""

    def __init__(self, path: str, link: WorkerLink) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self.link = link

    def add(self, outcome: Outcome) -> None:
        os.write(self.file, b"%d ok\n" % outcome.index)
        self.link.kept(1)


def ordered_job(order: dict[str, Any], link: WorkerLink, runtime: Any, store: FileStore, **parts: Any) -> Job:
    """What is handed out, where the order has a share; else what the store's file has no line of. Suspects alone."""
    every = list(_items(order["inputs"]))
    handed = None if order.get("share") is None else Handed(order["share"])
    return Job(
        items=(every[index] for index in handed) if handed is not None else _left(every, order["journal"]),
        total=len(every),
        runtime=runtime,
        postprocessor=Postprocessor(runtime.spec.head),
        store=store,
        alone=[item for item in every if item.index in order["alone"]],
        reporter=link,
        handed=handed,
        **parts,
    )


def _left(every: list[EncodedItem], journal: str) -> Iterator[EncodedItem]:
    with open(journal) as lines:
        finished = {int(line.split()[0]) for line in lines}
    return (item for item in every if item.index not in finished)


def conclude(link: WorkerLink, job: Job, run: Run | StagedRun, facts: dict[str, Any], interval: float) -> int:
    """Works until all is done or the supervisor says stop; the exit code."""
    link.watch(run.stop, job.handed)
    link.ready(facts)

    def work() -> TimeTable:
        return run.execute(lambda progress: link.times(run.table()), interval=interval)

    return link.conclude(work)


def _items(inputs: list[str]) -> Iterator[EncodedItem]:
    return (EncodedItem(index, f"{index}.png", partial(str.encode, text)) for index, text in enumerate(inputs))
