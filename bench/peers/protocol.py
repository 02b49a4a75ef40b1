"""What every peer program speaks: one JSON line in, one JSON line out, on its own standard input and output.

    {"run": true}   ->  {"wall": seconds, "cpu": seconds of this process, "boxes": total}
    {"dump": path}  ->  {"dumped": images}; writes {file name: [[x1, y1, x2, y2, score, class], ...]} for the agreement check

The first line out is {"ready": true, "versions": {...}} after loading and one warm-up pass. Loading is never timed.
"""

import json
import os
import sys
import time
from contextlib import redirect_stdout
from importlib import metadata


def serve(process, photos, packages):
    """Answers until standard input closes. `process(paths)` yields for each photo a list of [x1, y1, x2, y2, score, class].

    Whatever the framework prints goes to standard error, so that it cannot spoil an answer.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    with redirect_stdout(sys.stderr):
        for _ in process(photos[:8]):
            pass
        print(json.dumps({"ready": True, "versions": {name: metadata.version(name) for name in packages}}), file=answers)
        for line in sys.stdin:
            command = json.loads(line)
            answer = _dump(process, photos, command["dump"]) if "dump" in command else _run(process, photos)
            print(json.dumps(answer), file=answers)


def _run(process, photos):
    wall, cpu = time.perf_counter(), time.process_time()
    boxes = sum(len(objects) for objects in process(photos))
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "boxes": boxes}


def _dump(process, photos, path):
    results = {photo.name: objects for photo, objects in zip(photos, process(photos), strict=True)}
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(results, file)
    return {"dumped": len(results)}
