"""What a run's own threshold makes of it: precision, recall, confusions, and the share of images that are right."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from boxmill.evaluate.matching import Boxes, match, overlaps
from boxmill.evaluate.scene import Scene, View

__all__ = ["Confusion", "ImageShare", "Shown", "image_share", "shown", "wilson"]

IOU = 0.5  # an object is found where a shown one overlaps it by more


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often an object of one class was taken for another; None: there was none, or none was shown."""

    true: int | None
    shown: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Shown:
    """Counts over all images, objects that score above `conf`, IoU above .5."""

    conf: float
    right: int  # shown objects with an object of their class
    wrong: int  # shown objects without; those in a crowd of their class are not counted at all
    missed: int  # objects without a shown one of their class
    confusions: tuple[Confusion, ...]  # most frequent first; an object that was only missed, or made up, included

    @property
    def precision(self) -> float | None:
        """Share of the shown objects that are right."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of the objects that were found."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None


def shown(scene: Scene, conf: float) -> Shown:
    """Counts what is right, wrong and missed above `conf`."""
    pairs: Counter[tuple[int | None, int | None]] = Counter()
    for view in scene.views:
        pairs.update(_pairs(view, conf))
    right = sum(count for (true, seen), count in pairs.items() if true == seen)
    wrong = sum(count for (true, seen), count in pairs.items() if true != seen and seen is not None)
    missed = sum(count for (true, seen), count in pairs.items() if true != seen and true is not None)
    order = sorted(
        (item for item in pairs.items() if item[0][0] != item[0][1]),
        key=lambda item: (-item[1], [-1 if one is None else one for one in item[0]]),
    )
    return Shown(conf, right, wrong, missed, tuple(Confusion(*pair, count) for pair, count in order))


def _pairs(view: View, conf: float) -> list[tuple[int | None, int | None]]:
    """(class of the object, class shown for it) of one image."""
    found = view.found.above(conf)
    boxes, classes = view.boxes[~view.crowd], view.classes[~view.crowd]
    matches = match(Boxes(found.boxes, found.classes), Boxes(boxes, classes), IOU)
    crowds, crowd_classes = view.boxes[view.crowd], view.classes[view.crowd]
    inside = overlaps(found.boxes, crowds, of_first=True) > IOU
    excused = (inside & (found.classes[:, None] == crowd_classes[None])).any(axis=1) & ~matches.same
    pairs: list[tuple[int | None, int | None]] = []
    left = set(range(len(boxes)))
    for place in np.flatnonzero(~excused).tolist():
        partner = int(matches.partner[place])
        left.discard(partner)
        pairs.append((int(classes[partner]) if partner >= 0 else None, int(found.classes[place])))
    return [*pairs, *((int(classes[place]), None) for place in sorted(left))]


@dataclass(frozen=True, slots=True)
class ImageShare:
    """How many of the sampled images are right: every object in them is shown, with its class and an IoU above .5."""

    images: int  # sampled, of those with at least one object
    right: int
    exact: int  # right, and nothing else is shown
    seed: int | None  # of the sample; None: all images

    def interval(self, count: int) -> tuple[float, float]:
        """95 % confidence interval of count / images."""
        return wilson(count, self.images)


def image_share(scene: Scene, conf: float, sample: int | None = None, seed: int = 0) -> ImageShare:
    """Counts right images among `sample` of those that have an object, or among all of them.

    An image without a result is wrong. Images without objects are not in the sample; crowds are not asked for.
    """
    views = [view for view in scene.views if (~view.crowd).any()]
    if sample is not None and sample < len(views):
        chosen = np.random.default_rng(seed).choice(len(views), sample, replace=False)
        views = [views[place] for place in sorted(chosen.tolist())]
    pairs = [_pairs(view, conf) for view in views]
    right = sum(not any(true is not None and true != seen for true, seen in one) for one in pairs)
    exact = sum(all(true == seen for true, seen in one) for one in pairs)
    return ImageShare(len(views), right, exact, seed if sample is not None else None)


def wilson(count: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval of a share, by default for 95 %.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927). It stays within
    0 and 1 and holds for few images and for shares near 1, where the usual mean ± 1.96 standard errors does not.
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = count / total, z * z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    # at both ends the formula gives 0 and 1 but for rounding
    return (middle - half if count else 0.0), (middle + half if count < total else 1.0)
