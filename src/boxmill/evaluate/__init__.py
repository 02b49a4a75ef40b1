"""How good a run's results are, against ground truth or against another run."""

from __future__ import annotations

from boxmill.evaluate.bootstrap import Interval, bootstrap
from boxmill.evaluate.classes import ClassMap, map_classes, read_class_map
from boxmill.evaluate.coco import NUMBERS, CocoNumbers, coco_numbers
from boxmill.evaluate.difference import Agreement, Difference, Tolerance, compare_runs
from boxmill.evaluate.images import pair_images
from boxmill.evaluate.published import published, val2017
from boxmill.evaluate.read import read_truth
from boxmill.evaluate.report import Comparison, Report, Request, compare, evaluate
from boxmill.evaluate.runs import EvaluatedRun, open_run
from boxmill.evaluate.scene import Scene, confront
from boxmill.evaluate.shown import ImageShare, Shown, image_share, shown, wilson
from boxmill.evaluate.text import comparison_text, notes, report_text
from boxmill.evaluate.truth import Truth, TruthImage

__all__ = [
    "NUMBERS",
    "Agreement",
    "ClassMap",
    "CocoNumbers",
    "Comparison",
    "Difference",
    "EvaluatedRun",
    "ImageShare",
    "Interval",
    "Report",
    "Request",
    "Scene",
    "Shown",
    "Tolerance",
    "Truth",
    "TruthImage",
    "bootstrap",
    "coco_numbers",
    "compare",
    "compare_runs",
    "comparison_text",
    "confront",
    "evaluate",
    "image_share",
    "map_classes",
    "notes",
    "open_run",
    "pair_images",
    "published",
    "read_class_map",
    "read_truth",
    "report_text",
    "shown",
    "val2017",
    "wilson",
]
