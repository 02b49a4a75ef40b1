"""Kernels from candidates to objects: order, suppression bits, greedy survivors.

1. `order`: a candidate's rank is the number of better ones; the best `limit` go to their places with box and class. n
   candidates cost n^2 comparisons spread over the whole device, which is less than sorting for the usual thousands.
2. `suppression`: for each pair of candidates one bit, does the better one overlap the other too much; in words of 64.
3. `survivors`: one program an image goes through the candidates 64 at a time with these bits until max_det + 1 survive.
4. `more_survivors`: the same for candidates beyond the square of bits, against the boxes kept so far.

Nothing here depends on a number that the host would have to read: what a grid or a buffer may need is known beforehand,
and how much of it is used is read on the device.
"""

from __future__ import annotations

import triton
import triton.language as tl

from boxmill.post.gpu.shared import (
    BLOCK,
    COUNT,
    CUT,
    FOUND,
    greedy,
    intersection_over_union,
    load_boxes,
    load_sorted,
    pair_of,
    score_of,
    write_cut,
    write_objects,
)

_FEW = tl.constexpr(16)  # survivors compared at a time without bits: with 64, registers are spilled on sm_80


@triton.jit
def order(
    keys, result, raw, image_step, row_step, column_step, labels, sorted_keys, sorted_boxes, sorted_labels,
    keys_room, result_step, labels_step, room, limit, classes, width, height,
    SORTED: tl.constexpr, CENTRED: tl.constexpr, NORMALIZED: tl.constexpr, HAS_LABELS: tl.constexpr,
    ROWS: tl.constexpr, OTHERS: tl.constexpr,
):  # fmt: skip
    """Candidates into the order of their keys; program (some blocks, image).

    keys (B, keys_room): unordered, or descending already where SORTED. sorted_keys (B, room): the best limit + 1, of
    which the last only tells its score; sorted_boxes (B, 4, room) float32; sorted_labels (B, room). raw: the head or
    the boxes; labels: classes of plain boxes, otherwise a candidate's class is its pair modulo `classes`.
    """
    image = tl.program_id(1).to(tl.int64)
    count = tl.load(result + image * result_step + FOUND)
    keys += image * keys_room
    start = tl.program_id(0) * ROWS
    while start < count:
        row = start + tl.arange(0, ROWS)
        key = tl.load(keys + row, mask=row < count, other=0)
        rank = row
        if not SORTED:
            rank = tl.zeros((ROWS,), tl.int32)
            begin = 0
            while begin < count:
                other = begin + tl.arange(0, OTHERS)
                better = tl.load(keys + other, mask=other < count, other=-0x7FFFFFFFFFFFFFFF)[None, :] > key[:, None]
                rank += tl.sum(better.to(tl.int32), axis=1)
                begin += OTHERS
        chosen = (row < count) & (rank <= limit)
        pair = pair_of(key)
        source = pair // classes
        rows = raw + image * image_step + source.to(tl.int64) * row_step
        x1, y1, x2, y2 = load_boxes(rows, column_step, chosen, width, height, CENTRED, NORMALIZED)
        label = pair - source * classes
        if HAS_LABELS:
            label = tl.load(labels + image * labels_step + source, mask=chosen, other=0)
        tl.store(sorted_keys + image * room + rank, key, mask=chosen)
        tl.store(sorted_labels + image * room + rank, label, mask=chosen)
        target = sorted_boxes + image * 4 * room + rank
        tl.store(target, x1, mask=chosen)
        tl.store(target + room, y1, mask=chosen)
        tl.store(target + 2 * room, x2, mask=chosen)
        tl.store(target + 3 * room, y2, mask=chosen)
        start += tl.num_programs(0) * ROWS


@triton.jit
def _overlaps(boxes, labels, better, worse, count, room, iou, AGNOSTIC: tl.constexpr):
    """(64, M) truth values [worse, better], of places in the order; False where a place is not below `count`."""
    there, also = worse < count, better < count
    x1, y1, x2, y2 = load_sorted(boxes, worse, there, room)
    u1, v1, u2, v2 = load_sorted(boxes, better, also, room)
    ratio = intersection_over_union(
        u1[None, :], v1[None, :], u2[None, :], v2[None, :], x1[:, None], y1[:, None], x2[:, None], y2[:, None]
    )
    hit = (ratio > iou) & there[:, None] & also[None, :]
    if not AGNOSTIC:
        mine, others = tl.load(labels + worse, mask=there, other=0), tl.load(labels + better, mask=also, other=0)
        hit &= mine[:, None] == others[None, :]
    return hit


@triton.jit
def _words(hits):
    """(64,) int64 of (64, 64) truth values: bit i of word j is hits[j, i]."""
    lane = tl.arange(0, BLOCK).to(tl.int64)
    one = tl.full((BLOCK,), 1, tl.int64)
    return tl.sum(tl.where(hits, (one << lane)[None, :], 0), axis=1)


@triton.jit
def suppression(result, sorted_boxes, sorted_labels, bits, result_step, room, side, words, iou, AGNOSTIC: tl.constexpr):
    """bits (B, side, words) int64: bit i of word w of row j: candidate 64 w + i, better than j, overlaps it too much.

    Program (some tiles, image). Only the triangle of the candidates that exist is computed, and only it is written.
    """
    image = tl.program_id(1).to(tl.int64)
    count = tl.minimum(tl.load(result + image * result_step + FOUND), side)
    boxes, labels = sorted_boxes + image * 4 * room, sorted_labels + image * room
    bits += image * side * words
    lane = tl.arange(0, BLOCK)
    blocks = (count + BLOCK - 1) // BLOCK
    tile = tl.program_id(0)
    while tile < blocks * blocks:
        below, column = tile // blocks, tile % blocks
        if column <= below:
            worse, better = below * BLOCK + lane, column * BLOCK + lane
            hits = _overlaps(boxes, labels, better, worse, count, room, iou, AGNOSTIC)
            hits &= better[None, :] < worse[:, None]
            tl.store(bits + worse.to(tl.int64) * words + column, _words(hits), mask=worse < count)
        tile += tl.num_programs(0)


@triton.jit
def _write_block(
    result, sorted_keys, sorted_boxes, sorted_labels, kept_places, geometry, kept, start, number, room, classes,
    max_det, HAS_GEOMETRY: tl.constexpr, LISTED: tl.constexpr,
):  # fmt: skip
    """The survivors of 64 candidates, bits in `kept`, behind `number` others; how many there are then."""
    lane = tl.arange(0, BLOCK)
    flags = ((kept >> lane.to(tl.int64)) & 1).to(tl.int32)
    slots = number + tl.cumsum(flags, axis=0) - 1
    survives = flags != 0
    places = start + lane
    key = tl.load(sorted_keys + places, mask=survives, other=0)
    label = tl.load(sorted_labels + places, mask=survives, other=0)
    score, anchor = score_of(key), pair_of(key) // classes
    x1, y1, x2, y2 = load_sorted(sorted_boxes, places, survives, room)
    fits = survives & (slots < max_det)
    write_objects(result, slots, fits, x1, y1, x2, y2, score, label, anchor, geometry, max_det, HAS_GEOMETRY)
    lost = result + CUT + lane * 0
    tl.store(lost, score.to(tl.int32, bitcast=True), mask=survives & (slots == max_det))
    if LISTED:
        tl.store(kept_places + slots, places, mask=fits)
    return number + tl.sum(flags, axis=0)


@triton.jit
def _finish(result, sorted_keys, number, limit, max_det):
    """Count and cut, once all candidates have been looked at or one survivor too many has been found."""
    tl.store(result + COUNT, tl.minimum(number, max_det))
    if number <= max_det:
        cut = float("nan")
        if tl.load(result + FOUND) > limit:
            cut = score_of(tl.load(sorted_keys + limit))
        write_cut(result, cut + tl.zeros((), tl.float32))


@triton.jit
def survivors(
    result, sorted_keys, sorted_boxes, sorted_labels, bits, kept_words, kept_places, geometry,
    result_step, room, side, words, limit, classes, max_det,
    SUPPRESS: tl.constexpr, HAS_GEOMETRY: tl.constexpr, LAST: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """Greedy survivors among the first `side` candidates; program (image).

    kept_words (B, words) int64 and kept_places (B, max_det) int32 are scratch. The bits of up to WORDS blocks stay in
    registers; those of earlier ones are read again. LAST: there are no candidates beyond `side`.
    """
    image = tl.program_id(0).to(tl.int64)
    result += image * result_step
    sorted_keys += image * room
    sorted_boxes += image * 4 * room
    sorted_labels += image * room
    bits += image * side * words
    kept_words += image * words
    kept_places += image * max_det
    geometry += image * 6
    count = tl.minimum(tl.load(result + FOUND), side)
    blocks = (count + BLOCK - 1) // BLOCK
    lane, column = tl.arange(0, BLOCK), tl.arange(0, WORDS)
    number = 0
    first = 0
    while (first < blocks) & (number <= max_det):
        recent = tl.zeros((WORDS,), tl.int64)  # survivors among the blocks from `first` on
        block = first
        end = tl.minimum(first + WORDS, blocks)
        while (block < end) & (number <= max_det):
            place = block * BLOCK + lane
            there = place < count
            alive = there
            own = tl.zeros((BLOCK,), tl.int64)
            if SUPPRESS:
                rows = bits + place.to(tl.int64) * words
                own = tl.load(rows + block, mask=there, other=0)
                near = tl.load(
                    rows[:, None] + (first + column)[None, :],
                    mask=there[:, None] & (first + column < block)[None, :],
                    other=0,
                )
                hit = tl.max(((near & recent[None, :]) != 0).to(tl.int32), axis=1)
                begin = 0
                while begin < first:
                    far = tl.load(rows[:, None] + (begin + column)[None, :], mask=there[:, None], other=0)
                    kept_far = tl.load(kept_words + begin + column)
                    hit |= tl.max(((far & kept_far[None, :]) != 0).to(tl.int32), axis=1)
                    begin += WORDS
                alive = there & (hit == 0)
            kept = greedy(alive, own)
            recent = tl.where(column == block - first, kept, recent)
            number = _write_block(
                result, sorted_keys, sorted_boxes, sorted_labels, kept_places, geometry, kept, block * BLOCK, number,
                room, classes, max_det, HAS_GEOMETRY, not LAST,
            )  # fmt: skip
            block += 1
        tl.store(kept_words + first + column, recent, mask=first + column < words)
        tl.debug_barrier()  # the words are read by other threads of this program
        first += WORDS
    if LAST:
        _finish(result, sorted_keys, number, limit, max_det)
    else:
        tl.store(result + COUNT, number)


@triton.jit
def more_survivors(
    result, sorted_keys, sorted_boxes, sorted_labels, kept_places, geometry,
    result_step, room, side, limit, classes, max_det, iou,
    AGNOSTIC: tl.constexpr, HAS_GEOMETRY: tl.constexpr,
):  # fmt: skip
    """Greedy survivors among the candidates from `side` to `limit`, after `survivors`; program (image)."""
    image = tl.program_id(0).to(tl.int64)
    result += image * result_step
    sorted_keys += image * room
    sorted_boxes += image * 4 * room
    sorted_labels += image * room
    kept_places += image * max_det
    geometry += image * 6
    lane, few = tl.arange(0, BLOCK), tl.arange(0, _FEW)
    count = tl.minimum(tl.load(result + FOUND), limit)
    number = tl.load(result + COUNT)
    tl.debug_barrier()  # all have read what one of them writes below
    start = side + 0
    while (start < count) & (number <= max_det):
        place = start + lane
        hit = tl.zeros((BLOCK,), tl.int32)
        begin = 0
        while begin < number:
            slot = begin + few
            better = tl.load(kept_places + slot, mask=slot < number, other=0x7FFFFFFF)
            hits = _overlaps(sorted_boxes, sorted_labels, better, place, count, room, iou, AGNOSTIC)
            hit |= tl.max(hits.to(tl.int32), axis=1)
            begin += _FEW
        hits = _overlaps(sorted_boxes, sorted_labels, place, place, count, room, iou, AGNOSTIC)
        own = _words(hits & (place[None, :] < place[:, None]))
        kept = greedy((place < count) & (hit == 0), own)
        number = _write_block(
            result, sorted_keys, sorted_boxes, sorted_labels, kept_places, geometry, kept, start, number,
            room, classes, max_det, HAS_GEOMETRY, True,
        )  # fmt: skip
        tl.debug_barrier()  # the places are read by other threads of this program
        start += BLOCK
    _finish(result, sorted_keys, number, limit, max_det)
