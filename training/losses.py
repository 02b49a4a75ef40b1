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
    most = truth.boxes.shape[1]
    owner = torch.zeros(count, anchors, dtype=torch.int64, device=scores.device)
    weight = torch.zeros(count, anchors, device=scores.device)
    targets = torch.zeros(count, anchors, classes, device=scores.device)
    if most == 0:
        return targets, owner, weight
    for image in range(count):
        here = truth.valid[image]
        if not bool(here.any()):
            continue
        wanted, kinds = truth.boxes[image, here], truth.classes[image, here]
        ious = pairwise_iou(wanted, boxes[image])
        fit = scores[image][:, kinds].T ** SCORE_POWER * ious**IOU_POWER
        member = _best_inside(fit, wanted, centres, strides)
        chosen_iou = torch.where(member, ious, -1.0)
        best, who = chosen_iou.max(0)
        taken = best >= 0
        member &= functional.one_hot(who, len(wanted)).T.bool()
        fit = torch.where(member, fit, 0.0)
        # the best cell of each box is asked for its IoU, the others for their share of that
        quality = fit * (torch.where(member, ious, 0.0).amax(1) / (fit.amax(1) + EPSILON))[:, None]
        amount = quality.amax(0) * taken
        weight[image] = torch.where(taken, amount.clamp(min=LEAST_WEIGHT), 0.0)
        targets[image, torch.arange(anchors, device=scores.device), kinds[who]] = amount
        index = torch.nonzero(here).flatten()
        owner[image] = index[who]
    return targets, owner, weight


def _best_inside(fit: Tensor, wanted: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """(M, A) bool: the best cells of each box among those whose centre it holds, or else its nearest."""
    first = centres[None] - wanted[:, None, :2]
    last = wanted[:, None, 2:] - centres[None]
    inside = torch.cat([first, last], -1).amin(-1) > 0
    best = torch.where(inside, fit + EPSILON, 0.0).topk(min(BEST, fit.shape[1]), 1)
    member = torch.zeros_like(inside).scatter_(1, best.indices, best.values > 0)
    middle = (wanted[:, None, :2] + wanted[:, None, 2:]) / 2
    away = ((centres[None] - middle) / strides[None, :, None]).abs().sum(-1) + 1e-3 * strides[None]
    nearest = functional.one_hot(away.argmin(1), fit.shape[1]).bool()
    return torch.where(inside.any(1, keepdim=True), member, nearest)


def pairwise_iou(one: Tensor, other: Tensor) -> Tensor:
    """(M, 4) and (A, 4) xyxy to (M, A)."""
    common = _common(one[:, None], other[None])
    return common / (_area(one)[:, None] + _area(other)[None] - common + EPSILON)


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
