"""Fold batch norm into convolutions and merge re-parameterised branches, in place, for prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from boxmill.models.yolov9.blocks import Conv, RepConvN

__all__ = ["fuse_modules"]


def fuse_modules(module: nn.Module) -> None:
    """Replace every Conv and RepConvN below `module` by one convolution with bias and its activation."""
    for name, child in module.named_children():
        if isinstance(child, Conv | RepConvN):
            setattr(module, name, nn.Sequential(_fused(child), child.act))
        else:
            fuse_modules(child)


def _fused(block: Conv | RepConvN) -> nn.Conv2d:
    if isinstance(block, Conv):
        plain, (weight, bias) = block.conv, _folded(block)
    else:
        plain = block.conv1.conv
        weight, bias = _folded(block.conv1)
        weight_1x1, bias_1x1 = _folded(block.conv2)
        # a 1×1 kernel is a 3×3 one whose only weight is in the middle
        weight, bias = weight + functional.pad(weight_1x1, (1, 1, 1, 1)), bias + bias_1x1
    fused = nn.Conv2d(
        plain.in_channels,
        plain.out_channels,
        plain.kernel_size,  # type: ignore[arg-type]
        plain.stride,  # type: ignore[arg-type]
        plain.padding,  # type: ignore[arg-type]
        groups=plain.groups,
        device="meta",
    )
    fused.weight = nn.Parameter(weight.to(plain.weight.dtype), requires_grad=False)
    fused.bias = nn.Parameter(bias.to(plain.weight.dtype), requires_grad=False)
    return fused


def _folded(block: Conv) -> tuple[Tensor, Tensor]:
    """Float64 weight (O, I, k, k) and bias (O,) of the convolution that equals `block` before its activation."""
    norm = block.bn
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # noqa: PT018  # they are always tracked here
    with torch.no_grad():
        scale = norm.weight.double() / (variance.double() + norm.eps).sqrt()
        return block.conv.weight.double() * scale[:, None, None, None], norm.bias.double() - mean.double() * scale
