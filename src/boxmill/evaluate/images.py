"""Which image of the ground truth is which input of a run.

First by the whole path: the key below the source is the file name in the ground truth. What is left, by as many last
parts of the path as both have in common, most parts first: `val2017/1.jpg` is `1.jpg`, and `a/1.jpg` is `data/a/1.jpg`
although there is a `b/1.jpg` too. Two of the same on either side are ambiguous, and nothing is guessed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from boxmill.sources.keys import encode_component
from boxmill.store.stems import stem

__all__ = ["ImagePairs", "pair_images"]

_EXTERNAL = re.compile(r"ext/[0-9a-f]{16}-")  # key of an input outside the source's folder


@dataclass(frozen=True, slots=True)
class ImagePairs:
    """Places of images in the ground truth and in the run's listing."""

    inputs: tuple[int | None, ...]  # for each image of the ground truth, its input
    ambiguous: tuple[str, ...]  # names in the ground truth that several inputs could be, or several names one input
    unused: int  # inputs that the ground truth does not know
    whole: int  # pairs by the whole path; all others by their last parts


def pair_images(names: Sequence[str], keys: Sequence[str], *, stems: bool) -> ImagePairs:
    """Pairs images with inputs.

    Args:
        names: paths in the ground truth.
        keys: of the run's inputs.
        stems: compare without file names' suffixes.
    """
    wanted = [_parts("/".join(map(_encoded, name.split("/")))) for name in names]
    offered = [_parts(_EXTERNAL.sub("", stem(key) if stems else key)) for key in keys]
    inputs: list[int | None] = [None] * len(names)
    used: set[int] = set()
    ambiguous: set[int] = set()
    whole = 0
    deepest = max((len(parts) for parts in [*wanted, *offered]), default=0)
    for depth in (0, *range(deepest, 0, -1)):  # 0: the whole path
        left = [place for place, parts in enumerate(wanted) if inputs[place] is None and len(parts) >= depth]
        free = [place for place, parts in enumerate(offered) if place not in used and len(parts) >= depth]
        by_name, by_key = _grouped(wanted, left, depth), _grouped(offered, free, depth)
        for tail in by_name.keys() & by_key.keys():
            if len(by_name[tail]) == len(by_key[tail]) == 1:
                inputs[by_name[tail][0]] = by_key[tail][0]
                used.add(by_key[tail][0])
                whole += depth == 0
            else:
                ambiguous.update(by_name[tail])
    unclear = tuple(names[place] for place in sorted(ambiguous) if inputs[place] is None)
    return ImagePairs(tuple(inputs), unclear, len(keys) - len(used), whole)


def _encoded(part: str) -> str:
    return encode_component(part.encode("utf-8", "surrogateescape"))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _grouped(paths: Sequence[tuple[str, ...]], places: Sequence[int], depth: int) -> dict[tuple[str, ...], list[int]]:
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place in places:
        groups[paths[place][-depth:]].append(place)  # [-0:] is the whole
    return groups
