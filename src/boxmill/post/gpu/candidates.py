"""Kernels that find candidates: a sort key for each score that passes, in no particular order, and how many there are.

A program looks at one block of anchors (or pairs, or boxes) of one image, and takes room for its candidates by one
atomic addition. Their order among themselves is left to chance; the keys differ and are ordered afterwards, so the
results are not.
"""

from __future__ import annotations

import triton
import triton.language as tl

from boxmill.post.gpu.shared import FOUND, NAN, any_nan, load_boxes, sigmoid, sort_key


@triton.jit
def _append(keys, result, key, chosen):
    """Chosen keys behind those that other programs have found."""
    number = tl.sum(chosen.to(tl.int32), axis=0)
    if number > 0:
        first = tl.atomic_add(result + FOUND, number, sem="relaxed")
        place = first + tl.cumsum(chosen.to(tl.int32), axis=0) - 1
        tl.store(keys + place, key, mask=chosen)


@triton.jit
def _count_nan(result, dropped):
    number = tl.sum(dropped.to(tl.int32), axis=0)
    if number > 0:
        tl.atomic_add(result + NAN, number, sem="relaxed")


@triton.jit
def _objectness(rows, column_step, considered, conf, HAS_OBJECTNESS: tl.constexpr, SIGMOID: tl.constexpr):
    """Objectness of the anchors at `rows`, 0 where the head has none; where it is NaN; which anchors it leaves."""
    objectness = tl.zeros(considered.shape, tl.float32)
    if HAS_OBJECTNESS:
        objectness = tl.load(rows + 4 * column_step, mask=considered, other=0).to(tl.float32)
    dropped = objectness != objectness
    if HAS_OBJECTNESS:
        if SIGMOID:
            objectness = sigmoid(objectness)
        considered &= objectness > conf
    return objectness, dropped, considered


@triton.jit
def best_classes(
    raw, image_step, anchor_step, column_step, keys, result, wanted, room, result_step, anchors, conf,
    width, height, CLASSES: tl.constexpr, HAS_OBJECTNESS: tl.constexpr, SIGMOID: tl.constexpr,
    NORMALIZED: tl.constexpr, HAS_WANTED: tl.constexpr, ANCHORS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One candidate an anchor at most: its best class; program (block of anchors, image).

    raw: any strides; keys (B, room) int64; result (B, result_step) int32, zeroed; wanted (C,) uint8.
    """
    image = tl.program_id(1).to(tl.int64)
    result += image * result_step
    anchor = tl.program_id(0) * ANCHORS + tl.arange(0, ANCHORS)
    considered = anchor < anchors
    rows = raw + image * image_step + anchor.to(tl.int64) * anchor_step
    first = 5 if HAS_OBJECTNESS else 4
    objectness, dropped, considered = _objectness(rows, column_step, considered, conf, HAS_OBJECTNESS, SIGMOID)

    best = tl.full((ANCHORS,), float("-inf"), tl.float32)
    label = tl.zeros((ANCHORS,), tl.int32)
    unknown = anchor < 0
    for start in range(0, CLASSES, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        places = rows[:, None] + ((first + column).to(tl.int64) * column_step)[None, :]
        there = considered[:, None] & (column < CLASSES)[None, :]
        values = tl.load(places, mask=there, other=float("-inf")).to(tl.float32)
        if HAS_OBJECTNESS and not SIGMOID:
            values = values * objectness[:, None]
        number = values == values
        unknown |= tl.max((~number).to(tl.int32), axis=1) != 0
        values = tl.where(number, values, float("-inf"))
        top = tl.max(values, axis=1)
        lowest = tl.min(tl.where(values == top[:, None], column[None, :], 0x7FFFFFFF), axis=1)
        label = tl.where(top > best, lowest, label)
        best = tl.where(top > best, top, best)

    score = best
    if SIGMOID:
        score = sigmoid(best)
        if HAS_OBJECTNESS:
            score = objectness * score
    chosen = considered & ~unknown & (score > conf)
    if HAS_WANTED:
        chosen &= tl.load(wanted + label, mask=chosen, other=0) != 0
    x1, y1, x2, y2 = load_boxes(rows, column_step, chosen, width, height, True, NORMALIZED)
    strange = any_nan(x1, y1, x2, y2)
    _count_nan(result, dropped | (considered & unknown) | (chosen & strange))
    _append(keys + image * room, result, sort_key(score, anchor * CLASSES + label), chosen & ~strange)


@triton.jit
def all_classes(
    raw, image_step, anchor_step, column_step, keys, result, wanted, room, result_step, anchors, classes, conf,
    width, height, HAS_OBJECTNESS: tl.constexpr, SIGMOID: tl.constexpr, NORMALIZED: tl.constexpr,
    HAS_WANTED: tl.constexpr, ANCHORS_FIRST: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Every (anchor, class) pair that passes; program (block of pairs, image). Arguments as for `best_classes`.

    ANCHORS_FIRST: neighbouring anchors lie side by side in memory, not neighbouring classes.
    """
    image = tl.program_id(1).to(tl.int64)
    result += image * result_step
    place = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    considered = place < anchors * classes
    if ANCHORS_FIRST:
        label = place // anchors
        anchor = place % anchors
    else:
        anchor = place // classes
        label = place % classes
    rows = raw + image * image_step + anchor.to(tl.int64) * anchor_step
    first = 5 if HAS_OBJECTNESS else 4
    objectness, dropped, considered = _objectness(rows, column_step, considered, conf, HAS_OBJECTNESS, SIGMOID)
    dropped &= label == 0  # once an anchor
    if HAS_WANTED:
        considered &= tl.load(wanted + label, mask=considered, other=0) != 0
    score = tl.load(rows + (first + label).to(tl.int64) * column_step, mask=considered, other=0).to(tl.float32)
    if SIGMOID:
        score = sigmoid(score)
    if HAS_OBJECTNESS:
        score = objectness * score
    chosen = considered & (score > conf)
    x1, y1, x2, y2 = load_boxes(rows, column_step, chosen, width, height, True, NORMALIZED)
    strange = any_nan(x1, y1, x2, y2)
    _count_nan(result, dropped | (considered & (score != score)) | (chosen & strange))
    _append(keys + image * room, result, sort_key(score, anchor * classes + label), chosen & ~strange)


@triton.jit
def plain_boxes(
    boxes, scores, keys, result, counts, rows, room, result_step, HAS_COUNTS: tl.constexpr, ROWS: tl.constexpr
):
    """Boxes (B, rows, 4) and scores (B, rows) as they are, without those that hold a NaN; program (block, image).

    counts (B,) int32: how many rows of each image are used.
    """
    image = tl.program_id(1).to(tl.int64)
    result += image * result_step
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    limit = rows
    if HAS_COUNTS:
        limit = tl.load(counts + image)
    used = row < limit
    score = tl.load(scores + image * rows + row, mask=used, other=0).to(tl.float32)
    x1, y1, x2, y2 = load_boxes(boxes + (image * rows + row) * 4, 1, used, 1.0, 1.0, False, False)
    strange = any_nan(x1, y1, x2, y2) | (score != score)
    _count_nan(result, used & strange)
    _append(keys + image * room, result, sort_key(score, row), used & ~strange)
