"""Whether two programs found the same boxes, so that nobody is compared on a wrong result. Standard library only."""

from mill import mill_boxes

REQUIRED = 0.95  # share of boxes with a partner; scores at the threshold may fall on either side of it
SAME = 0.9  # IoU
CLOSE = 1.0  # pixels
PAIRS = {
    "float32, rectangles, against ultralytics ONNX dynamic": ("ultralytics ONNX, dynamic, batch 1", ("--rect",)),
    "float32, squares, against ultralytics ONNX": ("ultralytics ONNX, default export", ("--no-rect",)),
}


def shares(peers, folder, models, work):
    """{comparison: share of the boxes of both programs that have a partner in the other}."""
    found = {}
    for name, (peer, shape) in PAIRS.items():
        theirs = peers[peer].dump(work / "agreement.json")
        options = ("--precision", "fp32", *shape)
        found[name] = matched(mill_boxes(folder, models / "yolov8n-dynamic.onnx", options, work), theirs)
    return found


def matched(ours, theirs):
    """2 x pairs / (boxes + boxes) over all photos; each box takes the first free one of its class that is the same."""
    if ours.keys() != theirs.keys():
        raise SystemExit(f"the photos differ: {sorted(ours.keys() ^ theirs.keys())[:3]}")
    pairs = total = 0
    for key, boxes in ours.items():
        free = list(theirs[key])
        total += len(boxes) + len(free)
        for box in boxes:
            partner = next((other for other in free if other[5] == box[5] and same(box, other)), None)
            if partner is not None:
                free.remove(partner)
                pairs += 1
    return 2 * pairs / total if total else 1.0


def same(a, b):
    """IoU >= SAME, or every coordinate within CLOSE: boxes in the padding are clipped to nothing and have no IoU."""
    return iou(a, b) >= SAME or max(abs(p - q) for p, q in zip(a[:4], b[:4], strict=True)) <= CLOSE


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)
