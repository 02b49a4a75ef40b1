"""One outcome as one line of the journal, and back, without losing a bit (FORMATS, "Journal").

Nine significant digits identify every float32: the decimal differs from the number by at most 5e-9 of it, neighbours
are at least 6e-8 apart, so that reading through float64 cannot land on another one either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from boxmill.store.documents import printable
from boxmill.store.views import seen
from boxmill.types import Detections, Failure, Outcome, Tags

__all__ = ["Attempt", "Record", "decode", "encode", "encode_attempt"]

MAX_MESSAGE = 1000  # characters of a failure's message that are kept

_ROW = "[%.9g,%.9g,%.9g,%.9g,%.9g,%d,%d]"
_LARGEST = float(np.finfo(np.float32).max)
_Number = float | None  # null stands for NaN
_Row = tuple[_Number, _Number, _Number, _Number, _Number, int, int]  # x1, y1, x2, y2, score, class, anchor
_Tag = tuple[int, _Number]  # class, score


@dataclass(frozen=True, slots=True)
class Attempt:
    """The process that worked on this input, and on nothing else, died."""

    index: int
    key: str
    attempt: int  # how often that has happened
    cause: str  # crashed, timeout, memory or device


class Record(msgspec.Struct, frozen=True):
    """One line of the journal."""

    i: int
    key: str
    status: Literal["ok", "failed", "attempt"]
    v: Literal[1]
    attempt: int = 1
    wh: tuple[int, int] | None = None
    det: list[_Row] = []
    tags: list[_Tag] | None = None  # of a tagger
    cut: float | None = None
    nan: int = 0
    conf: float | None = None  # what is shown scores above this; None: all that was kept
    at: float | None = None  # when it ended: seconds since 1970; None: written before this was recorded
    ms: dict[str, float] = {}
    stage: str = ""
    code: str = ""
    message: str = ""
    cause: str = ""

    def failure(self) -> Failure:
        """Why a failed input has no result."""
        return Failure(self.key, self.stage, self.code, self.message)

    def outcome(self) -> Outcome:
        """The outcome that was recorded; its arrays have the recorded ones' bits.

        Raises:
            ValueError: the record is of an attempt, which has no outcome.
        """
        if self.status == "attempt":
            raise ValueError(f"expected a record of an outcome, input {self.i} has one of an attempt")
        if self.status == "failed":
            return Outcome(self.key, self.i, self.failure(), self.wh, dict(self.ms))
        result = self._detections() if self.tags is None else self._tags(self.tags)
        return Outcome(self.key, self.i, result, self.wh, dict(self.ms))

    def seen(self) -> Outcome:
        """The outcome with what the run shows of it: only what scores above `conf`. Raises ValueError as `outcome`."""
        return seen(self.outcome(), self.conf)

    def _detections(self) -> Detections:
        rows = np.array(self.det, np.float64).reshape(-1, 7)
        with np.errstate(over="ignore"):  # 1e39 stands for infinity
            numbers = rows[:, :5].astype(np.float32)
        return Detections(
            boxes=np.ascontiguousarray(numbers[:, :4]),
            scores=np.ascontiguousarray(numbers[:, 4]),
            classes=rows[:, 5].astype(np.int32),
            indices=rows[:, 6].astype(np.int32),
            cut=self.cut if self.cut is None or self.cut <= _LARGEST else float("inf"),
            nan=self.nan,
        )

    def _tags(self, rows: list[_Tag]) -> Tags:
        with np.errstate(over="ignore"):
            scores = np.array([score for _, score in rows], np.float64).astype(np.float32)
        return Tags(np.array([label for label, _ in rows], np.int32), scores, self.nan)


_DECODER = msgspec.json.Decoder(Record)
_TEXT = msgspec.json.Encoder()


def decode(line: bytes) -> Record:
    """Reads one line.

    Raises:
        msgspec.DecodeError: it is no record of this format's version.
    """
    return _DECODER.decode(line)


def encode(outcome: Outcome, attempt: int = 1, conf: float | None = None, at: float | None = None) -> bytes:
    """One line, ended by a newline.

    Args:
        outcome: what became of an input.
        attempt: how often it has been worked on.
        conf: where less than was kept is to be shown, the score above which it is.
        at: when it ended, seconds since 1970; kept to the millisecond.
    """
    start = f'{{"v":1,"i":{outcome.index},"key":{_string(outcome.key)},"status":'
    size = "" if outcome.size is None else f',"wh":[{outcome.size[0]},{outcome.size[1]}]'
    if isinstance(outcome.result, Failure):
        failure = outcome.result
        end = (
            f'"failed","attempt":{attempt}{size},"stage":{_string(failure.stage)},"code":{_string(failure.code)},'
            f'"message":{_string(failure.message[:MAX_MESSAGE])}'
        )
    elif isinstance(outcome.result, Tags):
        tags = outcome.result
        end = f'"ok","attempt":{attempt}{size},"tags":[{_tag_rows(tags)}],"nan":{tags.nan}{_conf(conf)}'
    else:
        found = outcome.result
        cut = "null" if found.cut is None else _finite(repr(float(found.cut)))
        end = f'"ok","attempt":{attempt}{size},"det":[{_rows(found)}],"cut":{cut},"nan":{found.nan}{_conf(conf)}'
    return f'{start}{end}{_at(at)},"ms":{{{_times(outcome.times)}}}}}\n'.encode()


def encode_attempt(attempt: Attempt) -> bytes:
    """One line, ended by a newline."""
    return (
        f'{{"v":1,"i":{attempt.index},"key":{_string(attempt.key)},"status":"attempt","attempt":{attempt.attempt},'
        f'"cause":{_string(attempt.cause)}}}\n'
    ).encode()


def _rows(found: Detections) -> str:
    count = len(found)
    values = np.empty((count, 7), np.float64)
    values[:, :4] = found.boxes
    values[:, 4] = found.scores
    values[:, 5] = found.classes
    values[:, 6] = found.indices
    # one formatting of all numbers: 15 objects take 25 us; float by float with json they take twice that
    return _finite(",".join([_ROW] * count) % tuple(values.ravel().tolist()))


def _tag_rows(tags: Tags) -> str:
    pairs = zip(tags.classes.tolist(), tags.scores.tolist(), strict=True)
    return _finite(",".join(f"[{label},{score:.9g}]" for label, score in pairs))


def _finite(numbers: str) -> str:
    """JSON has no infinity, no NaN, and its readers take -0 for 0; 1e39 is a number that float32 cannot hold."""
    if "n" in numbers:
        numbers = numbers.replace("inf", "1e39").replace("nan", "null")
    if "-0" in numbers:
        numbers = numbers.replace("-0,", "-0.0,").replace("-0]", "-0.0]")
    return numbers


def _conf(conf: float | None) -> str:
    return "" if conf is None else f',"conf":{float(conf)!r}'


def _at(at: float | None) -> str:
    return "" if at is None else f',"at":{at:.3f}'


def _times(times: Mapping[str, float]) -> str:
    return ",".join(f"{_string(stage)}:{spent:.3f}" for stage, spent in times.items())


def _string(text: str) -> str:
    return _TEXT.encode(printable(text)).decode()
