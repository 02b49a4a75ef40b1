"""A run from Python: `for outcome in boxmill.run(source, weights)`."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal, Unpack

from boxmill.engine import Ending, Progress
from boxmill.mill import Mill
from boxmill.model import ModelOptions, python_settings
from boxmill.store import Tail, replay
from boxmill.types import ModelSpec, Outcome

__all__ = ["Outcomes", "RunOptions", "run"]

_PATIENCE = 0.05  # seconds between two looks at what has become durable; the supervisor looks every 0.1


class RunOptions(ModelOptions, total=False):
    """What `run` can be told; the names, meanings and defaults are those of the flags of `boxmill run`."""

    keep_conf: float | None
    batch: int | None
    image_timeout: float
    memory_limit: float | None
    project: str | os.PathLike[str] | None
    name: str | None
    resume: str | None
    fresh: bool
    exist_ok: bool
    add: bool
    retry_failed: bool
    allow_failed: str
    image_json: bool | None
    json_names: Literal["full", "stem"]
    int_boxes: bool
    save_txt: bool
    save_conf: bool
    save_crop: bool
    save_img: bool
    dump_heads: bool


def run(
    source: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None, **options: Unpack[RunOptions]
) -> Outcomes:
    """Runs a model over a source and yields the outcome of every input as it comes.

    It is `boxmill run`: a worker process that is replaced when an image kills it, and a run directory (`runs/NAME`)
    with which the same call goes on after an interruption. `project=None` keeps no directory: everything is in a
    temporary one that is removed at the end.

    Every input is yielded exactly once, in the order in which they finish, at most about a second later, when its
    outcome is on the disk; `Outcome.index` is its place in the sorted listing. A bad image is an outcome whose `result`
    is a `Failure`. Of a run that is gone on with, the outcomes of earlier executions come first. The run does not wait
    for its reader, and a reader that falls behind costs no memory. Leaving the loop early stops the run as Ctrl-C stops
    the command: images under way are finished, and the same call goes on from there.

    Args:
        source: what `boxmill run` takes: an image, a folder, a glob, a list file.
        weights: an ONNX file or a YOLOv9 checkpoint, which is converted once (for `runtime="fake"`, a model card).
            None: boxmill's own demo detector, as for `boxmill.load`.
        **options: named like the flags of `boxmill run`, which explains them, with the same defaults. `allow_failed`
            only matters to the command's exit code.

    Raises:
        UsageError, SourceError, ModelError, OutputError: at the call what can be known then, the rest in the loop.
    """
    scratch = TemporaryDirectory(prefix="boxmill-") if options.get("project", "") is None else None
    if scratch is not None:
        options = {**options, "project": scratch.name}
    chosen = python_settings(source, weights, options, RunOptions)
    mill = Mill(chosen)
    for warning in mill.resolution.warnings:
        warnings.warn(warning, stacklevel=2)
    return Outcomes(_Work(mill, scratch))


class Outcomes(Iterator[Outcome]):
    """The outcomes of a run, once; also a context manager. Use it from one thread at a time."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._stream = _follow(work)
        self._end = weakref.finalize(self, work.end)  # also when it is dropped unread, or at the interpreter's end

    def __next__(self) -> Outcome:
        """The next outcome; waits for it."""
        return next(self._stream)

    def __len__(self) -> int:
        """Inputs of the run, and so outcomes unless it is stopped."""
        return self._work.mill.run.manifest.total

    @property
    def spec(self) -> ModelSpec:
        """How images go in and results come out."""
        return self._work.mill.resolution.spec

    @property
    def names(self) -> tuple[str, ...]:
        """Names by class id."""
        return self.spec.names

    @property
    def directory(self) -> Path:
        """The run's; of `project=None`, gone at the end."""
        return self._work.mill.run.directory

    @property
    def summary(self) -> dict[str, Any] | None:
        """The content of summary.json; None until the run has ended."""
        return self._work.summary

    def close(self) -> None:
        """Stops the run if it has not ended: finishes what is under way, ends the worker, frees the directory."""
        self._stream.close()
        self._end()

    def __enter__(self) -> Outcomes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Work:
    """A mill at work in a thread of its own, which lives as long as the worker process has to."""

    def __init__(self, mill: Mill, scratch: TemporaryDirectory[str] | None) -> None:
        self.mill = mill
        self.summary: dict[str, Any] | None = None
        self.durable: Mapping[int, float] | None = {}  # outcomes on the disk by writer; None: all that is written
        self.over = threading.Event()
        self.error: BaseException | None = None
        self._scratch = scratch
        self._ending: Ending | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="boxmill", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            self._ending = self.mill.work(self._observe)
        except BaseException as error:  # raised again by `end`, in the reader's thread
            self.error = error
        self.durable = None
        self.over.set()

    def _observe(self, progress: Progress) -> None:
        self.durable = self.mill.durable()

    def end(self) -> None:
        """Stops it if need be, writes the summary, gives the directory free; what it does, it does once."""
        if self._ended:
            return
        self.mill.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._ended = True
        try:
            if self._ending is not None:
                self.summary = self.mill.finish(self._ending)
        finally:
            self.mill.close()
            if self._scratch is not None:
                self._scratch.cleanup()


def _follow(work: _Work) -> Generator[Outcome, None, None]:
    """Not a method: nothing here may keep `Outcomes` alive once its reader has dropped it."""
    opened, total = work.mill.run, work.mill.run.manifest.total
    try:
        earlier = replay(opened.directory, total, bytes(opened.states.status)) if opened.states.finished() else iter(())
        first = next(earlier, None)  # finds the records, before a worker adds to them
        tail = Tail(opened.directory, opened.epoch)
        work.start()
        if first is not None:
            yield first.seen()
        yield from (record.seen() for record in earlier)
        over = False
        while not over:
            over = work.over.wait(_PATIENCE)
            yield from tail.outcomes(work.durable)
    finally:
        work.end()
    if work.error is not None:
        raise work.error
