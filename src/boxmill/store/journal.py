"""The only truth of a run: segments of framed records that are only ever appended to (FORMATS, "Journal").

`journal/seg-<epoch>-<writer>-<n>.jsonl`: the epoch counts starts of the run; writer 0 is the supervisor, each worker is
one more; n counts a writer's segments. One that is being written, or whose writer died, is called `….jsonl.open`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import msgspec

from boxmill.errors import OutputError
from boxmill.store.contents import Contents, Footer
from boxmill.store.durable import output_error, sync_directory, sync_file, write_all
from boxmill.store.frames import Damaged, FrameReader, frame, parse_frame
from boxmill.store.records import Attempt, Record, decode, encode, encode_attempt
from boxmill.types import Outcome

__all__ = ["FOOTER", "Entry", "Journal", "Segment", "next_epoch", "read_footer", "recover", "scan", "segments"]

SEGMENT_BYTES = 64 << 20  # about 60,000 images with 15 objects; what a resume may have to scan for each dead writer
SEGMENT_RECORDS = 1 << 16  # sealing 300,000 short ones at once took 20 MB for a moment, which stay with the process

_NAME = re.compile(r"seg-(\d+)-(\d+)-(\d+)\.jsonl(\.open)?")
FOOTER = b'{"footer":'
_POINTER = b'{"footer_at":%020d}\n'  # the file's last line: where the footer's frame begins
_POINTER_SIZE = len(_POINTER % 0)


class Segment(NamedTuple):
    """One file of the journal; segments sort in the order in which they supersede each other."""

    epoch: int
    writer: int
    number: int
    path: str
    sealed: bool


class Entry(NamedTuple):
    """An outcome or an attempt, and its line in the journal."""

    line: bytes
    content: Outcome | Attempt
    conf: float | None = None  # only what scores above it is counted and shown

    @classmethod
    def of(
        cls, content: Outcome | Attempt, attempt: int = 1, conf: float | None = None, at: float | None = None
    ) -> Entry:
        """Encodes; `attempt`, `conf` and `at` as for `boxmill.store.records.encode`."""
        if isinstance(content, Attempt):
            return cls(encode_attempt(content), content)
        return cls(encode(content, attempt, conf, at), content, conf)


def segments(directory: str | os.PathLike[str]) -> list[Segment]:
    """The segments of a run, in order; `directory` is the run's.

    Raises:
        OutputError: the journal's folder cannot be listed.
    """
    folder = os.path.join(directory, "journal")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"cannot list {folder!r}: {error.strerror}") from error
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(
        Segment(int(m[1]), int(m[2]), int(m[3]), os.path.join(folder, m[0]), sealed=m[4] is None) for m in matches
    )


def next_epoch(directory: str | os.PathLike[str]) -> int:
    """The epoch of a start that happens now; under the run's lock only."""
    return 1 + max((segment.epoch for segment in segments(directory)), default=0)


class Scan:
    """Iterates over (offset in the file, record) of a segment, up to the first frame that is not whole.

    Afterwards `end` is the offset behind the last whole frame, `problem` says why no other one follows (None: the file
    ends there), and `footer` is the footer if that came last, behind `body` bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._reader = FrameReader(file)
        self.footer: Footer | None = None
        self.body = 0

    @property
    def end(self) -> int:
        """Bytes of the file that hold whole frames."""
        return self._reader.end

    @property
    def problem(self) -> str | None:
        """What stands at `end`."""
        return self._reader.problem

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        for offset, payload in self._reader:
            try:
                if self.footer is not None:
                    raise Damaged("expected the file to end with its footer, more follows")
                if payload.startswith(FOOTER):
                    self.footer = _parse_footer(payload, offset)
                    continue
                self.body = self._reader.end
                records = [decode(line) for line in payload.splitlines()]
            except (Damaged, msgspec.DecodeError) as error:
                self._reader.reject(payload, str(error))
                return
            for line, record in zip(payload.splitlines(keepends=True), records, strict=True):
                yield offset, record
                offset += len(line)


@contextlib.contextmanager
def scan(path: str | os.PathLike[str]) -> Iterator[Scan]:
    """Opens one segment for reading from its beginning. Raises OutputError where it cannot be read."""
    try:
        with open(path, "rb", buffering=1 << 20) as file:
            yield Scan(file)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot read {os.fspath(path)!r}: {error.strerror}") from error


def _footer_frame(contents: Contents, sha256: str, at: int) -> bytes:
    footer = msgspec.json.encode(contents.footer(sha256))
    return frame(footer + b"\n" + _POINTER % at)


def _parse_footer(payload: bytes, offset: int) -> Footer:
    line, _, pointer = payload.partition(b"\n")
    header = len(frame(payload)) - len(payload)
    if pointer != _POINTER % (offset - header):
        raise Damaged("the footer does not say where it stands")
    try:
        return msgspec.json.decode(line, type=Footer)
    except msgspec.DecodeError as error:
        raise Damaged(f"the footer is not readable: {error}") from error


def read_footer(path: str | os.PathLike[str]) -> Footer:
    """The footer of a sealed segment; reads the end of the file only.

    Raises:
        Damaged: there is none, or it is not what was written.
        OutputError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _POINTER_SIZE))
            pointer = re.fullmatch(rb'\{"footer_at":(\d{20})\}\n', file.read())
            if pointer is None or int(pointer[1]) >= size:
                raise Damaged("expected a footer at the file's end")
            at = int(pointer[1])
            file.seek(at)
            payload = parse_frame(file.read())
    except OSError as error:
        raise OutputError(f"cannot read {os.fspath(path)!r}: {error.strerror}") from error
    return _parse_footer(payload, size - len(payload))


class _Writer:
    """One segment while it is written."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self._contents = Contents()
        self._sha256 = hashlib.sha256()
        self._descriptor = os.open(path + ".open", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        sync_directory(os.path.dirname(path))

    @property
    def count(self) -> int:
        """Records so far."""
        return self._contents.count

    def commit(self, entries: Sequence[Entry]) -> None:
        data = frame(b"".join([entry.line for entry in entries]))
        write_all(self._descriptor, data)
        sync_file(self._descriptor)
        self.size += len(data)
        self._sha256.update(data)
        for _, content, conf in entries:
            if isinstance(content, Attempt):
                self._contents.add_attempt(content)
            else:
                self._contents.add_outcome(content, conf)

    def seal(self) -> None:
        _seal(self._descriptor, self.path, _footer_frame(self._contents, self._sha256.hexdigest(), self.size))

    def close(self) -> None:
        os.close(self._descriptor)


def _seal(descriptor: int, path: str, footer: bytes) -> None:
    write_all(descriptor, footer)
    sync_file(descriptor)
    os.rename(path + ".open", path)
    sync_directory(os.path.dirname(path))


class Journal:
    """One writer's part of the journal, for one thread. After an error nothing more is written by it."""

    def __init__(
        self, directory: str | os.PathLike[str], epoch: int, writer: int, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._folder = os.path.join(directory, "journal")
        self._prefix = f"seg-{epoch}-{writer}"
        self._segment_bytes = segment_bytes
        self._number = 0
        self._segment: _Writer | None = None
        self._error: OutputError | None = None

    def commit(self, entries: Sequence[Entry]) -> None:
        """Writes one frame; when this returns the entries are on the disk, and before it returns they may not be.

        Raises:
            OutputError: they may or may not be there; from now on every call raises this.
        """
        with self._errors():
            if self._segment is None:
                os.makedirs(self._folder, exist_ok=True)
                self._segment = _Writer(os.path.join(self._folder, f"{self._prefix}-{self._number}.jsonl"))
                self._number += 1
            self._segment.commit(entries)
            if self._segment.size >= self._segment_bytes or self._segment.count >= SEGMENT_RECORDS:
                self._seal(self._segment)

    def close(self) -> None:
        """Seals the segment that is open, if any; after an error it only closes the file.

        Raises:
            OutputError: sealing failed now; what was committed is still there, and the next resume seals it.
        """
        if self._segment is None:
            return
        if self._error is None:
            with self._errors():
                self._seal(self._segment)
        else:
            self._segment.close()
            self._segment = None

    def _seal(self, segment: _Writer) -> None:
        segment.seal()
        segment.close()
        self._segment = None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        if self._error is not None:
            raise self._error
        try:
            yield
        except OSError as error:
            self._error = output_error(self._segment.path if self._segment is not None else self._folder, error)
            raise self._error from error


class Recovered(NamedTuple):
    """What became of a segment whose writer died."""

    path: str
    records: int  # that it holds
    dropped: int  # bytes behind the last whole frame, cut off
    problem: str | None  # what stood there


def recover(directory: str | os.PathLike[str], writer: tuple[int, int] | None = None) -> list[Recovered]:
    """Cuts every unsealed segment off behind its last whole frame, and seals it; one without a frame is removed.

    Nobody may be writing to them.

    Args:
        directory: the run's.
        writer: (epoch, writer) whose segments alone are meant.

    Raises:
        OutputError: a segment cannot be read or written; nothing acknowledged is lost.
    """
    return [
        _recover(segment.path.removesuffix(".open"))
        for segment in segments(directory)
        if not segment.sealed and writer in (None, (segment.epoch, segment.writer))
    ]


def _recover(path: str) -> Recovered:
    opened = path + ".open"
    contents, size = Contents(), 0
    with scan(opened) as records:
        for _, record in records:
            contents.add_record(record)
        size = os.path.getsize(opened)
    recovered = Recovered(path, contents.count, size - records.end, records.problem)
    try:
        if records.end == 0:
            os.unlink(opened)
            sync_directory(os.path.dirname(path))
            return recovered
        descriptor = os.open(opened, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, records.end)
            os.lseek(descriptor, 0, os.SEEK_END)
            sha256 = _sha256(opened)
            footer = b"" if records.footer is not None else _footer_frame(contents, sha256, records.end)
            _seal(descriptor, path, footer)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise output_error(path, error) from error
    return recovered


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
