"""From a tagger's raw output to tags: scores, threshold, the best few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boxmill.errors import UsageError
from boxmill.types import Float32, Geometry, HeadSpec, Tags

__all__ = ["Tagger"]

_ACTIVATIONS = ("none", "sigmoid", "softmax")
_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tagger:
    """Turns the raw output of a classifier into tags; called like a `Postprocessor`.

    `boxmill.post.reference.tags` defines every operation. Softmax (over all classes, wanted or not) and sigmoid are
    computed in double precision and rounded once, so that scores may differ in the last bit between machines; without
    an activation they are the network's, exactly. Order, ties and threshold follow the rounded scores.

    A class whose score is NaN is no tag and is counted. Softmax has no scores for a row that holds a NaN or +inf, or
    nothing but -inf: every wanted class is then counted, and the image has no tags.

    Args:
        head: of type `classes`, with its activation: none, sigmoid or softmax.
        conf: a tag's score is greater than this; None: no threshold. With an activation 0 to 1, otherwise any number in
            the network's own units.
        top_k: at most this many tags an image, the best; None: no limit.
        classes: wanted class ids; None: all.

    Raises:
        UsageError: an option is out of range.
    """

    head: HeadSpec
    conf: float | None = None
    top_k: int | None = 5
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        head = self.head
        if head.type != "classes":
            raise UsageError(f"a tagger's head type must be classes, got {head.type!r}; Postprocessor reads detectors")
        if head.activation not in _ACTIVATIONS:
            raise UsageError(f"head activation must be one of {', '.join(_ACTIVATIONS)}, got {head.activation!r}")
        if self.conf is not None and not math.isfinite(self.conf):
            raise UsageError(f"conf must be a finite number or None, got {self.conf}")
        if self.conf is not None and head.activation != "none" and not 0 <= self.conf <= 1:
            raise UsageError(f"conf must be between 0 and 1 with activation {head.activation}, got {self.conf}")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k must be 1 or more, or None for no limit, got {self.top_k}")
        if self.classes is not None and any(label < 0 for label in self.classes):
            raise UsageError(f"class ids are 0 or more, got {min(self.classes)}")

    def __call__(
        self,
        raw: _Array | Sequence[_Array],
        network: tuple[int, int] | None = None,
        geometries: Sequence[Geometry] | None = None,
    ) -> list[Tags]:
        """The tags of each image of a batch.

        Args:
            raw: (B, C) or (B, C, 1, 1), or (C,) of one image; float32, or float16, which converts exactly. A list that
                holds one such array, as runtimes return, will do.
            network: not used; tags have no place.
            geometries: not used, but one for each image where they are given.

        Returns:
            One `Tags` an image, best first, equal scores by the lower class id.

        Raises:
            UsageError: the array does not fit the options or `geometries`.
        """
        logits = _as_rows(raw)
        if geometries is not None and len(geometries) != len(logits):
            raise UsageError(f"expected one geometry for each of {len(logits)} images, got {len(geometries)}")
        wanted = None if self.classes is None else _wanted(self.classes, logits.shape[1])
        return [self._tags(row, wanted) for row in logits]

    def _tags(self, logits: Float32, wanted: npt.NDArray[np.int32] | None) -> Tags:
        """`wanted`: class ids, ascending."""
        scores = _scores(logits, self.head.activation)  # (C,)
        if wanted is not None:
            scores = scores[wanted]
        nan = int(np.count_nonzero(np.isnan(scores)))
        tags = ~np.isnan(scores) if self.conf is None else scores > np.float32(self.conf)
        places = _best(scores, np.flatnonzero(tags), self.top_k)
        classes = places.astype(np.int32) if wanted is None else wanted[places]
        return Tags(classes, scores[places], nan)


def _as_rows(raw: _Array | Sequence[_Array]) -> Float32:
    """(B, C) float32."""
    if isinstance(raw, list | tuple):
        if len(raw) != 1:
            raise UsageError(f"expected one raw output, got {len(raw)} arrays; name the right one in head.outputs")
        raw = raw[0]
    if not isinstance(raw, np.ndarray):
        raise UsageError(f"the raw output must be a numpy array, got {type(raw).__name__}; use numpy.asarray")
    if raw.dtype not in (np.float32, np.float16):
        raise UsageError(
            f"the raw output must be float32 (or float16, which converts exactly), got {raw.dtype}; "
            "round it yourself: raw.astype(numpy.float32)"
        )
    rows = raw[None] if raw.ndim == 1 else raw[:, :, 0, 0] if raw.ndim == 4 and raw.shape[2:] == (1, 1) else raw
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise UsageError(f"a tagger's raw output must have shape (images, classes) or (classes,), got {raw.shape}")
    return rows.astype(np.float32, copy=False)


def _wanted(classes: tuple[int, ...], count: int) -> npt.NDArray[np.int32]:
    wanted = np.unique(np.array(classes, np.int64))
    if len(wanted) and wanted[-1] >= count:
        raise UsageError(f"class id {wanted[-1]} does not exist: the head has {count} classes, 0 to {count - 1}")
    return wanted.astype(np.int32)


def _scores(logits: Float32, activation: str) -> Float32:
    """(C,) -> (C,)."""
    if activation == "none":
        return logits
    exact = logits.astype(np.float64)
    with np.errstate(all="ignore"):  # exp(-inf) is 0, and NaN has its place
        if activation == "softmax":
            powers = np.exp(exact - exact.max())
            exact = powers / powers.sum()
        else:
            exact = 1 / (1 + np.exp(-exact))
        return exact.astype(np.float32)


def _best(scores: Float32, places: npt.NDArray[np.intp], limit: int | None) -> npt.NDArray[np.intp]:
    """The best `limit` of `places` (ascending), best first, equal scores by the lower place."""
    if limit is not None and limit < len(places):
        found = scores[places]
        last = np.partition(found, -limit)[-limit]  # the worst score that still has a place
        above, level = places[found > last], places[found == last]
        places = np.union1d(above, level[: limit - len(above)])
    return places[np.argsort(-scores[places], kind="stable")]
