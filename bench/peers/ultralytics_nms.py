"""Times ultralytics' non_max_suppression in a process of its own, so that its code is never loaded beside ours.

Reads one JSON object a line: {"heads": .npy of (N, 4 + C, A) float32, "conf", "iou", "multi_label", "calls", "found":
.npy to write}. Answers with {"us": [median of each of the N images]} and writes the last image's objects, (n, 6) x1 y1
x2 y2 score class.
"""

import json
import sys
import time
from statistics import median

import numpy as np
import torch
import torchvision  # noqa: F401  the function takes torchvision's compiled NMS only if somebody has loaded it: 10x faster
from ultralytics.utils.nms import non_max_suppression


def measure(request: dict) -> list[float]:
    times = []
    for head in np.load(request["heads"]):
        calls = []
        for _ in range(request["calls"]):
            prediction = torch.from_numpy(head[None].copy())  # the call may write into its argument
            start = time.perf_counter()
            found = non_max_suppression(prediction, request["conf"], request["iou"], multi_label=request["multi_label"])
            calls.append(time.perf_counter() - start)
        times.append(1e6 * median(calls))
    np.save(request["found"], found[0].numpy())
    return times


def main() -> None:
    torch.set_num_threads(1)
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever the package prints must not meet the answers
    for line in sys.stdin:
        answers.write(json.dumps({"us": measure(json.loads(line))}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
