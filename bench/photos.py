"""The photos of the end-to-end benchmark: N JPEGs of 1920x1080, made from the test assets, the same on every machine.

Each asset photo is scaled to cover the frame and cropped at its centre, so that the content is real and no part of a
frame is padding (padding would decode faster than a photo). Needs OpenCV and the folder named by BOXMILL_ASSETS.
"""

from pathlib import Path

import cv2

WIDTH, HEIGHT = 1920, 1080
JPEG_QUALITY = 90
LARGE = ("crowd.jpg", "aerial.jpeg", "horses.jpg")  # these come first; COCO photos fill the rest


def make_photos(assets, folder, count=100):
    """Write `count` JPEGs into `folder`, keeping those that are already there; returns their paths, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = assets / "photos"
    originals = [photos / name for name in LARGE] + sorted((photos / "train128").glob("*.jpg"))
    if len(originals) < count:
        raise SystemExit(
            f"expected at least {count} photos under {photos}, found {len(originals)}; check BOXMILL_ASSETS"
        )
    paths = []
    for number, original in enumerate(originals[:count]):
        path = folder / f"{number:03d}-{original.stem}.jpg"
        if not path.exists():
            _write(path, _cover(_read(original)))
        paths.append(path)
    strangers = sorted({p.name for p in folder.iterdir()} - {p.name for p in paths})
    if strangers:
        raise SystemExit(f"{folder} holds files that this benchmark did not make: {strangers[:3]}; delete the folder")
    return paths


def _read(path):
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)  # (H, W, 3) uint8 BGR
    if pixels is None:
        raise SystemExit(f"{path} is not a readable image")
    return pixels


def _cover(pixels):
    """The centre WIDTH x HEIGHT of the photo scaled until it covers the frame."""
    height, width = pixels.shape[:2]
    ratio = max(WIDTH / width, HEIGHT / height)
    size = max(WIDTH, round(width * ratio)), max(HEIGHT, round(height * ratio))
    scaled = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if ratio > 1 else cv2.INTER_AREA)
    left, top = (size[0] - WIDTH) // 2, (size[1] - HEIGHT) // 2
    return scaled[top : top + HEIGHT, left : left + WIDTH]


def _write(path, pixels):
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    partial = Path(f"{path}.partial")
    partial.write_bytes(encoded.tobytes())
    partial.replace(path)
