"""From pixels to the network's input: boxmill's one native pass against the usual OpenCV and numpy recipe.

    PYTHONPATH=src python bench/letterbox.py            # prints the table
    PYTHONPATH=src python bench/letterbox.py --write    # and refreshes RESULTS.md

One thread each, interleaved in one process, medians in ms. Every call takes another of several frames, so that the
source comes from memory as it does after decoding. Both give float32 in [0, 1], 3 x h x w, padded. Ours writes into an
array that is reused, as the engine does; the recipe (resize, copyMakeBorder, transpose, astype, divide) is as people
write it. With reused buffers, one multiply a plane, or cv2.dnn.blobFromImage it came out equal to 20 % faster.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import cv2
import numpy as np
import results

from boxmill import _native
from boxmill.images import decode, geometry, preprocess
from boxmill.types import Frame, Geometry, InputSpec

SPEC = InputSpec()
SOURCES = {"1920x1080": (1080, 1920), "3840x2160": (2160, 3840), "1280x720": (720, 1280), "640x427": (427, 640)}
FRAMES = 4  # 4 frames of 1080p are 25 MB: more than the caches of a core keep


def photo_like(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width, 3) uint8: smooth areas with some grain, which JPEG compresses about as it does a photo."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.add(smooth, rng.integers(0, 12, (height, width, 3), np.uint8))


def recipe(pixels: np.ndarray, placed: Geometry) -> np.ndarray:
    (height, width), (left, top) = placed.resized, placed.pad
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    bottom, right = placed.network[0] - height - top, placed.network[1] - width - left
    padded = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    return np.ascontiguousarray(padded.transpose(2, 0, 1)).astype(np.float32) / 255


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def compare(size: tuple[int, int], rect: bool, rounds: int) -> tuple[float, float, tuple[int, int]]:
    """Medians of ours and of the recipe in ms, and the network's shape."""
    placed = geometry(size, SPEC, rect=rect)
    frames = [Frame("x", photo_like(*size, seed)) for seed in range(FRAMES)]
    out = np.empty((3, *placed.network), np.float32)
    difference = np.abs(preprocess(frames[0], placed, SPEC, out) - recipe(frames[0].pixels, placed)).max()
    assert difference < 1e-6, difference
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds):
        frame = frames[index % FRAMES]
        times[0].append(timed(lambda frame=frame: preprocess(frame, placed, SPEC, out)))
        frame = frames[(index + FRAMES // 2) % FRAMES]
        times[1].append(timed(lambda frame=frame: recipe(frame.pixels, placed)))
    return median(times[0]), median(times[1]), placed.network


def compare_decoding(size: tuple[int, int], rounds: int) -> tuple[float, float]:
    """Medians of ours and of bare cv2.imdecode in ms, on one JPEG of quality 90."""
    data = cv2.imencode(".jpg", photo_like(*size, 0), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    times: tuple[list[float], list[float]] = ([], [])
    sides = (lambda: decode(data, "x"), lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 else (1, 0):  # neither always follows the other
            times[side].append(timed(sides[side]))
    return median(times[0]), median(times[1])


def table(rounds: int) -> str:
    lines = ["| source | network | boxmill | OpenCV recipe | times faster |", "|---|---|---|---|---|"]
    for name, size in SOURCES.items():
        for rect in (True, False):
            ours, theirs, (height, width) = compare(size, rect, rounds)
            lines.append(f"| {name} | {width}x{height} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |")
    lines += ["", "| JPEG | boxmill decode | cv2.imdecode | ratio |", "|---|---|---|---|"]
    for name in ("1920x1080", "3840x2160"):
        ours, theirs = compare_decoding(SOURCES[name], max(5, rounds // 3))
        lines.append(f"| {name} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    how = f"Medians of {arguments.rounds} interleaved calls in ms, one thread, {_native.isa()} kernels, float32 NCHW."
    body = "\n\n".join(["## Letterbox and decoding", results.environment(), how, table(arguments.rounds)])
    print(body)
    if arguments.write:
        results.write_section("letterbox", body)


if __name__ == "__main__":
    main()
