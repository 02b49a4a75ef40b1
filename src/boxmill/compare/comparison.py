"""Every program over the same images: each in a fresh process, one after the other, rounds interleaved."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from boxmill.compare.judged import write_judged
from boxmill.compare.machine import facts
from boxmill.compare.notes import notes
from boxmill.compare.order import Finished, Order
from boxmill.compare.programs import Mill, Plan, Program, Script, network_of, programs, refused
from boxmill.compare.rows import Comparison, Missing, Row, Sample
from boxmill.compare.watch import Watched, check_psutil, watch
from boxmill.errors import BoxmillError, ModelError, OutputError, SourceError, UsageError
from boxmill.sources import Listing, list_source, locate

__all__ = ["compare", "listed"]

_PYTHON = (sys.executable, "-P", "-m")  # -P: the folder of the call may hold a numpy.py
_ERRORS: Mapping[int, type[BoxmillError]] = {2: UsageError, 3: SourceError, 4: ModelError, 6: OutputError}
Judge = Callable[[Path], float | None]


@dataclass(slots=True)
class _Gathered:
    """What has been measured so far."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    aps: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, Missing] = field(default_factory=dict)
    mill: dict[str, Any] = field(default_factory=dict)  # boxmill's effective settings


def listed(source: str) -> Listing:
    """The source's images, which scripts take as files.

    Raises:
        SourceError: there are none, or they are members of an archive.
    """
    if locate(source).kind == "archive":
        raise SourceError(f"{source!r} is an archive: boxmill reads it as it is, the scripts need files; unpack it")
    return list_source(source)


def compare(plan: Plan, work: Path, tell: Callable[[str], None], judge: Judge | None = None) -> Comparison:
    """Runs every program.

    Args:
        plan: what is compared.
        work: an empty folder for results, on the disk that results are to be written to; the caller removes it.
        tell: gets a line before each program.
        judge: average precision of a run at a folder; None: there is no ground truth.

    Raises:
        UsageError: psutil is missing or a number is out of range; SourceError: no image files;
        BoxmillError: boxmill itself did not run.
    """
    check_psutil()
    plan.check()
    listing = listed(plan.source)
    images = [(key, listing.path(key)) for key in listing.keys]
    _warm_files(images)
    every, found = programs(plan), _Gathered()
    found.missing.update((one.letter, one) for one in refused(plan, every))
    for number in range(plan.rounds):
        turn = number * len(every) // plan.rounds
        for program in every[turn:] + every[:turn]:
            if program.letter in found.missing:
                continue
            tell(f"({program.letter}) {program.title}" + f", round {number + 1} of {plan.rounds}" * (plan.rounds > 1))
            folder = work / f"{number}-{program.letter}"
            folder.mkdir()
            if isinstance(program, Script):
                _run_script(plan, program, images, folder, found, judge)
            else:
                _run_mill(plan, program, folder, found, judge)
    return _table(plan, every, len(images), found)


def _warm_files(images: Sequence[tuple[str, bytes]]) -> None:
    """Every file once through the system's cache, so that the first program does not pay for all."""
    for _, path in images:
        with suppress(OSError), open(path, "rb") as file:  # what cannot be read fails in every program
            while file.read(1 << 20):
                pass


def _run_script(
    plan: Plan, one: Script, images: Sequence[tuple[str, bytes]], folder: Path, found: _Gathered, judge: Judge | None
) -> None:
    chosen = _spread(images, plan.reload_images) if one.reload else list(images)
    order = Order(
        network=os.fsencode(network_of(plan, one).absolute()),
        spec=plan.spec,
        limits=plan.limits,
        runtime=one.runtime,
        precision=one.precision,
        reload=one.reload,
        batch=one.batch,
        images=chosen,
        folder=os.fsencode((folder / "json").absolute()),
        answer=os.fsencode((folder / "answer.json").absolute()),
        device=plan.device,
    )
    order.write(folder / "order.json")
    seen = watch([*_PYTHON, "boxmill.compare.script", str(folder / "order.json")], folder)
    if seen.code:
        found.missing[one.letter] = Missing(one.letter, one.title, f"it ended with {seen.code}: {_last(seen.errors)}")
        return
    done = msgspec.json.decode((folder / "answer.json").read_bytes(), type=Finished)
    found.samples[one.letter].append(
        _sample(seen, len(chosen), done.wall, done.cpu, objects=done.objects, failed=done.failed)
    )
    if judge is not None and not one.reload and one.letter not in found.aps:
        found.aps[one.letter] = judge(write_judged(order, folder / "judged"))


def _run_mill(plan: Plan, one: Mill, folder: Path, found: _Gathered, judge: Judge | None) -> None:
    flags = ["--project", str(folder), "--name", "run", "--allow-failed", "100%", "--json", "--quiet"]
    seen = watch([*_PYTHON, "boxmill", "run", plan.source, *plan.mill, *one.flags, *flags], folder)
    if seen.code:
        kind = _ERRORS.get(seen.code, BoxmillError)
        raise kind(f"({one.letter}) {one.title}: ended with {seen.code}: {_last(seen.errors)}")
    done = msgspec.json.decode(seen.output)
    found.mill.setdefault(one.letter, {**done["settings"], "workers": done["workers"]})
    counts = {"objects": done["objects"], "failed": done["failed"]["count"]}
    found.samples[one.letter].append(_sample(seen, done["total_images"], done["wall"], done["cpu"], **counts))
    if judge is not None and one.letter not in found.aps:
        found.aps[one.letter] = judge(folder / "run")


def _sample(seen: Watched, images: int, wall: float, cpu: float, *, objects: int, failed: int) -> Sample:
    return Sample(images, wall, seen.wall, cpu, seen.peak_memory, seen.gpu, objects, failed)


def _spread(images: Sequence[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """So many of the images, from the first to the last at equal distances; all where there are no more."""
    if count >= len(images):
        return list(images)
    return [images[number * len(images) // count] for number in range(count)]


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _table(plan: Plan, every: Sequence[Program], total: int, found: _Gathered) -> Comparison:
    rows = tuple(
        Row(one.letter, one.title, total, tuple(found.samples[one.letter]), found.aps.get(one.letter))
        for one in every
        if one.letter not in found.missing
    )
    order = [one.letter for one in every]
    missing = tuple(sorted(found.missing.values(), key=lambda one: order.index(one.letter)))
    about = {
        **facts(plan.runtime, plan.device),
        "source": plan.source,
        "images": total,
        "network": plan.network.name,
        "network_size": list(plan.spec.input.size),
        "conf": plan.limits.conf,
        "iou": plan.limits.iou,
        "max_det": plan.limits.max_det,
        "judged": bool(found.aps),
        "boxmill_settings": found.mill,
    }
    return Comparison(rows, missing, plan.cores, about, tuple(notes(plan, every, rows, found.mill.get("d", {}))))
