"""ultralytics as its user would run it: one model, loaded once, `predict(..., stream=True)` over the photos.

    python bench/peers/ultralytics_predict.py --photos FOLDER --model yolov8n.pt --batch 8

The boxes become Python lists and nothing is written, whereas boxmill writes and syncs its results: an advantage given.
Everything else is the default of the installed version (rect=True, its own threads, prefetching and precision).
"""

import argparse
import tempfile
from pathlib import Path

import protocol
from offline import forbid_downloads


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--count", type=int, default=None, help="only the first COUNT photos")
    arguments = parser.parse_args()
    forbid_downloads(arguments.model.parent / "ultralytics")
    import torchvision  # noqa: F401  (ultralytics then takes torchvision's NMS, as it does for long sources)
    from ultralytics import YOLO

    listing = Path(tempfile.mkdtemp(prefix="boxmill-bench-")) / "photos.txt"
    yolo = YOLO(arguments.model, task="detect")
    options = {"conf": 0.25, "iou": 0.45, "max_det": 300, "imgsz": 640, "device": "cpu"}

    def process(paths):
        # A list of paths would be read by Pillow, all at once and before the first inference (measured: up to three
        # times slower); a folder or a text file of paths goes through OpenCV and, with OpenVINO, is read ahead.
        listing.write_text("\n".join(str(path.resolve()) for path in paths), encoding="utf-8")
        for result in yolo.predict(str(listing), stream=True, verbose=False, batch=arguments.batch, **options):
            yield result.boxes.data.tolist(), {stage: ms / 1e3 for stage, ms in result.speed.items()}

    photos = sorted(arguments.photos.glob("*.jpg"))[: arguments.count]
    protocol.serve(process, photos, ("ultralytics", "torch", "torchvision", "openvino", "onnxruntime"))


if __name__ == "__main__":
    main()
