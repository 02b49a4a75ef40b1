"""One run's directory: takes outcomes while the run goes on, and writes the summary at its end."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boxmill.errors import OutputError
from boxmill.store.documents import pretty
from boxmill.store.durable import write_file
from boxmill.store.projections import JsonFiles
from boxmill.store.summary import Tally
from boxmill.types import Outcome

__all__ = ["RunStore", "create_run_directory"]


def create_run_directory(project: Path, name: str) -> Path:
    """Makes `project/name`, or `name2`, `name3`, … where that exists.

    Raises:
        OutputError: the folder cannot be made.
    """
    number = 1
    while True:
        directory = project / (name if number == 1 else f"{name}{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            if not project.is_dir():
                raise OutputError(f"cannot write to {str(project)!r}: it is not a folder") from None
            number += 1
        except OSError as error:
            raise OutputError(f"cannot make the run directory {str(directory)!r}: {error.strerror}") from error
        else:
            return directory


class RunStore:
    """Keeps every outcome of a run. `add` may be called from several threads at once."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self.directory = directory
        self.tally = Tally()
        self._names = names
        self._lock = threading.Lock()
        self._files = JsonFiles(directory, names)

    def add(self, outcome: Outcome) -> None:
        """Writes the outcome's JSON so that it is either whole or absent.

        Raises:
            OutputError: it cannot be written (disk full, permissions); the run must stop.
        """
        document = self._files.write(outcome)
        with self._lock:
            self.tally.add(outcome, document)

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Writes summary.json from what was counted and the engine's `facts`; returns it."""
        summary = {**facts, **self.tally.document(self._names)}
        write_file(self.directory / "summary.json", pretty(summary))
        return summary

    def write_document(self, name: str, document: object) -> None:
        """Writes one more JSON document into the run's directory."""
        write_file(self.directory / name, pretty(document))
