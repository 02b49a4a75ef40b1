"""A plain batch script such as a first article on the subject arrives at, moved to the CPU. Peers' environment.

Design: the network is loaded once from the .pt; photos are taken in batches of 8; each is opened with Pillow, turned
to RGB, resized to fit 640x640, pasted on a grey square and scaled to 0-1 with NumPy; one float32 (or, with --bf16,
autocast) forward pass a batch in eager PyTorch; class-aware NMS with torchvision; boxes are scaled back to the photo;
one JSON file a photo is written. Decoding, inference and writing follow one another in one thread; PyTorch uses every
core.
"""

import argparse
import json
import os
from pathlib import Path

import protocol
from offline import forbid_downloads

SIZE, PAD = 640, 114
CONF, IOU, MAX_DET = 0.25, 0.45, 300


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--count", type=int, default=None, help="only the first COUNT photos")
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    forbid_downloads(arguments.model.parent / "ultralytics")
    arguments.out.mkdir(parents=True, exist_ok=True)
    network = load(arguments.model)

    def process(paths):
        for start in range(0, len(paths), arguments.batch):
            yield from detect(network, paths[start : start + arguments.batch], arguments)

    photos = sorted(arguments.photos.glob("*.jpg"))[: arguments.count]
    protocol.serve(process, photos, ("torch", "torchvision", "pillow", "numpy"))


def load(path):
    import torch
    from ultralytics import YOLO

    network = YOLO(path, task="detect").model.float().fuse().eval()
    torch.set_num_threads(os.cpu_count())  # a plain script has them all; importing ultralytics leaves cores - 1
    return network


def detect(network, paths, arguments):
    """Detects one batch and writes its JSON files; returns (objects, no stage times) of each photo."""
    import numpy as np
    import torch

    prepared = [preprocess(path) for path in paths]
    batch = torch.from_numpy(np.stack([tensor for tensor, _, _ in prepared]))  # (B, 3, 640, 640)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
        output = network(batch)
    raw = (output[0] if isinstance(output, (tuple, list)) else output).float()  # (B, 4 + classes, anchors)
    results = []
    for path, head, (_, geometry, size) in zip(paths, raw, prepared, strict=True):
        objects = postprocess(head, geometry, size)
        write(arguments.out / f"{path.stem}.json", path.name, size, objects)
        results.append((objects, {}))
    return results


def preprocess(path):
    """The photo as (3, 640, 640) float32, how it lies there (ratio, left, top), and its (width, height)."""
    import numpy as np
    from PIL import Image

    image = Image.open(path).convert("RGB")
    ratio = min(SIZE / image.width, SIZE / image.height)
    resized = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BILINEAR)
    left, top = (SIZE - resized.width) // 2, (SIZE - resized.height) // 2
    canvas = Image.new("RGB", (SIZE, SIZE), (PAD, PAD, PAD))
    canvas.paste(resized, (left, top))
    tensor = np.asarray(canvas, np.float32).transpose(2, 0, 1) / 255
    return tensor, (ratio, left, top), image.size


def postprocess(head, geometry, size):
    """(4 + classes, anchors) to a list of [x1, y1, x2, y2, score, class] in pixels of the photo."""
    import torch
    from torchvision.ops import batched_nms

    scores, classes = head[4:].max(0)
    candidates = scores > CONF
    centre, extent = head[:2, candidates].T, head[2:4, candidates].T  # (N, 2) each
    boxes = torch.cat([centre - extent / 2, centre + extent / 2], 1)
    scores, classes = scores[candidates], classes[candidates]
    kept = batched_nms(boxes, scores, classes, IOU)[:MAX_DET]
    ratio, left, top = geometry
    boxes = (boxes[kept] - torch.tensor([left, top, left, top])) / ratio
    boxes[:, 0::2].clamp_(0, size[0])
    boxes[:, 1::2].clamp_(0, size[1])
    return torch.cat([boxes, scores[kept, None], classes[kept, None].float()], 1).tolist()


def describe(x1, y1, x2, y2, score, cls):
    box = [round(value) for value in (x1, y1, x2, y2)]
    return {"label": str(int(cls)), "class_id": int(cls), "confidence": round(score, 6), "bbox": box}


def write(path, name, size, objects):
    document = {
        "image": name,
        "width": size[0],
        "height": size[1],
        "objects": [describe(*row) for row in objects],
    }
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
