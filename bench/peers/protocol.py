"""What every peer program speaks: one JSON line in, one JSON line out, on its own standard input and output.

    {"run": true}   ->  {"wall": seconds, "cpu": seconds of this process, "boxes": total, "stages": {name: seconds}}
    {"dump": path}  ->  {"dumped": images}; writes {file name: [[x1, y1, x2, y2, score, class], ...]}

The first line out is {"ready": true, "versions": {...}}, after loading and a warm-up. Loading is never timed. The
stages are what the peer itself reports, and may leave parts out.
"""

import json
import os
import sys
import time
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path


def serve(process, photos, packages):
    """Answers until standard input closes.

    `process(paths)` yields for each photo its [x1, y1, x2, y2, score, class] rows and its {stage: seconds}. Whatever
    the framework prints goes to standard error, so that it cannot spoil an answer.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1) as answers, redirect_stdout(sys.stderr):
        for _ in process(photos[:8]):
            pass
        versions = {name: metadata.version(name) for name in packages}
        print(json.dumps({"ready": True, "versions": versions}), file=answers)
        for line in sys.stdin:
            command = json.loads(line)
            answer = _dump(process, photos, command["dump"]) if "dump" in command else _run(process, photos)
            print(json.dumps(answer), file=answers)


def _run(process, photos):
    boxes, stages = 0, {}
    wall, cpu = time.perf_counter(), time.process_time()
    for objects, times in process(photos):
        boxes += len(objects)
        for stage, seconds in times.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "boxes": boxes, "stages": stages}


def _dump(process, photos, path):
    results = {photo.name: objects for photo, (objects, _) in zip(photos, process(photos), strict=True)}
    Path(path).write_text(json.dumps(results), encoding="utf-8")
    return {"dumped": len(results)}
