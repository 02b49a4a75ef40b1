"""Journals of several workers at a time, and a run of theirs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from test_supervisor import FileLedger

from boxmill.engine import Limits, Start, Supervisor, WorkerProcess, start_worker

HANDED_WORKER = [sys.executable, "-S", "-E", str(Path(__file__).with_name("handed_worker.py"))]


class PlacedLedger(FileLedger):
    """A file for each place, and one for the supervisor's own failures; a place's is read when its worker has died."""

    def __init__(self, folder: Path, places: int) -> None:
        super().__init__(folder / "journal")
        self.files = [folder / f"journal-{place}" for place in range(places)]
        for file in self.files:
            file.touch()

    def refresh(self, place: int = 0) -> None:
        files = getattr(self, "files", [])
        if files:
            self.ended.update(int(line.split()[0]) for line in files[place].read_text().splitlines())
        else:
            self.ended: set[int] = set()

    def record_failure(self, index: int, code: str, message: str) -> None:
        super().record_failure(index, code, message)
        self.ended.add(index)

    def of(self, place: int) -> list[int]:
        """What the place's workers have ended, in their order."""
        return [int(line.split()[0]) for line in self.files[place].read_text().splitlines()]

    def states(self) -> dict[int, str]:
        """As the files say; each input is in them once."""
        lines = [line.split() for file in (self.path, *self.files) for line in file.read_text().splitlines()]
        assert len(lines) == len({index for index, _ in lines})
        return {int(index): state for index, state in sorted(lines, key=lambda line: int(line[0]))}


class PlacedBench:
    """A run of `total` inputs by miniature workers, one for each of `paces` (seconds an input)."""

    def __init__(
        self, folder: Path, total: int, paces: tuple[float, ...], evil: Mapping[int, str] | None = None
    ) -> None:
        self.ledger = PlacedLedger(folder, len(paces))
        self.total, self.paces = total, paces
        self.job: dict[str, Any] = {"evil": evil or {}}
        self.at_once: dict[int, str] = {}  # by place: what its workers execute before they are ready
        self.starts: list[Start] = []

    def spawn(self, start: Start) -> WorkerProcess:
        self.starts.append(start)
        place = start.place
        job = {**self.job, "journal": str(self.ledger.files[place]), "place": place, "pace": self.paces[place]}
        job |= {"alone": start.suspects, "share": start.share, "at once": self.at_once.get(place, "")}
        return start_worker(HANDED_WORKER, job)

    def supervisor(self, **limits: Any) -> Supervisor:
        names = [f"cuda:{place}" for place in range(len(self.paces))]
        return Supervisor(self.spawn, self.ledger, self.total, Limits(**limits), names)
