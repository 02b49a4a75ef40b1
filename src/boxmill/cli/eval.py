"""`boxmill eval`: how good a run is, or how two runs differ."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from boxmill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from boxmill.evaluate import EvaluatedRun, Report, Request, Truth

Plain = Parameter(negative="")
_JSON_DIFFERENCES = 1000


def evaluate_run(
    run: Path,
    other: Path | None = None,
    /,
    *,
    gt: Path | None = None,
    coco: Path | None = None,
    class_map: Path | None = None,
    conf: float | None = None,
    sample: int | None = None,
    seed: int = 0,
    draws: int = 1000,
    pixels: float = 1.0,
    score: float = 0.01,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: Annotated[bool, Plain] = False,
    quiet: Annotated[bool, Plain] = False,
) -> int:
    """Judge a run against ground truth, or two runs of the same images against each other.

    Examples:

        boxmill eval runs/val --gt instances_val.json

        boxmill eval runs/val2017 --coco datasets/coco

        boxmill eval runs/fp32 runs/bf16 --gt instances_val.json

        boxmill eval runs/fp32 runs/bf16 --all

    One run: COCO's twelve numbers from all that the journal kept; each class's AP; precision, recall and confusions
    at the run's threshold; the share of images that are right. Two runs: their difference in AP with a bootstrap
    interval (with --gt), how far they agree, and the objects that differ. Average precision needs boxmill[eval].

    Images are matched by path: whole, or by as many last parts as both have. An image of the ground truth without a
    result counts, its objects as missed; inputs that the ground truth does not know are left out. Classes are matched
    by name. All of this is printed. Exit codes: 0 done, 2 usage or classes do not fit, 3 ground truth cannot be read,
    6 the run cannot be read.

    Parameters
    ----------
    run
        The run's folder, such as runs/val; A of two.
    other
        B, another run of the same images.
    gt
        Ground truth: a COCO JSON file, a folder of YOLO text (names from its data.yaml), or a folder of VOC XML.
    coco
        Your own COCO folder: annotations/instances_val2017.json in it is the ground truth, and the AP that was
        published for the weights is set beside.
    class_map
        A JSON file {"category of the ground truth": "class of the model"}; null leaves a category out.
    conf
        Threshold for precision, recall, confusions, right images and agreement. Default: the run's.
    sample
        Of how many images, drawn at random, the share of right ones is computed. Default: all.
    seed
        Of the sample and of the bootstrap.
    draws
        Of the bootstrap.
    pixels
        Two runs: an object has moved when a side of its box did by more than this.
    score
        Two runs: a score has changed when it did by more than this.
    everything
        All confusions and all differences, not only the first.
    json
        One JSON document on stdout instead of tables; with the first 1000 differences, or with --all, all.
    quiet
        Only results: nothing on stderr but errors.
    """
    from boxmill.evaluate import Request, Tolerance, open_run, read_class_map

    if gt is not None and coco is not None:
        raise UsageError("give either --gt or --coco")
    if other is None and gt is None and coco is None:
        raise UsageError("one run is judged by ground truth: give --gt or --coco, or a second run to compare it with")
    chosen = None if class_map is None else read_class_map(class_map)
    request = Request(conf, sample, seed, draws, Tolerance(pixels, score), chosen, coco is not None)
    first = open_run(run)
    output = _Output(json, everything, quiet)
    if other is not None:
        _two(first, open_run(other), _truth(gt, coco), request, output)
    elif (truth := _truth(gt, coco)) is not None:
        _one(first, truth, request, output)
    return 0


@dataclass(frozen=True, slots=True)
class _Output:
    """How results are printed."""

    json: bool
    everything: bool
    quiet: bool

    def notes(self, reports: Sequence[Report]) -> None:
        """On stderr; what holds for two runs is said once."""
        from boxmill.evaluate import notes

        said = [notes(report) for report in reports]
        for mark, mine, others in zip("AB", said, reversed(said), strict=False):
            for line in mine:
                if line not in others or mark == "A":
                    self._say(line if line in others else f"{mark}: {line}")

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr)

    def result(self, text: str, document: dict[str, Any]) -> None:
        from boxmill.store import pretty

        sys.stdout.write(pretty(document).decode() if self.json else text)


def _one(run: EvaluatedRun, truth: Truth, request: Request, output: _Output) -> None:
    from boxmill.evaluate import evaluate, report_text

    report = evaluate(run, truth, request)
    output.notes([report])
    output.result(report_text(report, everything=output.everything), report.document())


def _two(first: EvaluatedRun, second: EvaluatedRun, truth: Truth | None, request: Request, output: _Output) -> None:
    from boxmill.evaluate import compare, comparison_text

    found = compare(first, second, truth, request)
    output.notes(found.reports or ())
    limit = None if output.everything else _JSON_DIFFERENCES
    output.result(comparison_text(found, everything=output.everything), found.document(limit))


def _truth(gt: Path | None, coco: Path | None) -> Truth | None:
    from boxmill.evaluate import read_truth, val2017

    if coco is not None:
        return read_truth(val2017(coco))
    return None if gt is None else read_truth(gt)
