"""YOLO text: `class cx cy w h [score]` for each object, a file for each image (`--save-txt`, `boxmill export`).

Centre, width and height are shares of the image's own. An image without objects has an empty file, a failed one none.
"""

from __future__ import annotations

import os

import numpy as np

from boxmill.store.durable import FileTree
from boxmill.store.replay import replay
from boxmill.store.stems import stem
from boxmill.types import Detections, Outcome

__all__ = ["TextFiles", "rebuild_text", "yolo_text"]


def yolo_text(outcome: Outcome, *, with_score: bool) -> bytes | None:
    """The file of one image, shares with 8 decimals (a ten-thousandth of a pixel in 10,000); None: it has none."""
    found = outcome.result
    if not isinstance(found, Detections) or outcome.size is None:
        return None
    x1, y1, x2, y2 = found.boxes.astype(np.float64).T
    width, height = outcome.size
    shares = np.stack([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height], axis=1)
    lines = []
    for class_id, share, score in zip(found.classes.tolist(), shares.tolist(), found.scores.tolist(), strict=True):
        numbers = " ".join([f"{number:.8f}" for number in share])
        lines.append(f"{class_id} {numbers} {score:.6f}\n" if with_score else f"{class_id} {numbers}\n")
    return "".join(lines).encode()


class TextFiles:
    """The files of `--save-txt`: `labels/<key without suffix>.txt`; usable from several threads at once."""

    def __init__(self, directory: str | os.PathLike[str], *, with_score: bool) -> None:
        """`directory` is the run's."""
        self._tree = FileTree(os.path.join(directory, "labels"))
        self._with_score = with_score

    def path(self, key: str) -> str:
        """Where an input's file stands."""
        return self._tree.path(stem(key) + ".txt")

    def write(self, outcome: Outcome) -> None:
        """Makes or replaces one file, whole or not at all. Raises OutputError."""
        data = yolo_text(outcome, with_score=self._with_score)
        if data is not None:
            self._tree.write(self.path(outcome.key), data)

    def mend(self, outcome: Outcome) -> bool:
        """Writes a file that is not what the outcome says; returns whether it was not. Raises OutputError."""
        data = yolo_text(outcome, with_score=self._with_score)
        if data is None or _content(self.path(outcome.key)) == data:
            return False
        self._tree.write(self.path(outcome.key), data)
        return True


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:  # missing, or to be replaced in any case
        return None


def rebuild_text(directory: str | os.PathLike[str], total: int, files: TextFiles) -> int:
    """Writes again every file that is missing or not what the journal says; returns how many.

    All are read: after a loss of power a file can be empty, which is also how an image without objects looks.

    Raises:
        OutputError: the journal cannot be read or a file cannot be written.
    """
    return sum(files.mend(record.seen()) for record in replay(directory, total))
