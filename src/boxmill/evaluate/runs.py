"""A run as the evaluator reads it: everything that its journal kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from boxmill.errors import UsageError
from boxmill.store import Manifest, replay
from boxmill.store.run_header import RunHeader, read_header
from boxmill.types import Outcome

__all__ = ["EvaluatedRun", "open_run"]


class _Header(msgspec.Struct):
    source: str = ""


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """A finished or unfinished run of a detector."""

    directory: Path
    header: RunHeader
    source: str
    keys: tuple[str, ...]  # of all inputs, by index

    def outcomes(self, wanted: Sequence[int]) -> Iterator[Outcome]:
        """The outcomes of these inputs as far as they are finished, with all that was kept of them.

        Raises:
            OutputError: the journal cannot be read.
        """
        mask = bytearray(len(self.keys))
        for index in wanted:
            mask[index] = 1
        for record in replay(self.directory, len(self.keys), mask):
            yield record.outcome()

    def threshold(self, conf: float | None) -> float:
        """The score above which objects count as shown: `conf`, or the run's own.

        Raises:
            UsageError: the journal does not go down to `conf`.
        """
        keep = self.header.keep_conf or 0.0
        if conf is None:
            return self.header.conf or 0.0
        if not keep <= conf <= 1:
            raise UsageError(
                f"--conf {conf:g}: {str(self.directory)!r} kept what scores above {keep:g}; give {keep:g} to 1"
            )
        return conf


def open_run(directory: Path) -> EvaluatedRun:
    """Opens a run.

    Raises:
        UsageError: the folder is no run, or a tagger's.
        OutputError: the manifest is damaged.
    """
    header = read_header(directory)
    if header.task != "detect":
        raise UsageError(f"{str(directory)!r} is a tagger's run; expected one of a detector")
    source = msgspec.json.decode((directory / "run.json").read_bytes(), type=_Header).source
    keys = tuple(entry.key for entry in Manifest(os.fspath(directory)))
    return EvaluatedRun(directory, header, source, keys)
