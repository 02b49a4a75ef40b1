"""What a supervisor and its worker say to each other: lines over two pipes.

Worker to supervisor: `ready {facts}`, `start I`, `end I` or `end I failed` or `leave I`, `kept N`, `times {…}`,
`bye {…}`. Each line is one write of at most PIPE_BUF bytes (but for `ready` and `bye`, which come when no other thread
reports), so lines of several threads never mix. Supervisor to worker: one JSON line, the job, then perhaps `stop`; and
where it divides the inputs among several workers, `take I J` (the inputs from I to J, without J) and `last` (there will
be no more). The end of that pipe means that the supervisor is dead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from boxmill.engine.clock import TimeTable
from boxmill.errors import BoxmillError, ModelError, OutputError, SourceError, UsageError

__all__ = [
    "LAST",
    "STOP",
    "Reports",
    "bye_line",
    "deliver",
    "end_line",
    "kept_line",
    "leave_line",
    "ready_line",
    "start_line",
    "take_lines",
    "taken",
    "times_line",
]

STOP = b"stop\n"
LAST = b"last\n"

_ERRORS: Mapping[str, type[BoxmillError]] = {
    error.__name__: error for error in (UsageError, SourceError, ModelError, OutputError, BoxmillError)
}


class Reports(Protocol):
    """What a worker reports; the worker's end writes it, the supervisor's end acts on it."""

    def ready(self, facts: Mapping[str, Any]) -> None:
        """The network is loaded; `facts` is JSON for whoever started the supervisor."""

    def start(self, index: int) -> None:
        """The input is about to be read."""

    def end(self, index: int, failed: bool) -> None:
        """The input's outcome is there and goes to the journal now; what happens from here on is not its doing."""

    def leave(self, index: int) -> None:
        """The input was only tried, before `ready`: it is not under way any more and has no outcome."""

    def kept(self, count: int) -> None:
        """So many more outcomes are durable."""

    def times(self, table: TimeTable) -> None:
        """Where the worker's time has gone so far; repeated, because one that dies cannot say it at its end."""

    def bye(self, error: BoxmillError | None) -> None:
        """The last word: all is done, or what ended it. Whatever was kept is durable; the process is about to exit."""


def ready_line(facts: Mapping[str, Any]) -> bytes:
    """See Reports.ready."""
    return b"ready " + json.dumps(facts).encode() + b"\n"


def start_line(index: int) -> bytes:
    """See Reports.start."""
    return b"start %d\n" % index


def end_line(index: int, failed: bool) -> bytes:
    """See Reports.end."""
    return b"end %d failed\n" % index if failed else b"end %d\n" % index


def leave_line(index: int) -> bytes:
    """See Reports.leave."""
    return b"leave %d\n" % index


def kept_line(count: int) -> bytes:
    """See Reports.kept."""
    return b"kept %d\n" % count


def times_line(table: TimeTable) -> bytes:
    """See Reports.times."""
    return b"times " + json.dumps(asdict(table)).encode() + b"\n"


def bye_line(error: BoxmillError | None) -> bytes:
    """See Reports.bye."""
    if error is None:
        return b"bye null\n"
    # the nearest class that the other side knows, so that the exit code survives
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
    errno = error.errno if isinstance(error, OSError) else None
    return b"bye " + json.dumps({"class": name, "message": str(error), "errno": errno}).encode() + b"\n"


def take_lines(indices: Iterable[int]) -> Iterator[bytes]:
    """Orders to take those inputs, ascending: a line for each stretch without a gap."""
    first = end = -1
    for index in indices:
        if index != end:
            if end > first:
                yield b"take %d %d\n" % (first, end)
            first = index
        end = index + 1
    if end > first:
        yield b"take %d %d\n" % (first, end)


def taken(line: bytes) -> range:
    """What a line of `take_lines` orders; nothing if it is another order."""
    match line.split():
        case [b"take", first, end]:
            return range(int(first), int(end))
    return range(0)


def deliver(line: bytes, to: Reports) -> None:
    """Calls what one line (without its newline) reports.

    Raises:
        ValueError: no such report; the worker's memory is damaged, or something else writes to its pipe.
    """
    match line.split(b" ", 1):
        case [b"start", index]:
            to.start(int(index))
        case [b"end", rest]:
            index, _, failed = rest.partition(b" ")
            to.end(int(index), failed == b"failed")
        case [b"leave", index]:
            to.leave(int(index))
        case [b"kept", count]:
            to.kept(int(count))
        case [b"ready", facts]:
            to.ready(json.loads(facts))
        case [b"times", table]:
            to.times(TimeTable(**json.loads(table)))
        case [b"bye", error]:
            to.bye(_error(json.loads(error)))
        case _:
            raise ValueError(f"expected a worker's report, got {line[:80]!r}")


def _error(document: Mapping[str, Any] | None) -> BoxmillError | None:
    if document is None:
        return None
    error = _ERRORS[document["class"]](document["message"])
    if isinstance(error, OSError):
        error.errno = document["errno"]
    return error
