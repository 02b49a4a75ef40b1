"""From a block's name in the structure to its module: one literal table, every argument checked before allocation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from boxmill.models.yolov9 import blocks, heads
from boxmill.models.yolov9.structure import MAX_REPEATS, MAX_WIDTH, Layer

__all__ = ["BLOCKS", "HEADS", "SEVERAL", "Built", "Maps"]

_MAX_STRIDE = 1024


@dataclass(frozen=True, slots=True)
class Maps:
    """What a layer gives: channels of its map (of its maps, for CBLinear) and their stride in image pixels."""

    channels: tuple[int, ...]
    stride: int


@dataclass(frozen=True, slots=True)
class Built:
    """A layer's module and what it gives."""

    module: nn.Module
    maps: Maps


def _conv(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    width, kernel, stride = _sizes(layer, (None, 1, 1))
    if kernel % 2 == 0 or kernel > 15 or stride > 4:
        raise layer.fault("expected an odd kernel up to 15 and a stride up to 4")
    return Built(blocks.Conv(source.channels[0], width, kernel, stride), _strided(layer, width, source, stride))


def _rep_conv(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    width, kernel, stride = _sizes(layer, (None, 3, 1))
    if kernel != 3 or stride > 4:
        raise layer.fault("expected kernel 3, which is all that re-parameterises, and a stride up to 4")
    return Built(blocks.RepConvN(source.channels[0], width, stride), _strided(layer, width, source, stride))


def _bottleneck(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    (width,) = _sizes(layer, (None,))
    module = blocks.RepNBottleneck(source.channels[0], width, hidden=width // 2)
    return Built(module, Maps((width,), source.stride))


def _elan(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    width, split, stage = _sizes(layer, (None, None, None))
    module = blocks.ELAN1(source.channels[0], width, _even(layer, split), stage)
    return Built(module, Maps((width,), source.stride))


def _gelan(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    width, split, stage, depth = _sizes(layer, (None, None, None, 1))
    if depth > MAX_REPEATS:
        raise layer.fault(f"expected at most {MAX_REPEATS} bottlenecks in a stage, got {depth}")
    module = blocks.RepNCSPELAN4(source.channels[0], width, _even(layer, split), _even(layer, stage), depth)
    return Built(module, Maps((width,), source.stride))


def _aconv(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    (width,) = _sizes(layer, (None,))
    return Built(blocks.AConv(source.channels[0], width), _strided(layer, width, source, 2))


def _adown(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    (width,) = _sizes(layer, (None,))
    module = blocks.ADown(_even(layer, source.channels[0]), width)
    return Built(module, _strided(layer, width, source, 2))


def _sp(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    kernel, stride = _numbers(layer, (3, 1))
    if kernel % 2 == 0 or kernel > 15 or stride != 1:
        raise layer.fault("expected an odd kernel up to 15 and stride 1")
    return Built(blocks.SP(kernel), source)


def _sppelan(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    width, hidden = _sizes(layer, (None, None))
    return Built(blocks.SPPELAN(source.channels[0], width, hidden), Maps((width,), source.stride))


def _upsample(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    if layer.arguments != (None, 2, "nearest") or source.stride % 2:
        raise layer.fault("only [None, 2, 'nearest'] of a map of even stride is supported")
    return Built(blocks.Upsample(2), Maps(source.channels, source.stride // 2))


def _concat(layer: Layer, inputs: Sequence[Maps]) -> Built:
    if layer.arguments not in ((), (1,)):
        raise layer.fault("only joining along the channels, dimension 1, is supported")
    channels = _width(layer, sum(_only(layer, source) for source in inputs))
    if len({source.stride for source in inputs}) > 1:
        raise layer.fault(f"joins maps of different strides: {[source.stride for source in inputs]}")
    return Built(blocks.Concat(), Maps((channels,), inputs[0].stride))


def _silence(layer: Layer, inputs: Sequence[Maps]) -> Built:
    _numbers(layer, ())
    return Built(blocks.Silence(), _single(layer, inputs))


def _cb_linear(layer: Layer, inputs: Sequence[Maps]) -> Built:
    source = _single(layer, inputs)
    widths = layer.arguments[0] if len(layer.arguments) == 1 else None
    if not isinstance(widths, tuple) or not 1 <= len(widths) <= 16:
        raise layer.fault("expected one list of up to 16 widths, such as [[64, 128]]")
    widths = tuple(_width(layer, width) for width in widths)
    return Built(blocks.CBLinear(source.channels[0], widths), Maps(widths, source.stride))


def _cb_fuse(layer: Layer, inputs: Sequence[Maps]) -> Built:
    *linked, last = inputs
    picks = layer.arguments[0] if len(layer.arguments) == 1 else None
    if not isinstance(picks, tuple) or len(picks) != len(linked) or not linked:
        raise layer.fault(f"expected one list with a pick for each of the {len(linked)} linked layers")
    scales = []
    for pick, source in zip(picks, linked, strict=True):
        if isinstance(pick, bool) or not isinstance(pick, int) or not 0 <= pick < len(source.channels):
            raise layer.fault(f"picks map {pick!r:.40} of a layer that gives {len(source.channels)}")
        if source.channels[pick] != _only(layer, last) or source.stride % last.stride:
            raise layer.fault(f"cannot add {source} (map {pick}) to {last}: channels must agree, the stride be coarser")
        scales.append(source.stride // last.stride)
    return Built(blocks.CBFuse(picks, scales), last)


def _detect(layer: Layer, inputs: Sequence[Maps]) -> Built:
    channels, strides, classes = _scales(layer, inputs)
    return Built(heads.DDetect.of(channels, strides, classes), Maps((4 + classes,), 1))


def _dual_detect(layer: Layer, inputs: Sequence[Maps]) -> Built:
    channels, strides, classes = _scales(layer, inputs)
    if len(channels) % 2:
        raise layer.fault(f"expected as many auxiliary maps as main ones, got {len(channels)} together")
    return Built(heads.DualDDetect(channels, strides, classes), Maps((4 + classes,), 1))


def _scales(layer: Layer, inputs: Sequence[Maps]) -> tuple[list[int], list[int], int]:
    if layer.repeats != 1 or len(layer.arguments) != 1:
        raise layer.fault("expected one argument, the number of classes, and one repeat")
    (classes,) = _numbers(layer, (None,))
    return [_only(layer, source) for source in inputs], [source.stride for source in inputs], classes


def _single(layer: Layer, inputs: Sequence[Maps]) -> Maps:
    if len(inputs) != 1:
        raise layer.fault(f"takes one input, not {len(inputs)}")
    _only(layer, inputs[0])
    return inputs[0]


def _only(layer: Layer, source: Maps) -> int:
    if len(source.channels) != 1:
        raise layer.fault("takes plain maps; only CBFuse takes those of a CBLinear")
    return source.channels[0]


def _numbers(layer: Layer, defaults: tuple[int | None, ...]) -> tuple[int, ...]:
    """The arguments as positive bounded whole numbers; None marks one that must be there."""
    required = sum(default is None for default in defaults)
    if not required <= len(layer.arguments) <= len(defaults):
        raise layer.fault(f"expected {required} to {len(defaults)} arguments, got {len(layer.arguments)}")
    values = [*layer.arguments, *defaults[len(layer.arguments) :]]
    return tuple(_width(layer, value) for value in values)


def _sizes(layer: Layer, defaults: tuple[int | None, ...]) -> tuple[int, ...]:
    """`_numbers` with the first, the output channels, rounded up to a multiple of 8; inner widths stay as written.

    The published structures of size m write 180 where their checkpoints have 184 channels.
    """
    outputs, *rest = _numbers(layer, defaults)
    return ((outputs + 7) // 8 * 8, *rest)


def _width(layer: Layer, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WIDTH:
        raise layer.fault(f"expected a whole number from 1 to {MAX_WIDTH}, got {value!r:.80}")
    return value


def _even(layer: Layer, width: int) -> int:
    if width % 2:
        raise layer.fault(f"splits {width} channels in two halves, which needs an even number")
    return width


def _strided(layer: Layer, width: int, source: Maps, stride: int) -> Maps:
    if source.stride * stride > _MAX_STRIDE:
        raise layer.fault(f"would bring the stride above {_MAX_STRIDE} pixels")
    return Maps((width,), source.stride * stride)


Factory = Callable[[Layer, Sequence[Maps]], Built]

BLOCKS: dict[str, Factory] = {
    "ADown": _adown,
    "AConv": _aconv,
    "CBFuse": _cb_fuse,
    "CBLinear": _cb_linear,
    "Concat": _concat,
    "Conv": _conv,
    "ELAN1": _elan,
    "RepConvN": _rep_conv,
    "RepNBottleneck": _bottleneck,
    "RepNCSPELAN4": _gelan,
    "SP": _sp,
    "SPPELAN": _sppelan,
    "Silence": _silence,
    "nn.Upsample": _upsample,
}
HEADS: dict[str, Factory] = {"DDetect": _detect, "DualDDetect": _dual_detect}
SEVERAL = (blocks.CBFuse, blocks.Concat, heads.DDetect, heads.DualDDetect)  # take a list of maps; all others take one
