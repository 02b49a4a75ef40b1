"""Runs that were never run, over pictures that are there, for tests of what a report says of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boxmill.store import Entry, Journal, NewInput, write_manifest
from boxmill.types import Detections, Failure, Outcome, Tags

NAMES = ("cat", "dog", "cow")
START = 1_790_000_000.0  # when the first image of a run ended
TIMES = {"read": 1.0, "decode": 2.0, "model": 7.0}
VOID = {"input", "meta", "rect", "line", "image"}


def found(index: int, count: int, key: str | None = None, cut: float | None = None, classes: int = 3) -> Outcome:
    """`count` boxes within an image of 80x60, best first."""
    rng = np.random.default_rng(index)
    corners = np.sort(rng.random((count, 2, 2), np.float32), axis=1) * np.float32([80, 60])
    detections = Detections(
        boxes=corners.reshape(count, 4).astype(np.float32),
        scores=np.sort(rng.random(count, np.float32) * np.float32(0.7) + np.float32(0.3))[::-1].copy(),
        classes=rng.integers(0, classes, count).astype(np.int32),
        indices=np.arange(count, dtype=np.int32),
        cut=cut,
    )
    return Outcome(key or f"{index:04}.png", index, detections, (80, 60), TIMES)


def tagged(index: int, scores: Sequence[float]) -> Outcome:
    tags = Tags(np.arange(len(scores), dtype=np.int32), np.array(scores, np.float32))
    return Outcome(f"{index:04}.png", index, tags, (80, 60), TIMES)


def failed(
    index: int, code: str = "truncated", stage: str = "decode", key: str | None = None, message: str = "it ends early"
) -> Outcome:
    name = key or f"{index:04}.png"
    return Outcome(name, index, Failure(name, stage, code, message), None, {"read": 1.0})


def png(width: int = 80, height: int = 60) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write_run(
    folder: Path,
    outcomes: Sequence[Outcome],
    *,
    names: Sequence[str] = NAMES,
    task: str = "detect",
    times: Sequence[float | None] | None = None,
    open_inputs: int = 0,
    **settings: object,
) -> Path:
    """A run at `folder`/run over `folder`/photos, whose images are there; an image ended every 50 ms."""
    run, photos = folder / "run", folder / "photos"
    run.mkdir(parents=True)
    keys = [*(one.key for one in outcomes), *(f"open{n}.png" for n in range(open_inputs))]
    for key in keys:
        (photos / key).parent.mkdir(parents=True, exist_ok=True)
        if not (photos / key).exists():
            (photos / key).write_bytes(png())
    facts = (os.stat(photos / key) for key in keys)
    inputs = [NewInput(key, None, fact.st_size, fact.st_mtime_ns) for key, fact in zip(keys, facts, strict=True)]
    write_manifest(run / "manifest-0.jsonl", os.fsencode(photos), inputs)
    ended = [START + 0.05 * place for place in range(len(outcomes))] if times is None else times
    journal = Journal(run, 1, 1)
    if outcomes:
        journal.commit([Entry.of(one, at=at) for one, at in zip(outcomes, ended, strict=True)])
    journal.close()
    chosen = {"weights": "somewhere/net.onnx", "conf": 0.25, "keep_conf": 0.25, **settings}
    header = {"format": 1, "settings": chosen, "model": {"names": list(names), "task": task}, "source": str(photos)}
    (run / "run.json").write_text(json.dumps({**header, "versions": {"boxmill": "0.1.0"}}))
    return run


def write_summary(run: Path, computed: int, **changes: Any) -> None:
    """Two workers, one second, all of it accounted for."""
    summary: dict[str, Any] = {
        "status": "finished", "epoch": 1, "computed": computed, "wall": 1.0, "images_per_s": float(computed),
        "workers": 2, "stages": {"decode": 0.5, "model": 1.0}, "waits": {"next input": 0.25}, "unexplained": 0.25,
        "cpu": 2.0, "peak_memory": 2**28, "startup": {"load": 0.5, "warm-up": 0.25},
    }  # fmt: skip
    (run / "summary.json").write_text(json.dumps({**summary, **changes}))


class Page(HTMLParser):
    """A page as a browser sees it: fails where an element is not closed properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # language of the nearest element with one, text
        self._open: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        assert tag not in VOID, "expected it to close itself"
        inherited = self._open[-1][1] if self._open else ""
        self._open.append((tag, given.get("lang") or inherited))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] not in ("script", "style"):
            self.texts.append((self._open[-1][1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [given for name, given in self.tags if name == tag]

    def text(self) -> str:
        return "\n".join(text for _, text in self.texts)


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))
