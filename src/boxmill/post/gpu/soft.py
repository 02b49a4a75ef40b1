"""Soft-NMS of ordered candidates (Bodla and others, arXiv 1704.04503), one program an image.

Each round picks the best candidate left, decays the scores that it overlaps and finds the next best in the same pass:
at most max_det + 1 rounds over the candidates.
"""

from __future__ import annotations

import triton
import triton.language as tl

from boxmill.post.gpu.shared import (
    COUNT,
    FOUND,
    intersection_over_union,
    load_sorted,
    pair_of,
    score_of,
    write_cut,
    write_objects,
)


@triton.jit
def _decayed(current, ratio, same, iou, sigma, GAUSSIAN: tl.constexpr):
    """Scores in double after the picked box has been taken into account; ratio float32, same: of its class."""
    doubles = ratio.to(tl.float64)
    if GAUSSIAN:
        overlapping = same & (ratio > 0)
        factor = tl.exp((0.0 - doubles * doubles) / sigma)
    else:
        overlapping = same & (ratio > iou)
        factor = 1.0 - doubles
    return tl.where(overlapping, current * factor, current)


@triton.jit
def _best(scores, pairs, places):
    """The greatest score, of equal ones that of the lower pair: its place, and the score itself."""
    top = tl.max(scores, axis=0)
    lowest = tl.min(tl.where(scores == top, pairs, 0x7FFFFFFF), axis=0)
    place = tl.min(tl.where((scores == top) & (pairs == lowest), places, 0x7FFFFFFF), axis=0)
    return top, place


@triton.jit
def soft_survivors(
    result, sorted_keys, sorted_boxes, sorted_labels, current, geometry,
    result_step, room, limit, classes, max_det, conf, iou,
    SIGMA: tl.constexpr, GAUSSIAN: tl.constexpr, AGNOSTIC: tl.constexpr, HAS_GEOMETRY: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Objects in the order of their decayed scores; program (image). current (B, room) float64 is scratch.

    A score of -1 is that of a candidate that is picked or dropped; all others are above conf, which is 0 or more.
    """
    image = tl.program_id(0).to(tl.int64)
    result += image * result_step
    sorted_keys += image * room
    sorted_boxes += image * 4 * room
    sorted_labels += image * room
    current += image * room
    geometry += image * 6
    found = tl.load(result + FOUND)
    count = tl.minimum(found, limit)
    lane = tl.arange(0, ROWS)
    sigma = tl.full((), SIGMA, tl.float64)
    cut = float("nan") + tl.zeros((), tl.float32)
    if found > limit:
        cut = score_of(tl.load(sorted_keys + limit))

    number = 0
    place = -1  # of the picked candidate: none yet
    score = tl.zeros((), tl.float64)
    going = count > 0
    while going:
        px1, py1, px2, py2 = load_sorted(sorted_boxes, tl.maximum(place, 0), place >= 0, room)
        picked_label = tl.load(sorted_labels + tl.maximum(place, 0))
        if place >= 0:
            key = tl.load(sorted_keys + place)
            rounded = score.to(tl.float32)
            write_objects(
                result, number, number < max_det, px1, py1, px2, py2, rounded, picked_label, pair_of(key) // classes,
                geometry, max_det, HAS_GEOMETRY,
            )  # fmt: skip
            if number == max_det:
                cut = tl.where(cut > rounded, cut, rounded)
            number += 1
        best_score = tl.full((ROWS,), -1.0, tl.float64)
        best_pair = tl.full((ROWS,), 0x7FFFFFFF, tl.int32)
        best_place = tl.full((ROWS,), 0x7FFFFFFF, tl.int32)
        start = 0
        while start < count:
            row = start + lane
            there = row < count
            pair = pair_of(tl.load(sorted_keys + row, mask=there, other=0))
            if place < 0:
                scores = score_of(tl.load(sorted_keys + row, mask=there, other=0)).to(tl.float64)
            else:
                scores = tl.load(current + row, mask=there, other=-1.0)
                x1, y1, x2, y2 = load_sorted(sorted_boxes, row, there, room)
                ratio = intersection_over_union(px1, py1, px2, py2, x1, y1, x2, y2)
                same = scores > 0
                if not AGNOSTIC:
                    same &= tl.load(sorted_labels + row, mask=there, other=0) == picked_label
                scores = _decayed(scores, ratio, same, iou, sigma, GAUSSIAN)
                scores = tl.where((scores.to(tl.float32) > conf) & (row != place), scores, -1.0)
            scores = tl.where(there, scores, -1.0)
            tl.store(current + row, scores, mask=there)
            better = (scores > best_score) | ((scores == best_score) & (pair < best_pair))
            best_score = tl.where(better, scores, best_score)
            best_pair = tl.where(better, pair, best_pair)
            best_place = tl.where(better, row, best_place)
            start += ROWS
        tl.debug_barrier()  # scores are read by other threads of this program
        score, place = _best(best_score, best_pair, best_place)
        going = (score > 0) & (number <= max_det)
    tl.store(result + COUNT, tl.minimum(number, max_det))
    write_cut(result, cut)
