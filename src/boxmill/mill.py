"""One run from settings to summary: opens its directory, supervises workers, derives what people read."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from boxmill.api import (
    check_batch,
    check_output,
    engine_devices,
    fingerprint,
    json_style,
    make_postprocessor,
    output_fields,
    resolve_model,
    versions,
    with_network,
    worker_count,
)
from boxmill.devices import DeviceFacts, settings_at
from boxmill.engine import Ending, Limits, Progress, Start, Supervisor, WorkerProcess, start_worker
from boxmill.errors import BoxmillError
from boxmill.models import Resolution
from boxmill.render import font_advice
from boxmill.runs import OpenRun, Request, open_run
from boxmill.settings import RunSettings, effective_post
from boxmill.store import (
    MAX_JSON_FILES,
    JsonFiles,
    RunLedger,
    TextFiles,
    load,
    next_epoch,
    pretty,
    printable,
    rebuild_json,
    rebuild_text,
    recover,
    results_current,
    run_tally,
    write_file,
    write_results,
)
from boxmill.worker import Order

__all__ = ["WORKER", "Mill"]

WORKER: Sequence[str] = (sys.executable, "-P", "-m", "boxmill.worker")  # -P: the folder of the call may hold a numpy.py


@dataclass(frozen=True, slots=True)
class _Choices:
    """What the settings leave open, decided."""

    image_json: bool
    limits: Limits


class Mill:
    """A run that has been opened; `work` does it, `finish` sums it up, `close` gives its directory free."""

    def __init__(
        self, settings: RunSettings, worker: Sequence[str] = WORKER, tell: Callable[[str], None] = warnings.warn
    ) -> None:
        """Resolves the model, finds or makes the run's directory and freezes its inputs.

        Args:
            settings: everything that was asked for.
            worker: the command of a worker process, `boxmill.worker` unless a test plants something.
            tell: gets a line before something that takes long: a checkpoint that is converted.

        Raises:
            UsageError, SourceError, ModelError, OutputError: see `boxmill.errors`.
        """
        settings = with_network(settings, tell)
        self.settings = settings
        self.resolution: Resolution = resolve_model(settings.model, settings.engine.runtime)
        make_postprocessor(settings, self.resolution.spec)  # wrong class names are noticed here, not in a worker
        check_output(settings.output, self.resolution.spec)
        check_batch(settings.engine)
        fields = {**fingerprint(settings, self.resolution), **output_fields(settings.output)}
        self._style = json_style(settings.output)
        self.shown = {
            "weights": printable(str(settings.model.weights)),
            **asdict(effective_post(settings.post, self.resolution.spec)),
            "runtime": settings.engine.runtime,
            "precision": str(fields["precision"]),
            "rect": self.resolution.rect,
        }
        description = {
            "settings": self.shown,
            "image_json": settings.output.image_json,
            "json_names": settings.output.json_names,
            "int_boxes": settings.output.int_boxes,
            "concluded": [{"field": n.field, "value": n.value, "from": n.source} for n in self.resolution.notes],
            "model": asdict(self.resolution.spec),
            "versions": versions(settings),
        }
        self.run: OpenRun = open_run(Request(settings.source, settings.output, fields, description))
        self.shown["workers"] = worker_count(settings, self.run.manifest.total)
        devices = engine_devices(settings.engine)
        self._devices = devices if len(devices) > 1 else ()
        if self._devices:
            self.shown["devices"] = self._devices
        self._worker = worker
        self._choices = _decide(settings, self.run)
        names = self.resolution.spec.names
        files = JsonFiles(self.run.directory, names, self._style) if self._choices.image_json else None
        self._ledger = RunLedger(self.run.directory, self.run.epoch, self.run.states, files)
        self._before = self.run.states.finished()
        self._facts = DeviceFacts()
        self._results = self.run.states.counts.processed  # as far as is known
        if settings.output.save_img and (advice := font_advice(names)):
            self.resolution = replace(self.resolution, warnings=(*self.resolution.warnings, advice))
        total, limits = self.run.manifest.total, self._choices.limits
        self._supervisor = Supervisor(self._spawn, self._ledger, total, limits, self._devices)

    def stop(self) -> None:
        """First: finish what is under way. Second: stop now. May be called by a signal handler."""
        self._supervisor.stop()

    def durable(self) -> dict[int, float]:
        """By writer of the journal, how many of its outcomes are on the disk; for `observe` of `work`."""
        return self._ledger.durable(self._supervisor.kept)

    def work(self, observe: Callable[[Progress], None]) -> Ending:
        """Works until every input has ended, or until `stop`.

        Raises:
            BoxmillError: results cannot be kept, the model does not run, or workers die and no input is to blame.
        """
        states = self.run.states
        suspects = [index for index in states.attempts if not self._ledger.finished(index)]
        try:
            return self._supervisor.execute(suspects, lambda progress: self._look(progress, observe), self._facts.take)
        finally:
            self._facts.close()
            self._ledger.refresh_all()
            self._ledger.close()

    def finish(self, ending: Ending) -> dict[str, Any]:
        """Rebuilds what is missing beside the journal, and writes the summary last; returns it.

        Raises:
            OutputError: something cannot be written; the journal keeps every result.
            BoxmillError: the run is over and inputs are unaccounted for.
        """
        run, names = self.run, self.resolution.spec.names
        recover(run.directory)
        states = load(run.directory, run.manifest.total)
        finished = states.finished()
        if not ending.interrupted and finished != run.manifest.total:
            raise BoxmillError(f"{finished} of {run.manifest.total} inputs have ended: this should not be possible")
        if self._choices.image_json and (run.resumed or ending.restarts):
            report = rebuild_json(run.directory, run.manifest, states, names, self._style)
            if report.rebuilt:
                run.remarks.append(f"{report.rebuilt} JSON files were rebuilt from the journal")
            if report.lost:
                run.remarks.append(
                    f"{len(report.lost)} JSON files cannot be rebuilt: the journal is damaged where their records were "
                    f"(see boxmill doctor --verify {run.directory}); a new run with --fresh computes them again"
                )
        if not self._choices.image_json and not ending.interrupted and not results_current(run.directory):
            write_results(run.directory, run.manifest.total, names, self._style)
        self._rebuild_text(ending)
        if run.newcomers is not None and not ending.interrupted and (new := run.newcomers.result()["new"]):
            run.remarks.append(f"{new} inputs have appeared since this run began and are left out; --add takes them in")
        tally = run_tally(run.directory, states, names, self._style)
        summary = {**self._summary(ending, finished), **tally.document(names)}
        write_file(run.directory / "summary.json", pretty(summary), durable=True)
        return summary

    def _rebuild_text(self, ending: Ending) -> None:
        output, run = self.settings.output, self.run
        if output.save_txt and (run.resumed or ending.restarts):
            files = TextFiles(run.directory, with_score=output.save_conf)
            if rebuilt := rebuild_text(run.directory, run.manifest.total, files):
                run.remarks.append(f"{rebuilt} label files were rebuilt from the journal")

    def _summary(self, ending: Ending, finished: int) -> dict[str, Any]:
        """What is not counted from the journal; seconds throughout, of this execution."""
        table = ending.table
        computed = finished - self._before
        return {
            "version": 1,
            "run": printable(self.run.directory.name),
            "task": self.resolution.spec.task,
            "status": "interrupted" if ending.interrupted else "finished",
            "epoch": next_epoch(self.run.directory) - 1,
            "total_images": self.run.manifest.total,
            "computed": computed,
            "wall": table.wall,
            "images_per_s": computed / table.wall if table.wall else 0.0,
            "workers": table.workers or self.shown["workers"],
            "stages": table.stages,
            "waits": table.waits,
            "unexplained": table.unexplained,
            "cpu": table.cpu,
            "startup": self._facts.startup(),
            **self._facts.summary(ending),
            "restarts": ending.restarts,
            "deaths": dict(ending.deaths),
            "peak_memory": ending.peak_memory,
            "skipped": self.run.skipped,
            "settings": self.shown,
        }

    @property
    def log(self) -> Path:
        """What the workers' libraries print, and the traceback of a defect; gone at the end if it is empty."""
        return self.run.directory / "worker.log"

    def close(self) -> None:
        """Gives the run's directory free."""
        with suppress(OSError):
            if self.log.stat().st_size == 0:
                self.log.unlink()
        if self.run.newcomers is not None:
            self.run.newcomers.abandon()
        self.run.lock.close()

    def _look(self, progress: Progress, observe: Callable[[Progress], None]) -> None:
        self._results = progress.done - progress.failed
        observe(progress)
        self._facts.sample()

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(self.log, flags, 0o666)
        except OSError:  # a full disk must not be the end of a worker that might still say so properly
            return os.open(os.devnull, flags)

    def _spawn(self, start: Start) -> WorkerProcess:
        run, settings = self.run, self.settings
        if self._devices:
            settings = settings_at(settings, self._devices, start.place, self.shown["workers"])
        self._ledger.refresh(start.place)
        log = self._open_log()
        order = Order(
            settings=settings,
            directory=run.directory,
            root=None if run.moved_to is None else os.fsdecode(run.moved_to),
            epoch=run.epoch,
            writer=self._ledger.next_writer(start.place),
            suspects=tuple(start.suspects),
            retry_failed=self.settings.output.retry_failed,
            image_json=self._choices.image_json,
            share=None if start.share is None else tuple(start.share),
            rehearse=start.share is None or not self._results,
        )
        try:
            return start_worker(self._worker, order.document(), inherit=(run.lock.descriptor,), output=log)
        finally:
            os.close(log)


def _decide(settings: RunSettings, run: OpenRun) -> _Choices:
    asked = settings.output.image_json
    image_json = run.manifest.total <= MAX_JSON_FILES if asked is None else asked
    limits = Limits(image_timeout=settings.engine.effective_image_timeout, start_timeout=settings.engine.start_timeout)
    if settings.engine.memory_limit is not None:
        limits = replace(limits, memory=int(settings.engine.memory_limit * 2**30))
    # what several workers hold at the same time is held by one machine
    return _Choices(image_json, replace(limits, memory=limits.memory // len(settings.engine.devices)))
