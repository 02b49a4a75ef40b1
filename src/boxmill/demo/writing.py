"""Scenes on the disk: pictures and their ground truth, by several processes.

Each process makes every n-th scene. Which one makes it does not change a scene, so the folder's bytes do not depend on
their number.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from boxmill.demo.glyphs import Atlas
from boxmill.demo.ground_truth import annotate, document, file_name
from boxmill.demo.scenes import SceneSpec, check, generate
from boxmill.errors import OutputError, UsageError
from boxmill.store import write_file

__all__ = ["GROUND_TRUTH", "Job", "write_scenes"]

GROUND_TRUTH = "ground_truth.coco.json"
Annotations = list[dict[str, Any]]
Report = tuple[int, Annotations] | OutputError | None  # a scene that is written, why no more come, or the end


@dataclass(frozen=True, slots=True)
class Job:
    """Which scenes are wanted, and where."""

    folder: Path
    spec: SceneSpec
    seed: int
    images: int
    workers: int = 1


def write_scenes(job: Job, atlas: Atlas, progress: Callable[[int], None]) -> int:
    """Writes the pictures, and the ground truth last: a folder that has it is whole.

    Args:
        job: what and where; the folder may exist, but must be empty.
        atlas: the glyphs.
        progress: called with the number of scenes written so far.

    Returns:
        How many things are on the pictures, those to be ignored included.

    Raises:
        UsageError: there can be no such scenes, or none are asked for.
        OutputError: the folder has files in it, or something cannot be written.
    """
    check(job.spec, job.seed)
    if job.images < 1 or job.workers < 1:
        raise UsageError(f"expected one image and one worker or more, got {job.images} and {job.workers}")
    _prepare(job.folder)
    scenes = _made(job, atlas, progress)
    write_file(job.folder / GROUND_TRUTH, document(job.spec, job.seed, scenes))
    return sum(map(len, scenes))


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(os.scandir(folder), None)
    except OSError as error:
        raise OutputError(f"cannot make the folder {str(folder)!r}: {error.strerror}; name another one") from error
    if taken is not None:
        raise OutputError(
            f"{str(folder)!r} has files in it ({taken.name!r}); scenes are written into an empty or a new folder: name "
            "another one, or empty it"
        )


def _made(job: Job, atlas: Atlas, progress: Callable[[int], None]) -> list[Annotations]:
    """Every scene's annotations in order, once all pictures are written."""
    context = get_context("spawn")  # OpenCV's threads do not survive a fork
    open_ends: list[Connection] = []
    processes: list[SpawnProcess] = []
    scenes: dict[int, Annotations] = {}
    try:
        for first in range(min(job.workers, job.images)):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, atlas, first, sender), daemon=True)
            process.start()
            sender.close()
            processes.append(process)
            open_ends.append(receiver)
        while open_ends:
            for end in wait(open_ends):
                assert isinstance(end, Connection)
                report = _receive(end)
                if isinstance(report, OutputError):
                    raise report
                if report is None:
                    open_ends.remove(end)
                else:
                    scenes[report[0]] = report[1]
                    progress(len(scenes))
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return [scenes[index] for index in range(job.images)]


def _receive(end: Connection) -> Report:
    try:
        report: Report = end.recv()
    except EOFError:
        error = OutputError(
            "a process that makes scenes ended early: it failed, as said above, or was killed, perhaps for lack of "
            "memory (use fewer --workers)"
        )
        error.errno = errno.ECHILD
        return error
    return report


def _work(job: Job, atlas: Atlas, first: int, sender: Connection) -> None:
    """Runs in a process of its own: every scene from `first` on in steps of the number of workers."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends its workers
    cv2.setNumThreads(1)  # the cores are shared out among processes already
    with suppress(BrokenPipeError):  # the parent has gone: nobody needs the rest
        try:
            for index in range(first, job.images, job.workers):
                scene = generate(job.spec, job.seed, index, atlas)
                write_file(job.folder / file_name(index), scene.jpeg)
                sender.send((index, annotate(scene, index)))
        except OutputError as error:
            sender.send(error)
        else:
            sender.send(None)
