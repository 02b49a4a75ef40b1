"""What is asked of which cell, and how far the network is from it.

Cells are chosen by how well the network already agrees: score^a * IoU^b, the best K inside each box (task-aligned
assignment, arXiv 2108.07755). Class scores are trained towards that agreement, boxes by generalised IoU
(arXiv 1902.09630).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BEST = 10  # cells a box
SCORE_POWER, IOU_POWER = 1.0, 6.0
BOX_WEIGHT = 2.0
LEAST_WEIGHT = 0.05  # of a chosen cell's box loss: boxes that miss must be drawn near, however little they agree yet
EPSILON = 1e-9


@dataclass(frozen=True)
class Truth:
    """The boxes of a batch, padded to the same number."""

    boxes: Tensor  # (B, M, 4) xyxy in pixels
    classes: Tensor  # (B, M) int64
    valid: Tensor  # (B, M) bool

    def to(self, device: torch.device) -> Truth:
        return Truth(self.boxes.to(device), self.classes.to(device), self.valid.to(device))


def loss(
    logits: Tensor, boxes: Tensor, centres: Tensor, strides: Tensor, truth: Truth
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts to look at.

    Args:
        logits: (B, A, C).
        boxes: (B, A, 4) xyxy in pixels.
        centres: (A, 2) of the cells.
        strides: (A,) of the cells.
        truth: what is there.
    """
    logits = logits.float()
    targets, owner, weight = assign(logits.detach().sigmoid(), boxes.detach(), centres, strides, truth)
    total = targets.sum().clamp(min=1.0)
    # a negative counts by how wrong it is: hundreds of thousands of easy ones would drown the rest (arXiv 2008.13367)
    focus = torch.where(targets > 0, targets, 0.75 * logits.detach().sigmoid() ** 2)
    class_loss = (functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") * focus).sum() / total
    chosen = weight > 0
    batch = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(owner)[chosen]
    wanted = truth.boxes[batch, owner[chosen]]
    box_loss = ((1 - generalised_iou(boxes[chosen], wanted)) * weight[chosen]).sum() / total
    parts = {"class": float(class_loss.detach()), "box": float(box_loss.detach()), "cells": int(chosen.sum())}
    return class_loss + BOX_WEIGHT * box_loss, parts


def assign(
    scores: Tensor, boxes: Tensor, centres: Tensor, strides: Tensor, truth: Truth
) -> tuple[Tensor, Tensor, Tensor]:
    """Score targets (B, A, C), the box (B, A) that each cell belongs to, and the weight (B, A) of its box loss.

    A cell belongs to a box if its centre lies inside and it is among the best; to the one with the highest IoU
    where there are several. A box without such a cell takes the one with the nearest centre: small ones are learnt too.
    """
    count, anchors, classes = scores.shape
    owner = torch.zeros(count * anchors, dtype=torch.int64, device=scores.device)
    weight = torch.zeros(count * anchors, device=scores.device)
    targets = torch.zeros(count * anchors, classes, device=scores.device)
    image, place = truth.valid.nonzero(as_tuple=True)  # of each of the N boxes
    wanted, kinds = truth.boxes[image, place], truth.classes[image, place]
    box, cell = _candidates(wanted, centres, strides)  # a pair in each place from here on
    ious = paired_iou(wanted[box], boxes[image[box], cell])
    fit = scores[image[box], cell, kinds[box]] ** SCORE_POWER * ious**IOU_POWER
    kept = _best(box, fit)
    kept = kept[_first_of_each(image[box[kept]] * anchors + cell[kept], ious[kept])]
    box, cell, ious, fit = box[kept], cell[kept], ious[kept], fit[kept]
    # the best cell of each box is asked for its IoU, the others for their share of that
    none = torch.zeros(len(wanted), device=scores.device)
    highest, fittest = none.scatter_reduce(0, box, ious, "amax"), none.scatter_reduce(0, box, fit, "amax")
    amount = fit * (highest / (fittest + EPSILON))[box]
    place_of = image[box] * anchors + cell
    owner[place_of] = place[box]
    weight[place_of] = amount.clamp(min=LEAST_WEIGHT)
    targets[place_of, kinds[box]] = amount
    return targets.view(count, anchors, classes), owner.view(count, anchors), weight.view(count, anchors)


def _candidates(wanted: Tensor, centres: Tensor, strides: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a box of (N, 4) and a cell whose centre it holds, or else whose centre is nearest."""
    x, y = centres.T.contiguous()
    left, top, right, bottom = wanted.T[:, :, None].contiguous()
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    empty = torch.nonzero(~inside.any(1)).flatten()
    middle = (wanted[empty, None, :2] + wanted[empty, None, 2:]) / 2
    away = ((centres - middle) / strides[:, None]).abs().sum(-1) + 1e-3 * strides
    inside[empty, away.argmin(1)] = True
    box, cell = inside.nonzero(as_tuple=True)
    return box, cell


def _best(box: Tensor, fit: Tensor) -> Tensor:
    """Places of the BEST fittest pairs of each box; `box` ascends."""
    order = fit.argsort(descending=True, stable=True)
    order = order[box[order].argsort(stable=True)]
    begins = torch.searchsorted(box, box)  # sorted by box, they stand where they stood
    return order[torch.arange(len(box), device=box.device) - begins < BEST]


def _first_of_each(key: Tensor, value: Tensor) -> Tensor:
    """Places of one pair for each key, that with the highest value."""
    order = value.argsort(descending=True, stable=True)
    order = order[key[order].argsort(stable=True)]
    ordered = key[order]
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return order[new]


def paired_iou(one: Tensor, other: Tensor) -> Tensor:
    """(N, 4) and (N, 4) xyxy to (N,)."""
    common = _common(one, other)
    return common / (_area(one) + _area(other) - common + EPSILON)


def generalised_iou(one: Tensor, other: Tensor) -> Tensor:
    """(N, 4) and (N, 4) xyxy to (N,)."""
    common = _common(one, other)
    union = _area(one) + _area(other) - common + EPSILON
    hull = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    around = hull.clamp(min=0).prod(-1) + EPSILON
    return common / union - (around - union) / around


def _common(one: Tensor, other: Tensor) -> Tensor:
    return (
        (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2]))
        .clamp(min=0)
        .prod(-1)
    )


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
