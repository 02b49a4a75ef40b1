"""From pixels to a tagger's input: shorter side to 256, antialiased, 224 x 224 from the centre, normalised.

    PYTHONPATH=src .venv-peers/bin/python bench/tagger.py            # prints the table
    PYTHONPATH=src .venv-peers/bin/python bench/tagger.py --write    # and refreshes RESULTS.md

One thread each, interleaved in one process, medians in ms; every call takes another of several pictures, so that the
source comes from memory as it does after decoding. Each starts with what its decoder gives it: ours with a numpy array,
Pillow with an Image, torchvision with a uint8 tensor, channels last (with planes large pictures took it 2-3 times as
long). "Pillow's resize" is that one call, without crop and normalisation; "Pillow recipe" adds them in numpy;
"torchvision" is resize(antialias=True), center_crop and normalize on tensors; left out where it is not installed.
Ours writes into an array that is reused, as the engine does.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from statistics import median

import cv2
import numpy as np
import results
from letterbox import photo_like
from PIL import Image

from boxmill import _native
from boxmill.images import geometry, preprocess
from boxmill.post import Tagger
from boxmill.types import Frame, HeadSpec, InputSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SOURCES = {"640x427": (427, 640), "1920x1080": (1080, 1920), "3840x2160": (2160, 3840)}
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
FRAMES = 4
PACKAGES = ("numpy", "pillow", "torch", "torchvision")
Call = Callable[[int], object]


def spec_of(interpolation: str) -> InputSpec:
    return InputSpec(
        size=(224, 224),
        mean=MEAN,
        std=STD,
        resize="center_crop",
        crop_from=256,
        interpolation=interpolation,
        antialias=True,
    )


def pillow_recipe(image: Image.Image, resized: tuple[int, int], interpolation: str) -> np.ndarray:
    height, width = resized
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    cut = image.resize((width, height), FILTERS[interpolation]).crop((left, top, left + 224, top + 224))
    values = (np.asarray(cut, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def torchvision_recipe(tensor, interpolation: str):
    from torchvision.transforms.v2 import InterpolationMode, functional

    resized = functional.resize(tensor, [256], InterpolationMode(interpolation), antialias=True)
    cut = functional.center_crop(resized, [224, 224])
    return functional.normalize(functional.to_dtype(cut, scale=True), list(MEAN), list(STD))


def sides(size: tuple[int, int], interpolation: str) -> dict[str, Call]:
    """Each takes the number of a picture."""
    pictures = [photo_like(*size, seed) for seed in range(FRAMES)]
    frames = [Frame("x", pixels) for pixels in pictures]
    images = [Image.fromarray(pixels) for pixels in pictures]
    spec = spec_of(interpolation)
    placed = geometry(size, spec)
    out = np.empty((3, 224, 224), np.float32)
    calls: dict[str, Call] = {
        "boxmill": lambda i: preprocess(frames[i], geometry(size, spec), spec, out),
        "Pillow's resize": lambda i: images[i].resize(placed.resized[::-1], FILTERS[interpolation]),
        "Pillow recipe": lambda i: pillow_recipe(images[i], placed.resized, interpolation),
    }
    if importlib.util.find_spec("torchvision"):
        import torch

        torch.set_num_threads(1)
        tensors = [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in pictures]
        calls["torchvision"] = lambda i: torchvision_recipe(tensors[i], interpolation)
    difference = np.abs(calls["boxmill"](0) - calls["Pillow recipe"](0)).max()
    assert difference < 1e-5, difference
    return calls


def timed(call: Call, index: int) -> float:
    start = time.perf_counter()
    call(index)
    return (time.perf_counter() - start) * 1000


def compare(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Medians in ms."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for place, (name, call) in enumerate(calls.items()):
            times[name].append(timed(call, (turn + place) % FRAMES))
    return {name: median(values) for name, values in times.items()}


def table(rounds: int) -> str:
    lines = []
    for source, size in SOURCES.items():
        for interpolation in FILTERS:
            found = compare(sides(size, interpolation), rounds)
            if not lines:
                lines = [f"| source | filter | {' | '.join(found)} | fastest other / boxmill |"]
                lines += ["|---" * (len(found) + 3) + "|"]
            best = min(value for name, value in found.items() if name != "boxmill") / found["boxmill"]
            cells = " | ".join(f"{value:.2f}" for value in found.values())
            lines.append(f"| {source} | {interpolation} | {cells} | {best:.1f} |")
    return "\n".join(lines)


def tags_table(rounds: int) -> str:
    """The way from 54,092 raw logits to five tags; the plain way sorts them all."""
    logits = np.random.default_rng(0).normal(0, 4, (1, 54_092)).astype(np.float32)
    tagger = Tagger(HeadSpec("classes", activation="softmax"))

    def plain(_: int) -> object:
        powers = np.exp(logits[0] - logits[0].max())
        scores = powers / powers.sum()
        best = np.argsort(scores)[::-1][:5]
        return best, scores[best]

    found = compare({"boxmill": lambda _: tagger(logits), "softmax and argsort in numpy": plain}, rounds)
    ratio = found["softmax and argsort in numpy"] / found["boxmill"]
    cells = " | ".join(f"{value:.2f}" for value in found.values())
    return f"| 54,092 logits to 5 tags | {' | '.join(found)} | ratio |\n|---|---|---|---|\n| | {cells} | {ratio:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    how = f"Medians of {arguments.rounds} interleaved calls in ms, one thread, {_native.isa()} kernels, float32 NCHW."
    parts = ["## Tagger: centre crop with antialiasing", results.environment(PACKAGES), how]
    body = "\n\n".join([*parts, table(arguments.rounds), tags_table(arguments.rounds)])
    print(body)
    if arguments.write:
        results.write_section("tagger", body)


if __name__ == "__main__":
    main()
