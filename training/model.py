"""The demo's network: a small anchor-free detector with a `yolo` head (4 + C, A).

A convolutional trunk with feature maps at strides 8, 16 and 32, a feature pyramid (arXiv 1612.03144) with a second,
upward path (arXiv 1803.01534), and two towers that all strides share, one for classes and one for boxes. Each cell
gives the distances from its centre to the four sides, in strides (FCOS, arXiv 1904.01355).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
PRIOR = 0.01  # score of every class before training: most cells show nothing (arXiv 1708.02002, 4.1)
LONGEST = 6.0  # log of the longest distance, in strides: half precision must hold its exponential


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.SiLU(inplace=True))


class Residual(nn.Module):
    """x + two convolutions of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Split(nn.Module):
    """Half of the channels go through residual blocks; the results of all stages are joined (arXiv 1911.11929)."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        half = outputs // 2
        self.half = half
        self.enter = conv(inputs, outputs, 1)
        self.blocks = nn.ModuleList(Residual(half) for _ in range(blocks))
        self.leave = conv(outputs + blocks * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        parts = [x]
        last = x[:, self.half :]
        for block in self.blocks:
            last = block(last)
            parts.append(last)
        return self.leave(torch.cat(parts, 1))


class Pools(nn.Module):
    """Three poolings in a row, joined: the surroundings at growing distance (arXiv 1406.4729)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = conv(width, width // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = conv(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pyramid(nn.Module):
    """Three maps of the trunk to three maps of one width: down from the coarsest, then up again."""

    def __init__(self, widths: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.level = nn.ModuleList(conv(inputs, width, 1) for inputs in widths)
        self.down = nn.ModuleList(Split(2 * width, width, 1) for _ in range(2))
        self.shrink = nn.ModuleList(conv(width, width, 3, 2) for _ in range(2))
        self.up = nn.ModuleList(Split(2 * width, width, 1) for _ in range(2))
        self.grow = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (level(x) for level, x in zip(self.level, maps, strict=True))
        middle = self.down[0](torch.cat([middle, self.grow(coarse)], 1))
        fine = self.down[1](torch.cat([fine, self.grow(middle)], 1))
        middle = self.up[0](torch.cat([middle, self.shrink[0](fine)], 1))
        coarse = self.up[1](torch.cat([coarse, self.shrink[1](middle)], 1))
        return [fine, middle, coarse]


class Detector(nn.Module):
    """`forward`: (B, 3, H, W) RGB from 0 to 1 to (B, 4 + C, A): centre, width and height in pixels, scores."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.classes = classes
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2))
        self.stages = nn.ModuleList(
            [
                nn.Sequential(conv(32, 64, 3, 2), Split(64, 64, 2)),
                nn.Sequential(conv(64, 96, 3, 2), Split(96, 96, 2)),
                nn.Sequential(conv(96, 128, 3, 2), Split(128, 128, 1), Pools(128)),
            ]
        )
        self.pyramid = Pyramid((64, 96, 128), width)
        self.class_tower = nn.Sequential(conv(width, width), conv(width, width))
        self.box_tower = nn.Sequential(conv(width, width), conv(width, width))
        self.class_out = nn.Conv2d(width, classes, 1)
        self.box_out = nn.Conv2d(width, 4, 1)
        self.scale = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in STRIDES)
        nn.init.constant_(self.class_out.bias, -math.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(self.box_out.bias, math.log(2.0))

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Class logits (B, A, C), boxes (B, A, 4) xyxy in pixels, cell centres (A, 2) and strides (A,) in pixels."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        logits, boxes, centres, strides = [], [], [], []
        for x, scale, stride in zip(self.pyramid(maps), self.scale, STRIDES, strict=True):
            centre = cell_centres(x, stride)
            sides = (self.box_out(self.box_tower(x)) * scale).flatten(2).transpose(1, 2)
            sides = sides.float().clamp(max=LONGEST).exp() * stride
            logits.append(self.class_out(self.class_tower(x)).flatten(2).transpose(1, 2))
            boxes.append(torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], -1))
            centres.append(centre)
            strides.append(torch.full_like(centre[:, 0], stride))
        return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(centres), torch.cat(strides)

    def forward(self, images: Tensor) -> Tensor:
        logits, boxes, _, _ = self.raw(images)
        first, last = boxes[..., :2], boxes[..., 2:]
        found = torch.cat([(first + last) / 2, last - first, logits.float().sigmoid()], -1)
        return found.transpose(1, 2)


def cell_centres(x: Tensor, stride: int) -> Tensor:
    """(h * w, 2) pixel positions of a map's cells, row by row."""
    height, width = x.shape[2:]
    down = torch.arange(height, device=x.device, dtype=torch.float32)
    right = torch.arange(width, device=x.device, dtype=torch.float32)
    row, column = torch.meshgrid(down, right, indexing="ij")
    return (torch.stack([column, row], -1).reshape(-1, 2) + 0.5) * stride


def without_normalisation(network: nn.Module) -> nn.Module:
    """The same function with every batch normalisation folded into the convolution before it; for a network in eval."""
    for part in network.modules():
        if isinstance(part, nn.Sequential) and len(part) == 3 and isinstance(part[1], nn.BatchNorm2d):
            part[0] = torch.nn.utils.fusion.fuse_conv_bn_eval(part[0], part[1])
            part[1] = nn.Identity()
    return network
