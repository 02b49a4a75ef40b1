"""boxmill's side of bench/end_to_end.py: the command line it is run with and what is read from its summary."""

import json
import shutil
import subprocess
import sys
import time

# The first is the default; each of the others takes one thing away.
OURS = {
    "boxmill": (),
    "boxmill without bf16": ("--precision", "fp32"),
    "boxmill without rectangles": ("--no-rect",),
    "boxmill with one worker": ("--workers", "1"),
}


def run_mill(photos, weights, options, work):
    """One `boxmill run`: {"wall", "whole", "cpu", "boxes", "stages"}, times in seconds.

    `wall` and `cpu` are those of the steady run, from the first photo to the last durable result; `whole` is the whole
    command with its start.
    """
    start = time.perf_counter()
    summary = json.loads(_mill(photos, weights, options, work / "runs"))
    whole = time.perf_counter() - start
    if summary["processed"] != summary["total_images"]:
        raise SystemExit(f"boxmill failed on some photos: {summary['failed']}")
    return {
        "wall": summary["wall"],
        "whole": whole,
        "cpu": summary["cpu"],
        "boxes": summary["objects"],
        "stages": summary["stages"],
        "unexplained": abs(summary["unexplained"]) / (summary["workers"] * summary["wall"]),
    }


def mill_boxes(photos, weights, options, work):
    """{file name: [[x1, y1, x2, y2, score, class], ...]} from the JSON files of one run."""
    project = work / "runs"
    _mill(photos, weights, options, project)
    boxes = {}
    for path in sorted(project.glob("*/json/*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        boxes[document["image"]] = [[*o["bbox"], o["confidence"], o["class_id"]] for o in document["objects"]]
    return boxes


def _mill(photos, weights, options, project):
    """Runs into an empty project folder; returns standard output."""
    if project.exists():
        shutil.rmtree(project)
    program = [sys.executable, "-c", "import sys; from boxmill.cli import main; sys.exit(main())"]
    command = [*program, "run", str(photos), "--weights", str(weights), "--project", str(project), *options]
    done = subprocess.run([*command, "--quiet", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
