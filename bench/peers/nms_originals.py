"""Times a project's own non_max_suppression in a process of its own, so that its code is never loaded beside ours.

    python bench/peers/nms_originals.py                 # the ultralytics package
    python bench/peers/nms_originals.py CHECKOUT        # utils/general.py of a YOLOv5 or YOLOv9 repository

Reads one JSON object a line: {"heads": .npy of the raw heads of a batch, "options": keyword arguments, "calls": number,
"found": .npy to write}. Answers with {"us": median} and writes the first image's objects, (n, 6) x1 y1 x2 y2 score
class.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torchvision  # noqa: F401  ultralytics takes torchvision's compiled NMS only if somebody has loaded it: 10x faster
from offline import forbid_downloads


def original(checkout):
    if checkout is None:
        forbid_downloads(Path.home() / ".cache/boxmill-bench/ultralytics")
        from ultralytics.utils.nms import non_max_suppression
    else:
        sys.path.insert(0, checkout)
        from utils.general import non_max_suppression
    return non_max_suppression


def measure(function, request):
    heads = torch.from_numpy(np.load(request["heads"]))
    times = []
    for _ in range(request["calls"]):
        prediction = heads.clone()  # the call may write into its argument
        start = time.perf_counter()
        found = function(prediction, **request["options"])
        times.append(time.perf_counter() - start)
    np.save(request["found"], found[0].numpy())
    return 1e6 * median(times)


def main():
    torch.set_num_threads(1)
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever the package prints must not meet the answers
    function = original(sys.argv[1] if len(sys.argv) > 1 else None)
    for line in sys.stdin:
        answers.write(json.dumps({"us": measure(function, json.loads(line))}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
