"""The letterbox on a device: uint8 pixels to the network's input, by operations of PyTorch's.

The arithmetic is that of `reference.py`, in integers until the pixel is whole, so that a device gives the bits that the
native letterbox gives; only rounding to half precision may follow. Images of one size go through each operation
together: on a GPU some fifteen launches for a batch, whose cost is their memory traffic.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boxmill.images.reference import axis_taps
from boxmill.types import Geometry, InputSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["DeviceLetterbox", "fits_device"]

_KEPT_TABLES = 256  # axes; the sources of one run rarely have more sizes, and each takes some 10 kB
_AXIS_STEPS, _DOWN_STEPS = 4, 16  # bits dropped after blending across, and down


def fits_device(spec: InputSpec) -> bool:
    """Whether `DeviceLetterbox` can do it; Pillow's filters, which taggers want, are left to the processor."""
    return not spec.antialias


@dataclass(frozen=True, slots=True)
class _Axis:
    """What each kept row or column takes: both pixels and their weights, on the device."""

    first: Tensor  # (kept,) int32
    second: Tensor  # (kept,) int32
    weights: Tensor  # (2, kept) int32, in 1 / 2048
    start: int  # where the first lies in the network's input
    count: int


class DeviceLetterbox:
    """Puts images into a batch; called by one thread.

    Args:
        spec: what the network takes.
        device: where the pixels and the batch are.
    """

    def __init__(self, spec: InputSpec, device: torch.device) -> None:
        import torch

        self._spec, self._device = spec, device
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        self._mean, self._std = torch.from_numpy(mean).to(device), torch.from_numpy(std).to(device)
        self._plain = not mean.any() and bool((std == 1).all())  # (x - 0) / 1 is x
        grey = (np.float32(spec.pad) * np.float32(spec.scale) - mean) / std  # (3,)
        self._border = torch.from_numpy(grey).to(device)
        self._axes: OrderedDict[tuple[int, ...], _Axis] = OrderedDict()

    def __call__(self, images: Sequence[Tensor], geometries: Sequence[Geometry], out: Tensor) -> None:
        """Resizes, reorders, normalises and pads or crops a batch.

        Args:
            images: (H, W, 3) uint8 RGB on the device, whole or reduced.
            geometries: of each; all have one network shape.
            out: (B, 3, h, w), or (B, h, w, 3) as the layout says; any float dtype and any strides.
        """
        planes = out if self._spec.layout == "NCHW" else out.permute(0, 3, 1, 2)  # (B, 3, h, w)
        for members in _same_size(images, geometries):
            place, size = geometries[members[0]], images[members[0]].shape
            rows = self._axis(size[0], place.resized[0], place.pad[1], place.network[0], outermost=False)
            columns = self._axis(size[1], place.resized[1], place.pad[0], place.network[1], outermost=True)
            if (rows.count, columns.count) != place.network:
                for member in members:
                    planes[member].copy_(self._border[:, None, None].expand(planes.shape[1:]))
            values = self._normalised(self._resized([images[member] for member in members], rows, columns))
            window = planes[:, :, rows.start : rows.start + rows.count, columns.start : columns.start + columns.count]
            if members == list(range(members[0], members[0] + len(members))):
                window[members[0] : members[0] + len(members)].copy_(values)
                continue
            for member, one in zip(members, values, strict=True):
                window[member].copy_(one)

    def _resized(self, images: Sequence[Tensor], rows: _Axis, columns: _Axis) -> Tensor:
        """(n, h, w, 3) int32 whole grey levels of the kept rows and columns."""
        import torch

        pairs = torch.stack(  # (n, 2, h, W, 3) uint8
            [torch.stack((image.index_select(0, rows.first), image.index_select(0, rows.second))) for image in images]
        )
        left, right = columns.weights[:, :, None]  # (w, 1) each
        across = pairs.index_select(3, columns.first).int().mul_(left)  # (n, 2, h, w, 3)
        across.add_(pairs.index_select(3, columns.second).int().mul_(right)).bitwise_right_shift_(_AXIS_STEPS)
        upper, lower = rows.weights[:, :, None, None]  # (h, 1, 1) each
        quarters = across[:, 0].mul_(upper).bitwise_right_shift_(_DOWN_STEPS)
        quarters += across[:, 1].mul_(lower).bitwise_right_shift_(_DOWN_STEPS)
        return quarters.add_(2).bitwise_right_shift_(2)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) to (n, 3, h, w) float32, each operation rounded by itself."""
        if self._spec.color == "BGR":
            pixels = pixels.flip(-1)
        values = pixels.float().mul_(self._spec.scale)
        if not self._plain:
            values = values.sub_(self._mean).div_(self._std)
        return values.permute(0, 3, 1, 2)

    def _axis(self, source: int, resized: int, pad: int, network: int, *, outermost: bool) -> _Axis:
        key = (source, resized, pad, network, outermost)
        if key not in self._axes:
            self._axes[key] = self._made(source, resized, pad, network, outermost=outermost)
            if len(self._axes) > _KEPT_TABLES:
                self._axes.popitem(last=False)
        self._axes.move_to_end(key)
        return self._axes[key]

    def _made(self, source: int, resized: int, pad: int, network: int, *, outermost: bool) -> _Axis:
        import torch

        taps = axis_taps(source, resized)
        if outermost:
            taps = taps.ending_at_the_outermost()
        start, cut = max(0, pad), max(0, -pad)
        count = min(resized - cut, network - start)
        kept = slice(cut, cut + count)
        table = np.stack([taps.first[kept], taps.second[kept], *taps.weights[:, kept]]).astype(np.int32)  # (4, count)
        first, second, *_ = on_device = torch.from_numpy(table).to(self._device)
        return _Axis(first, second, on_device[2:], start, count)


def _same_size(images: Sequence[Tensor], geometries: Sequence[Geometry]) -> Iterator[list[int]]:
    """Positions of images that are as large and lie alike, in order of first appearance."""
    groups: dict[tuple[Geometry, int], list[int]] = {}
    for number, (image, place) in enumerate(zip(images, geometries, strict=True)):
        groups.setdefault((place, image.shape[0]), []).append(number)  # reduced decodings: one height, one width
    return iter(groups.values())
