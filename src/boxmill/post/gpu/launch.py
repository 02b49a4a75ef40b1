"""From a checked request to kernel launches: buffers, grids, and the order of the kernels.

Buffers are sized for what could come, from shapes alone; grids are bounded and their programs loop over what did come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from boxmill.post.gpu import candidates, shared, soft, suppress
from boxmill.post.gpu.detections import DeviceDetections, row_length
from boxmill.types import NmsMethod

__all__ = ["Boxes", "Head", "Rule", "launch", "run"]

BLOCK = int(shared.BLOCK.value)  # candidates that are resolved at a time
BITS_BYTES = 256 * 2**20  # at most for all images' suppression bits; candidates beyond are resolved without bits
SORTED_ABOVE = 65536  # possible candidates an image beyond which torch sorts: ranks by comparison cost their square
PROGRAMS = 1024  # of a kernel whose programs loop: a few for each of 132 multiprocessors
FEWEST_PROGRAMS = 16  # of one image
ANCHORS, COLUMNS = 64, 16  # of one step of `best_classes`
PAIRS = 1024  # of one program of `all_classes` and `plain_boxes`
RANKED, OTHERS = 32, 256  # keys of one program of `order`, and those that they are compared with in one step
WORDS = 32  # blocks of 64 survivors that stay in registers
SOFT_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as an object; numbers as float32 holds them."""

    conf: float
    iou: float | None
    max_det: int
    max_nms: int
    agnostic: bool = False
    multi_label: bool = False
    nms: NmsMethod = "hard"
    sigma: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A raw head with objectness or without, seen as anchors x columns whatever its layout."""

    raw: Tensor
    steps: tuple[int, int, int]  # numbers from one image, anchor, column to the next
    images: int
    anchors: int
    classes: int
    objectness: bool
    sigmoid: bool
    normalized: bool
    network: tuple[int, int]  # height, width
    wanted: Tensor | None  # (C,) uint8


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Plain boxes."""

    boxes: Tensor  # (B, N, 4) contiguous
    scores: Tensor  # (B, N) contiguous
    labels: Tensor | None  # (B, N) int32 or int64, contiguous
    counts: Tensor | None  # (B,) int32, rows in use


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """Candidates in order: the best `limit`, and one more that only tells its score."""

    keys: Tensor  # (B, room) int64
    boxes: Tensor  # (B, 4, room) float32
    labels: Tensor  # (B, room)
    room: int
    limit: int
    classes: int  # a key's pair is anchor * classes + class; 1 where it is a row


def launch(kernel: Any, grid: tuple[int, ...], warps: int, arguments: Mapping[str, Any]) -> None:
    """Every launch of this package: never with fused multiply-add, which rounds once, not twice."""
    kernel[grid](**arguments, num_warps=warps, enable_fp_fusion=False)


def run(source: Head | Boxes, rule: Rule, geometry: Tensor | None) -> DeviceDetections:
    """The objects of each image; geometry (B, 6) float32."""
    device = source.raw.device if isinstance(source, Head) else source.boxes.device
    images = source.images if isinstance(source, Head) else len(source.boxes)
    most = _possible(source, rule)
    result = torch.zeros((images, row_length(rule.max_det)), dtype=torch.int32, device=device)
    found = DeviceDetections(result, rule.max_det)
    if images == 0 or most == 0:
        found.cut.fill_(float("nan"))
        return found
    by_sort = most > SORTED_ABOVE
    keys = torch.empty((images, most), dtype=torch.int64, device=device)
    if by_sort:
        keys.fill_(torch.iinfo(torch.int64).min)
    if isinstance(source, Head):
        _find_in_head(source, rule, keys, result)
    else:
        _find_boxes(source, keys, result)
    if by_sort:
        keys = torch.sort(keys, dim=1, descending=True).values
    ordered = _order(source, rule, keys, result, by_sort)
    if rule.nms == "hard":
        _resolve(ordered, rule, result, geometry)
    else:
        _decay(ordered, rule, result, geometry)
    return found


def _possible(source: Head | Boxes, rule: Rule) -> int:
    """Candidates that an image may have."""
    if isinstance(source, Head):
        return source.anchors * (source.classes if rule.multi_label else 1)
    return source.boxes.shape[1]


def _blocks(numbers: int, block: int) -> int:
    return -(-numbers // block)


def _programs(wanted: int, images: int) -> int:
    """Programs of each image, of a kernel that loops."""
    return max(1, min(wanted, max(FEWEST_PROGRAMS, PROGRAMS // images)))


def _find_in_head(head: Head, rule: Rule, keys: Tensor, result: Tensor) -> None:
    image_step, anchor_step, column_step = head.steps
    arguments = {
        "raw": head.raw,
        "image_step": image_step,
        "anchor_step": anchor_step,
        "column_step": column_step,
        "keys": keys,
        "result": result,
        "wanted": result if head.wanted is None else head.wanted,
        "room": keys.shape[1],
        "result_step": result.shape[1],
        "anchors": head.anchors,
        "conf": rule.conf,
        "width": float(head.network[1]),
        "height": float(head.network[0]),
        "HAS_OBJECTNESS": head.objectness,
        "SIGMOID": head.sigmoid,
        "NORMALIZED": head.normalized,
        "HAS_WANTED": head.wanted is not None,
    }
    if rule.multi_label:
        arguments |= {"classes": head.classes, "ANCHORS_FIRST": anchor_step <= column_step, "PAIRS": PAIRS}
        launch(candidates.all_classes, (_blocks(head.anchors * head.classes, PAIRS), head.images), 4, arguments)
    else:
        arguments |= {"CLASSES": head.classes, "ANCHORS": ANCHORS, "COLUMNS": COLUMNS}
        launch(candidates.best_classes, (_blocks(head.anchors, ANCHORS), head.images), 4, arguments)


def _find_boxes(source: Boxes, keys: Tensor, result: Tensor) -> None:
    images, rows = source.scores.shape
    arguments = {
        "boxes": source.boxes,
        "scores": source.scores,
        "keys": keys,
        "result": result,
        "counts": result if source.counts is None else source.counts,
        "rows": rows,
        "room": keys.shape[1],
        "result_step": result.shape[1],
        "HAS_COUNTS": source.counts is not None,
        "ROWS": PAIRS,
    }
    launch(candidates.plain_boxes, (_blocks(rows, PAIRS), images), 4, arguments)


def _order(source: Head | Boxes, rule: Rule, keys: Tensor, result: Tensor, by_sort: bool) -> _Sorted:
    images, most = keys.shape
    limit = min(rule.max_nms, most)
    room = _blocks(limit + 1, BLOCK) * BLOCK
    if isinstance(source, Head):
        raw, steps, labels, classes = source.raw, source.steps, None, source.classes
        centred, normalized, (height, width) = True, source.normalized, source.network
    else:
        raw, steps, labels, classes = source.boxes, (4 * most, 4, 1), source.labels, 1
        centred, normalized, (height, width) = False, False, (1, 1)
    ordered = _Sorted(
        torch.empty((images, room), dtype=torch.int64, device=keys.device),
        torch.empty((images, 4, room), dtype=torch.float32, device=keys.device),
        torch.empty((images, room), dtype=torch.int32 if labels is None else labels.dtype, device=keys.device),
        room,
        limit,
        classes,
    )
    arguments = {
        "keys": keys,
        "result": result,
        "raw": raw,
        "image_step": steps[0],
        "row_step": steps[1],
        "column_step": steps[2],
        "labels": result if labels is None else labels,
        "sorted_keys": ordered.keys,
        "sorted_boxes": ordered.boxes,
        "sorted_labels": ordered.labels,
        "keys_room": most,
        "result_step": result.shape[1],
        "labels_step": most,
        "room": room,
        "limit": limit,
        "classes": classes,
        "width": float(width),
        "height": float(height),
        "SORTED": by_sort,
        "CENTRED": centred,
        "NORMALIZED": normalized,
        "HAS_LABELS": labels is not None,
        "ROWS": RANKED,
        "OTHERS": OTHERS,
    }
    launch(suppress.order, (_programs(_blocks(most, RANKED), images), images), 4, arguments)
    return ordered


def _common(ordered: _Sorted, rule: Rule, result: Tensor, geometry: Tensor | None) -> dict[str, Any]:
    """Arguments of every kernel that writes objects."""
    return {
        "result": result,
        "sorted_keys": ordered.keys,
        "sorted_boxes": ordered.boxes,
        "sorted_labels": ordered.labels,
        "geometry": result if geometry is None else geometry,
        "result_step": result.shape[1],
        "room": ordered.room,
        "limit": ordered.limit,
        "classes": ordered.classes,
        "max_det": rule.max_det,
        "HAS_GEOMETRY": geometry is not None,
    }


def bits_side(limit: int, images: int) -> int:
    """Candidates an image, a multiple of 64 or all, whose suppression bits fit in BITS_BYTES."""
    fits = math.isqrt(8 * BITS_BYTES // images) // BLOCK * BLOCK
    return min(max(fits, BLOCK), limit)


def _resolve(ordered: _Sorted, rule: Rule, result: Tensor, geometry: Tensor | None) -> None:
    images, device = len(result), result.device
    side = ordered.limit if rule.iou is None else bits_side(ordered.limit, images)
    words, last = _blocks(side, BLOCK), side == ordered.limit
    common = _common(ordered, rule, result, geometry)
    places = torch.empty((images, 1 if last else rule.max_det), dtype=torch.int32, device=device)
    bits = torch.empty((1 if rule.iou is None else images * side * words,), dtype=torch.int64, device=device)
    if rule.iou is not None:
        arguments = {name: common[name] for name in ("result", "sorted_boxes", "sorted_labels", "result_step", "room")}
        arguments |= {"bits": bits, "side": side, "words": words, "iou": rule.iou, "AGNOSTIC": rule.agnostic}
        launch(suppress.suppression, (_programs(words * words, images), images), 8, arguments)
    scratch = {
        "bits": bits,
        "kept_words": torch.empty((images, words), dtype=torch.int64, device=device),
        "words": words,
        "SUPPRESS": rule.iou is not None,
        "LAST": last,
        "WORDS": WORDS,
    }
    launch(suppress.survivors, (images,), 4, common | scratch | {"kept_places": places, "side": side})
    if not last:
        rest = {"kept_places": places, "side": side, "iou": rule.iou, "AGNOSTIC": rule.agnostic}
        launch(suppress.more_survivors, (images,), 8, common | rest)


def _decay(ordered: _Sorted, rule: Rule, result: Tensor, geometry: Tensor | None) -> None:
    arguments = _common(ordered, rule, result, geometry) | {
        "current": torch.empty(ordered.keys.shape, dtype=torch.float64, device=result.device),
        "conf": rule.conf,
        "iou": 0.0 if rule.iou is None else rule.iou,
        "SIGMA": rule.sigma,
        "GAUSSIAN": rule.nms == "soft-gaussian",
        "AGNOSTIC": rule.agnostic,
        "ROWS": SOFT_ROWS,
    }
    launch(soft.soft_survivors, (len(result),), 8, arguments)
