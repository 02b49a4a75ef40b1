"""The blocks of GELAN and YOLOv9, after the paper (Wang, Yeh, Liao, "YOLOv9: Learning What You Want to Learn Using
Programmable Gradient Information", arXiv 2402.13616) and the parameter names and shapes of the published checkpoints.

GELAN joins CSPNet (a map is split in two halves, one of which takes the long way, and all are joined by a 1×1
convolution) with ELAN (every stage of the long way is kept and joined), over any computational block; here the block is
a CSP stage of residual bottlenecks whose first convolution is re-parameterised as in RepVGG (arXiv 2101.03697).
Attribute names are those of the checkpoints, so that state dicts match key by key. All maps are (B, C, h, w).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "ELAN1",
    "SP",
    "SPPELAN",
    "AConv",
    "ADown",
    "CBFuse",
    "CBLinear",
    "Concat",
    "Conv",
    "RepConvN",
    "RepNBottleneck",
    "RepNCSP",
    "RepNCSPELAN4",
    "Silence",
    "Upsample",
]

_EPSILON, _MOMENTUM = 1e-3, 0.03  # of every batch norm in the published checkpoints


class Block(nn.Module):
    """A module of one map to one map, for the type checker; the class docstrings say what `forward` computes."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """(B, C, h, w) to (B, C', h', w')."""


class Conv(Block):
    """Convolution without bias, batch norm, SiLU (or no activation); the padding keeps h and w at stride 1."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=_MOMENTUM)
        self.act = nn.SiLU() if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class RepConvN(Block):
    """A 3×3 and a 1×1 convolution, each with its batch norm, added before the activation; one 3×3 once fused."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride, active=False)
        self.conv2 = Conv(inputs, outputs, 1, stride, active=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv1(x) + self.conv2(x))
        return y


class RepNBottleneck(Block):
    """Two 3×3 convolutions, the first re-parameterised, with a shortcut around them where the widths agree."""

    def __init__(self, inputs: int, outputs: int, *, hidden: int, shortcut: bool = True) -> None:
        super().__init__()
        self.cv1 = RepConvN(inputs, hidden)
        self.cv2 = Conv(hidden, outputs, 3)
        self.add = shortcut and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class RepNCSP(Block):
    """A CSP stage: one half of the width through `depth` bottlenecks, the other past them, joined by a 1×1."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        hidden = outputs // 2
        self.cv1 = Conv(inputs, hidden)
        self.cv2 = Conv(inputs, hidden)
        self.cv3 = Conv(2 * hidden, outputs)
        self.m = nn.Sequential(*(RepNBottleneck(hidden, hidden, hidden=hidden) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class _ELAN(Block):
    """Split in two halves, two stages one after the other from the second half, all four maps joined by a 1×1."""

    cv2: nn.Module
    cv3: nn.Module

    def __init__(self, inputs: int, outputs: int, split: int, stages: tuple[nn.Module, nn.Module], width: int) -> None:
        super().__init__()
        self.part = split // 2
        self.cv1 = Conv(inputs, split)
        self.cv2, self.cv3 = stages
        self.cv4 = Conv(split + 2 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(self.cv1(x), [self.part, self.part], 1)
        third = self.cv2(second)
        return self.cv4(torch.cat((first, second, third, self.cv3(third)), 1))


class ELAN1(_ELAN):
    """ELAN whose stages are single 3×3 convolutions of `width` channels."""

    def __init__(self, inputs: int, outputs: int, split: int, width: int) -> None:
        super().__init__(inputs, outputs, split, (Conv(split // 2, width, 3), Conv(width, width, 3)), width)


class RepNCSPELAN4(_ELAN):
    """GELAN's main block: ELAN whose stages are a CSP stage of `depth` bottlenecks and a 3×3 convolution."""

    def __init__(self, inputs: int, outputs: int, split: int, width: int, depth: int) -> None:
        first = nn.Sequential(RepNCSP(split // 2, width, depth), Conv(width, width, 3))
        second = nn.Sequential(RepNCSP(width, width, depth), Conv(width, width, 3))
        super().__init__(inputs, outputs, split, (first, second), width)


class AConv(Block):
    """Halves h and w: average over 2×2 at stride 1, then a 3×3 convolution of stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cv1 = Conv(inputs, outputs, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(functional.avg_pool2d(x, 2, 1))


class ADown(Block):
    """Halves h and w: as AConv for one half of the channels; 3×3 maximum of stride 2, then a 1×1, for the other."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.part = inputs // 2
        self.cv1 = Conv(inputs // 2, outputs // 2, 3, 2)
        self.cv2 = Conv(inputs // 2, outputs // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(functional.avg_pool2d(x, 2, 1), [self.part, self.part], 1)
        return torch.cat((self.cv1(first), self.cv2(functional.max_pool2d(second, 3, 2, 1))), 1)


class SP(Block):
    """Maximum over kernel × kernel at stride 1; h and w stay."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.kernel, 1, self.kernel // 2)


class SPPELAN(Block):
    """Spatial pyramid pooling in ELAN form: three 5×5 maxima one after the other, all four maps joined by a 1×1."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.cv1 = Conv(inputs, width)
        self.cv2, self.cv3, self.cv4 = SP(5), SP(5), SP(5)
        self.cv5 = Conv(4 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        first = self.cv1(x)
        second = self.cv2(first)
        third = self.cv3(second)
        return self.cv5(torch.cat((first, second, third, self.cv4(third)), 1))


class CBLinear(nn.Module):
    """A 1×1 convolution with bias, split by channels into the maps that CBFuse picks from (CBNet's linear link)."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.conv = nn.Conv2d(inputs, sum(widths), 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps: tuple[Tensor, ...] = self.conv(x).split(self.widths, 1)
        return maps


class CBFuse(nn.Module):
    """Add to the last map the `picks[i]`th map of the ith CBLinear, enlarged `scales[i]` times (nearest)."""

    def __init__(self, picks: Sequence[int], scales: Sequence[int]) -> None:
        super().__init__()
        self.picks, self.scales = tuple(picks), tuple(scales)

    def forward(self, inputs: Sequence[Any]) -> Tensor:
        *linked, total = inputs  # tuples of maps, and the map that they are added to
        for maps, pick, scale in zip(linked, self.picks, self.scales, strict=True):
            total = total + _enlarged(maps[pick], scale)
        result: Tensor = total
        return result


class Upsample(Block):
    """h and w times `scale`, nearest neighbour."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return _enlarged(x, self.scale)


class Concat(nn.Module):
    """Maps of one size joined along the channels."""

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(inputs), 1)


class Silence(Block):
    """Its input unchanged: gives the image a layer number, so that a second backbone can start from it."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def _enlarged(x: Tensor, scale: int) -> Tensor:
    return x if scale == 1 else functional.interpolate(x, scale_factor=float(scale), mode="nearest")
