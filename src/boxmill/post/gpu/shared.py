"""What several kernels compute: the key by which candidates are ordered, boxes from a head, IoU, results.

Everything is float32 with each operation rounded on its own, as `boxmill.post.reference` defines it. Kernels are
compiled without fused multiply-add (`launch.py`); division is `div_rn`, for Triton's `/` is not correctly rounded.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Triton lets kernels read globals that are constexpr, and no others; code of the host takes their values.
HEADER = tl.constexpr(4)  # 32-bit words of an image's result before its boxes; where in them lie:
COUNT = tl.constexpr(0)  # objects
NAN = tl.constexpr(1)  # candidates dropped for NaN
CUT = tl.constexpr(2)  # the best score lost to a limit, as its bits
FOUND = tl.constexpr(3)  # candidates
BLOCK = tl.constexpr(64)  # candidates that are resolved at a time: the bits of one word


@triton.jit
def sort_key(score, pair):
    """int64: greater for a better score, then for a lower `pair` (int32, 0 or more); -0.0 equals 0.0."""
    bits = score.to(tl.int32, bitcast=True)
    bits = tl.where(bits == -2147483648, 0, bits)  # -0.0
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - pair).to(tl.int64)


@triton.jit
def score_of(key):
    """float32 score of a sort key."""
    ordered = (key >> 32).to(tl.int32)
    return tl.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).to(tl.float32, bitcast=True)


@triton.jit
def pair_of(key):
    """int32, of a candidate of a head anchor * classes + class, of plain boxes the row."""
    return 0x7FFFFFFF - (key & 0x7FFFFFFF).to(tl.int32)


@triton.jit
def sigmoid(values):
    """1 / (1 + exp(-x)) in double, rounded once."""
    return (1.0 / (1.0 + tl.exp(-values.to(tl.float64)))).to(tl.float32)


@triton.jit
def load_boxes(rows, step, mask, width, height, CENTRED: tl.constexpr, NORMALIZED: tl.constexpr):
    """x1, y1, x2, y2 in network pixels, of rows of four numbers `step` apart; unmasked ones are 0."""
    x = tl.load(rows, mask=mask, other=0).to(tl.float32)
    y = tl.load(rows + step, mask=mask, other=0).to(tl.float32)
    u = tl.load(rows + 2 * step, mask=mask, other=0).to(tl.float32)
    v = tl.load(rows + 3 * step, mask=mask, other=0).to(tl.float32)
    if NORMALIZED:
        x = x * width
        y = y * height
        u = u * width
        v = v * height
    if CENTRED:
        half_u = 0.5 * u
        half_v = 0.5 * v
        u = x + half_u
        v = y + half_v
        x = x - half_u
        y = y - half_v
    return x, y, u, v


@triton.jit
def any_nan(x1, y1, x2, y2):
    """Whether a coordinate is NaN."""
    return (x1 != x1) | (y1 != y1) | (x2 != x2) | (y2 != y2)


@triton.jit
def load_sorted(boxes, places, mask, room):
    """x1, y1, x2, y2 of ordered candidates; `boxes` are four rows of `room` numbers."""
    x1 = tl.load(boxes + places, mask=mask, other=0)
    y1 = tl.load(boxes + room + places, mask=mask, other=0)
    x2 = tl.load(boxes + 2 * room + places, mask=mask, other=0)
    y2 = tl.load(boxes + 3 * room + places, mask=mask, other=0)
    return x1, y1, x2, y2


@triton.jit
def _at_least_zero(value):
    """max(0, value), NaN where it is NaN."""
    return tl.where(value < 0, 0.0, value)


@triton.jit
def intersection_over_union(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2):
    """The reference's IoU; coordinates are no NaN."""
    area_a = (ax2 - ax1) * (ay2 - ay1)
    area_b = (bx2 - bx1) * (by2 - by1)
    width = _at_least_zero(tl.minimum(ax2, bx2) - tl.maximum(ax1, bx1))
    height = _at_least_zero(tl.minimum(ay2, by2) - tl.maximum(ay1, by1))
    inter = width * height
    return tl.div_rn(inter, (area_a + area_b) - inter)


@triton.jit
def pack(flags):
    """int64 whose bit i is flags[i], of (64,) truth values."""
    lane = tl.arange(0, BLOCK).to(tl.int64)
    one = tl.full((BLOCK,), 1, tl.int64)
    return tl.sum(tl.where(flags, one << lane, 0), axis=0)


@triton.jit
def greedy(alive, own):
    """Bits of those of 64 candidates that survive; bit i of own[j] says that i, better than j, overlaps it too much.

    A candidate survives iff it is alive and no survivor overlaps it. Repeating that rule with the last answer gets the
    first t candidates right after t rounds, and what it no longer changes is the answer: a few rounds in practice.
    """
    kept = pack(alive)
    changed = 1
    while changed != 0:
        again = pack(alive & ((own & kept) == 0))
        changed = (again != kept).to(tl.int32)
        kept = again
    return kept


@triton.jit
def _to_source(value, pad, scale, limit):
    """One coordinate back to the source image, clipped; what is not above 0, NaN too, is 0."""
    place = tl.div_rn(value - pad, scale)
    place = tl.where(place > 0, place, 0.0)
    return tl.where(place < limit, place, limit)


@triton.jit
def _store_float(result, values, mask):
    tl.store(result, values.to(tl.int32, bitcast=True), mask=mask)


@triton.jit
def write_objects(
    result, slots, mask, x1, y1, x2, y2, scores, labels, anchors, geometry, max_det, HAS_GEOMETRY: tl.constexpr
):
    """Objects into their slots of one image's result, boxes in source pixels where there is a geometry."""
    if HAS_GEOMETRY:
        scale_x, scale_y = tl.load(geometry), tl.load(geometry + 1)
        left, top = tl.load(geometry + 2), tl.load(geometry + 3)
        width, height = tl.load(geometry + 4), tl.load(geometry + 5)
        x1 = _to_source(x1, left, scale_x, width)
        y1 = _to_source(y1, top, scale_y, height)
        x2 = _to_source(x2, left, scale_x, width)
        y2 = _to_source(y2, top, scale_y, height)
    boxes = result + HEADER + 4 * slots
    _store_float(boxes, x1, mask)
    _store_float(boxes + 1, y1, mask)
    _store_float(boxes + 2, x2, mask)
    _store_float(boxes + 3, y2, mask)
    _store_float(result + HEADER + 4 * max_det + slots, scores, mask)
    tl.store(result + HEADER + 5 * max_det + slots, labels.to(tl.int32), mask=mask)
    tl.store(result + HEADER + 6 * max_det + slots, anchors, mask=mask)


@triton.jit
def write_cut(result, score):
    """The score that a limit took away."""
    tl.store(result + CUT, score.to(tl.int32, bitcast=True))
