"""What goes into NMS: candidate sets from dumped heads, and the scenes they form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.errors import SourceError, UsageError
from boxmill.post import Postprocessor
from boxmill.store import HeadDump, read_dump, read_dump_header, walk_dumps
from boxmill.types import Detections, Float32, Geometry, HeadSpec

__all__ = ["Candidates", "Head", "Scene", "Selection", "candidates_of", "dumped_scenes"]

_MOST = 2**31 - 65  # no limit: more than any head has
_SCENES = 8  # up to so many images are scenes of their own; more are one scene
_HEADS = 16  # so many raw heads of a scene stay in memory, to time the whole post-processing


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """One image's candidates in anchor order, as a network emits them: network pixels, unclipped."""

    name: str
    boxes: Float32  # (N, 4) xyxy
    scores: Float32  # (N,)
    classes: npt.NDArray[np.int64]  # (N,)
    geometry: Geometry | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def arrays(self) -> tuple[Float32, Float32, npt.NDArray[np.int64]]:
        """What a back-end takes."""
        return self.boxes, self.scores, self.classes


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """One image's raw head and what turns it into boxes."""

    raw: tuple[npt.NDArray[Any], ...]
    network: tuple[int, int]
    postprocessor: Postprocessor  # its confidence is that of the candidates


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Candidate sets that are measured together."""

    name: str
    sets: tuple[Candidates, ...]  # none of them empty
    heads: tuple[Head, ...] = ()  # of the first images, where they come from dumps
    empty: int = 0  # images without any candidate


@dataclass(frozen=True, slots=True)
class Selection:
    """Which anchors of a head become candidates."""

    conf: float = 0.25  # a candidate's score is greater
    multi_label: bool = False
    counts: tuple[int, ...] = ()  # instead of conf: about so many candidates for each image, or one number for all
    images: int = 256  # only so many dumps are read


def candidates_of(dump: HeadDump, head: HeadSpec, conf: float, *, multi_label: bool) -> Candidates:
    """Everything above `conf`, decoded, before any suppression. Raises UsageError where the head is a tagger's."""
    every = Postprocessor(head, conf=conf, iou=None, max_det=_MOST, max_nms=_MOST, multi_label=multi_label)
    (found,) = every(dump.raw, dump.geometry.network)
    return _in_anchor_order(dump, found)


def _in_anchor_order(dump: HeadDump, found: Detections) -> Candidates:
    """Sorted candidates would spare some back-ends work that others do."""
    order = np.lexsort((found.classes, found.indices))
    boxes, scores, classes = found.boxes[order], found.scores[order], found.classes[order].astype(np.int64)
    return Candidates(dump.key, boxes, scores, classes, dump.geometry)


def dumped_scenes(run: Path, selection: Selection) -> tuple[list[Scene], list[str]]:
    """The scenes of a run's dumps, and what there is to say about them.

    Up to 8 images are a scene each; of more, all together are one, and its latencies are distributed over images.

    Raises:
        SourceError: there are no dumps, or one is damaged.
        UsageError: the head is a tagger's, or `counts` do not fit the number of dumps.
    """
    header = read_dump_header(run)
    paths = list(walk_dumps(run))
    if not paths:
        raise SourceError(f"{str(run / 'heads')!r} is empty: no image of that run had a result")
    remarks = []
    if len(paths) > selection.images:
        remarks.append(f"only the first {selection.images} of {len(paths)} dumps were read; --images takes more")
    paths = paths[: selection.images]
    counts = _counts(selection, len(paths))
    sets: list[Candidates] = []
    heads: list[Head] = []
    for path, count in zip(paths, counts, strict=True):
        dump = read_dump(run, path)
        found, conf = _select(dump, header.head, selection, count)
        sets.append(found)
        if len(heads) < _HEADS:
            heads.append(_head(dump, header.head, conf, selection))
    if len(sets) > _SCENES:
        full = tuple(one for one in sets if len(one))
        return [Scene(f"{len(sets)} images of {run.name}", full, tuple(heads), len(sets) - len(full))], remarks
    scenes = [
        Scene(one.name, (one,) if len(one) else (), (head,), 1 - bool(len(one)))
        for one, head in zip(sets, heads, strict=True)
    ]
    return scenes, remarks


def _counts(selection: Selection, images: int) -> Sequence[int | None]:
    if not selection.counts:
        return [None] * images
    if len(selection.counts) not in (1, images):
        raise UsageError(f"--candidates: expected one number, or one for each of {images} dumps in the order of their "
                         f"names, got {len(selection.counts)}")  # fmt: skip
    return selection.counts * (images if len(selection.counts) == 1 else 1)


def _select(dump: HeadDump, head: HeadSpec, selection: Selection, count: int | None) -> tuple[Candidates, float]:
    """The candidates and the score that they are above."""
    conf = selection.conf if count is None else 0.0
    every = candidates_of(dump, head, conf, multi_label=selection.multi_label)
    if count is None or len(every) <= count:
        return every, conf
    conf = float(np.sort(every.scores)[-count - 1])
    kept = every.scores > np.float32(conf)
    return replace(every, boxes=every.boxes[kept], scores=every.scores[kept], classes=every.classes[kept]), conf


def _head(dump: HeadDump, head: HeadSpec, conf: float, selection: Selection) -> Head:
    whole = Postprocessor(head, conf=conf, multi_label=selection.multi_label)
    return Head(dump.raw, dump.geometry.network, whole)
