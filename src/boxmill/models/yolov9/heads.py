"""The detection heads: per scale a box branch and a class branch, anchor-free, boxes as distributions.

A side's distance from the cell centre, in strides, is the expectation of a distribution over 16 bins (Generalized Focal
Loss, arXiv 2006.04388). Widths follow from the published checkpoints' shapes; attribute names are those of their keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from boxmill.models.yolov9.blocks import Conv

__all__ = ["BINS", "DDetect", "DualDDetect"]

BINS = 16


class _Expectation(nn.Module):
    """(B, 4 * BINS, A) logits to (B, 4, A) distances; the bins' values are the checkpoint's `dfl.conv.weight`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False)  # holds the values under the checkpoint's name
        # not arange, which on the meta device imports the compiler: a second and a half of loading
        values = torch.tensor([float(value) for value in range(BINS)], dtype=self.conv.weight.dtype)
        self.conv.weight = nn.Parameter(values.view(1, BINS, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        bins = torch.unflatten(x, 1, (4, BINS)).softmax(2)  # (B, 4, BINS, A)
        # not a convolution or a matrix product: those would round to bfloat16 under autocast
        distances: Tensor = (bins * self.conv.weight.to(x.dtype).view(BINS, 1)).sum(2)
        return distances


def _box_branches(inputs: Sequence[int]) -> nn.ModuleList:
    """Grouped by side: each of l, t, r, b has its own quarter of the width."""
    width = (max(inputs[0] // 4, 4 * BINS) + 3) // 4 * 4
    return nn.ModuleList(
        nn.Sequential(Conv(c, width, 3), Conv(width, width, 3, groups=4), nn.Conv2d(width, 4 * BINS, 1, groups=4))
        for c in inputs
    )


def _class_branches(inputs: Sequence[int], classes: int) -> nn.ModuleList:
    width = max(inputs[0], min(2 * classes, 128))
    return nn.ModuleList(
        nn.Sequential(Conv(c, width, 3), Conv(width, width, 3), nn.Conv2d(width, classes, 1)) for c in inputs
    )


def _cell_centres(feature: Tensor, dtype: torch.dtype) -> Tensor:
    """(2, h * w) x and y of the cells' centres, in cells, row by row, from the map's own shape."""
    height, width = feature.shape[2:]
    y = torch.arange(height, device=feature.device, dtype=dtype) + 0.5
    x = torch.arange(width, device=feature.device, dtype=dtype) + 0.5
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width))).flatten(1)


def _decode(
    features: Sequence[Tensor], strides: Sequence[int], box: nn.ModuleList, score: nn.ModuleList, dfl: _Expectation
) -> Tensor:
    """(B, 4 + C, A): cx, cy, w, h in pixels, then sigmoid scores, the anchors of all scales one after the other.

    Half-precision maps are decoded, and the result returned, in float32: at pixel 640 float16 steps by half a pixel and
    bfloat16 by four.
    """
    dtype = torch.promote_types(features[0].dtype, torch.float32)
    boxes, scores, centres, scales = [], [], [], []
    for feature, stride, box_branch, score_branch in zip(features, strides, box, score, strict=True):
        boxes.append(box_branch(feature).flatten(2))  # (B, 4 * BINS, h * w)
        scores.append(score_branch(feature).flatten(2))  # (B, C, h * w)
        cells = _cell_centres(feature, dtype)
        centres.append(cells * stride)
        scales.append(torch.full_like(cells[:1], stride))
    centre, scale = torch.cat(centres, 1), torch.cat(scales, 1)  # (2, A) and (1, A), pixels
    near, far = (dfl(torch.cat(boxes, 2).to(dtype)) * scale).split((2, 2), 1)  # left, top; right, bottom: (B, 2, A)
    return torch.cat((centre + (far - near) / 2, near + far, torch.cat(scores, 2).to(dtype).sigmoid()), 1)


class DDetect(nn.Module):
    """One head over maps of the given strides; see `_decode` for what it gives."""

    def __init__(self, strides: Sequence[int], box: nn.ModuleList, score: nn.ModuleList, dfl: _Expectation) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.cv2, self.cv3, self.dfl = box, score, dfl

    @classmethod
    def of(cls, inputs: Sequence[int], strides: Sequence[int], classes: int) -> DDetect:
        """A new head for maps of `inputs` channels."""
        return cls(strides, _box_branches(inputs), _class_branches(inputs, classes), _Expectation())

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return _decode(features, self.strides, self.cv2, self.cv3, self.dfl)


class DualDDetect(nn.Module):
    """Two heads under one set of keys: cv2, cv3, dfl on the auxiliary branch, then cv4, cv5, dfl2 on the main branch.

    The first half of the structure's inputs feeds the auxiliary head, which only training uses. `forward` takes the
    second half alone and gives the main head's result.
    """

    def __init__(self, inputs: Sequence[int], strides: Sequence[int], classes: int) -> None:
        super().__init__()
        half = len(inputs) // 2
        self.strides = tuple(strides)
        self.cv2, self.cv3 = _box_branches(inputs[:half]), _class_branches(inputs[:half], classes)
        self.cv4, self.cv5 = _box_branches(inputs[half:]), _class_branches(inputs[half:], classes)
        self.dfl, self.dfl2 = _Expectation(), _Expectation()

    def auxiliary(self) -> DDetect:
        """The auxiliary head on its own, sharing this one's parameters."""
        return DDetect(self.strides[: len(self.strides) // 2], self.cv2, self.cv3, self.dfl)

    def main(self) -> DDetect:
        """The main head on its own, sharing this one's parameters."""
        return DDetect(self.strides[len(self.strides) // 2 :], self.cv4, self.cv5, self.dfl2)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return _decode(features, self.strides[len(self.strides) // 2 :], self.cv4, self.cv5, self.dfl2)
