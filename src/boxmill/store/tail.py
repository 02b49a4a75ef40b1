"""The outcomes of a run as they become durable, read from its journal while others write it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import BinaryIO

from boxmill.errors import OutputError
from boxmill.store.frames import FrameReader
from boxmill.store.journal import FOOTER, Segment, segments
from boxmill.store.records import decode
from boxmill.types import Outcome

__all__ = ["Tail"]


class Tail:
    """Follows one epoch's segments and yields what the run shows of them.

    Memory holds one frame, however far behind the reader is.
    """

    def __init__(self, directory: str | os.PathLike[str], epoch: int) -> None:
        self.told = 0  # outcomes so far
        self._directory, self._epoch = directory, epoch
        self._told_of: Counter[int] = Counter()  # by writer
        self._ends: dict[tuple[int, int], int] = {}  # bytes read, by writer and number
        self._whole: set[tuple[int, int]] = set()  # segments that will not grow, and have been read

    def outcomes(self, durable: Mapping[int, float] | None) -> Iterator[Outcome]:
        """What has come since the last call.

        Args:
            durable: by writer, how many of its outcomes are on the disk: more may be written and not be there yet.
                None: all that is written.

        Raises:
            OutputError: the journal cannot be read.
        """
        for segment in segments(self._directory):
            if segment.epoch == self._epoch and (segment.writer, segment.number) not in self._whole:
                most = math.inf if durable is None else durable.get(segment.writer, 0)
                yield from self._new(segment, most)

    def _new(self, segment: Segment, most: float) -> Iterator[Outcome]:
        try:
            with open(segment.path, "rb", buffering=1 << 20) as file:
                to_the_end = yield from self._frames(file, (segment.writer, segment.number), most)
        except FileNotFoundError:  # sealed, and so renamed, since the folder was listed
            return
        except OSError as error:
            raise OutputError(f"cannot read {segment.path!r}: {error.strerror}") from error
        if segment.sealed and to_the_end:
            self._whole.add((segment.writer, segment.number))

    def _frames(self, file: BinaryIO, place: tuple[int, int], most: float) -> Generator[Outcome, None, bool]:
        """Yields what is new in one segment; returns whether it has come to its end."""
        reader = FrameReader(file, self._ends.get(place, 0))
        for _, payload in reader:
            records = [] if payload.startswith(FOOTER) else [decode(line) for line in payload.splitlines()]
            ended = [record for record in records if record.status != "attempt"]
            if self._told_of[place[0]] + len(ended) > most:
                return False
            self._ends[place] = reader.end
            self.told += len(ended)
            self._told_of[place[0]] += len(ended)
            for record in ended:
                yield record.seen()
        return True
