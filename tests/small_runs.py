"""Small runs without a network, for tests of the command line and of the mill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boxmill.store.frames import frame
from boxmill.store.journal import segments

CARD = """
version: 1
input: {size: [64, 64], color: RGB, scale: 0.00392156862745098, resize: letterbox}
head: {type: yolo, boxes: pixels}
labels: [cat, dog, cow]
"""


def png(seed: int, side: int = 40) -> bytes:
    """A small noisy picture; another seed is another picture."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side + seed % 7, side, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write_photos(folder: Path, count: int, first: int = 0, side: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        (folder / f"{seed:03}.png").write_bytes(png(seed, side))
    return folder


def write_card(folder: Path) -> Path:
    path = folder / "fake.yaml"
    path.write_text(CARD, encoding="utf-8")
    return path


def documents(run: Path) -> dict[str, bytes]:
    """Every per-image JSON by its path below the run's json folder."""
    folder = os.fsencode(run / "json")
    return {
        os.fsdecode(os.path.relpath(os.path.join(parent, name), folder)): Path(
            os.fsdecode(os.path.join(parent, name))
        ).read_bytes()
        for parent, _, names in os.walk(folder)
        for name in names
    }


def summary(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / "summary.json").read_bytes())
    return document


def failures(run: Path) -> dict[str, str]:
    """Key of each failed input -> its code."""
    return {row["image"]: row["code"] for row in summary(run)["failed"]["first"]}


def journal(run: Path) -> list[dict[str, Any]]:
    """Every record of the journal, in the order in which they supersede each other."""
    lines = [line for segment in segments(run) for line in Path(segment.path).read_bytes().splitlines()]
    return [record for line in lines if line.startswith(b'{"v"') for record in [json.loads(line)]]


def boxmill(*arguments: str | bytes | os.PathLike[str], **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own; stdout and stderr are pipes."""
    command = [sys.executable, "-m", "boxmill", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape", **options
    )


def leave_unfinished(run: Path, keep: int) -> list[dict[str, object]]:
    """Takes a finished run back to what a kill after `keep` results leaves; returns what the journal still has."""
    (segment,) = (run / "journal").glob("seg-*.jsonl")
    lines = [json.dumps(record, separators=(",", ":")) for record in journal(run)]
    kept = b"".join(frame(line.encode() + b"\n") for line in lines[:keep])
    segment.unlink()
    segment.with_name(segment.name + ".open").write_bytes(kept + b"F 999 deadbeef\n{")
    (run / "summary.json").unlink()
    shutil.rmtree(run / "json")
    return journal(run)[:keep]


def computed(run: Path) -> list[int]:
    return [int(record["i"]) for record in journal(run)]
