"""Some of the images with what was found in them."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from boxmill.report.charts import seconds
from boxmill.report.markup import Html, Labels, Words, element, foreign, join, shortened
from boxmill.report.sample import Picked
from boxmill.report.tables import section
from boxmill.report.thumbnails import Thumbnail, fitted
from boxmill.types import Detections, Failure, Outcome, Tags

__all__ = ["MAX_BYTES", "Shown", "gallery"]

MAX_BYTES = 3_200_000  # of the whole section; 60 photographs with 15 objects each take 1,500,000
_MOST_BOXES = 100  # drawn in one thumbnail
_MOST_NAMED = 4  # classes under a thumbnail
_UNKNOWN = (4, 3)  # what an image without a size is drawn as


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of the gallery."""

    outcome: Outcome
    thumbnail: Thumbnail | None  # None: not opened again on purpose


def gallery(words: Words, labels: Labels, picked: list[Picked], images: Mapping[int, Shown]) -> Html | None:
    """The picked images in their groups; None where there are none."""
    if not picked:
        return None
    parts, room, left_out = [], MAX_BYTES, 0
    for one in picked:
        cards = []
        for index in one.indices:
            card = _card(words, labels, images[index])
            size = len(card.encode())
            if size > room:
                left_out += 1
                continue
            room -= size
            cards.append(card)
        title = element("h3", words(one.group.en, one.group.zh), " ", _how_many(words, len(cards), one.of))
        parts.append(element("div", title, element("div", *cards, class_="cards")))
    note = words(
        "Each image is shown once. Point at a box for its class and score.",
        "每张图片只出现一次。将指针移到框上可看类别和得分。",
    )
    lines = [note]
    if left_out:
        lines.append(
            words(
                f" Left out because the page would become too large: {left_out:,}.",
                f"另有 {left_out:,} 张因篇幅未显示。",
            )
        )
    return section("gallery", words("Images", "图片抽样"), element("p", join(lines), class_="note"), *parts)


def _how_many(words: Words, shown: int, of: int) -> Html:
    return element("small", words(f"{shown:,} of {of:,}", f"{of:,} 张中的 {shown:,} 张"))


def _card(words: Words, labels: Labels, shown: Shown) -> Html:
    outcome = shown.outcome
    return element(
        "figure",
        _picture(labels, shown),
        element("figcaption", element("b", foreign(outcome.key, 70)), *_caption(words, labels, shown)),
    )


def _picture(labels: Labels, shown: Shown) -> Html:
    outcome, thumbnail = shown.outcome, shown.thumbnail
    width, height = fitted(outcome.size) if outcome.size else _UNKNOWN
    pieces: list[Html] = []
    if thumbnail is not None and thumbnail.jpeg:
        data = "data:image/jpeg;base64," + base64.b64encode(thumbnail.jpeg).decode()
        pieces.append(element("image", href=data, width=width, height=height, preserveAspectRatio="none"))
        if outcome.size is None:
            width, height = 1, 1
    if isinstance(outcome.result, Detections) and outcome.size is not None:
        pieces += _boxes(labels, outcome.result, width / outcome.size[0], height / outcome.size[1])
    kind = None if pieces else "none"
    return element(
        "svg", *pieces, viewBox=f"0 0 {width} {height}", role="img", aria_label=shortened(outcome.key), class_=kind
    )


def _boxes(labels: Labels, found: Detections, scale_x: float, scale_y: float) -> Iterator[Html]:
    """The best boxes, large ones first, so that a small one within a large one can be pointed at."""
    boxes = np.nan_to_num(found.boxes[:_MOST_BOXES].astype(np.float64) * [scale_x, scale_y, scale_x, scale_y])
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.5)  # (N, 2)
    for place in np.argsort(-sides.prod(axis=1), kind="stable").tolist():
        class_id, score = int(found.classes[place]), float(found.scores[place])
        (x, y), (w, h) = boxes[place, :2].tolist(), sides[place].tolist()
        rect = element(
            "rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{w:.1f}", height=f"{h:.1f}", style=f"--h:{class_id * 137 % 360}"
        )
        yield element("g", element("title", f"{labels.plain(class_id)} {score:.2f}"), rect)


def _caption(words: Words, labels: Labels, shown: Shown) -> Iterator[Html]:
    outcome = shown.outcome
    result = outcome.result
    facts: list[object] = [f"{outcome.size[0]} × {outcome.size[1]}"] if outcome.size else []
    if outcome.times:
        facts.append(seconds(sum(outcome.times.values()) / 1e3))
    if isinstance(result, Failure):
        yield element("p", element("code", foreign(result.code)), " ", foreign(result.message, 160), class_="bad")
    elif isinstance(result, Tags):
        best = zip(result.classes.tolist()[:_MOST_NAMED], result.scores.tolist(), strict=False)
        yield element("p", join((_named(labels, class_id, f"{score:.2f}") for class_id, score in best), " · "))
    else:
        yield element("p", _objects(words, labels, result))
        if len(result):
            facts.append(words(f"lowest score {result.scores[-1]:.2f}", f"最低得分 {result.scores[-1]:.2f}"))
    yield element("p", join(facts, " · "), class_="dim")
    thumbnail = shown.thumbnail
    if thumbnail is not None and not thumbnail.jpeg:
        gone = words("The image cannot be shown: ", "无法显示图片：")
        yield element("p", gone, foreign(thumbnail.problem, 160), class_="dim")


def _objects(words: Words, labels: Labels, found: Detections) -> Html:
    if not len(found):
        return words("nothing found", "没有目标")
    counts = Counter(found.classes.tolist()).most_common()
    named = [_named(labels, class_id, f"×\u00a0{count:,}") for class_id, count in counts[:_MOST_NAMED]]
    if len(counts) > _MOST_NAMED:
        rest = sum(count for _, count in counts[_MOST_NAMED:])
        named.append(words(f"and {rest:,} more", f"另有 {rest:,} 个"))
    if found.cut is not None:
        named.append(words("a limit was reached", "达到数量上限"))
    if len(found) > _MOST_BOXES:
        named.append(words(f"the best {_MOST_BOXES} are drawn", f"只画出得分最高的 {_MOST_BOXES} 个"))
    return join(named, " · ")


def _named(labels: Labels, class_id: int, number: str) -> Html:
    return join([labels.html(class_id), " ", number])
