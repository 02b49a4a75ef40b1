"""Raw heads on a GPU to final boxes on the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from boxmill.errors import UsageError
from boxmill.post.gpu.checks import PAIRS_LIMIT, check_device, check_floats, float32_of, on_device
from boxmill.post.gpu.detections import DeviceDetections, places, row_length
from boxmill.post.gpu.launch import Head, Rule, run
from boxmill.post.heads import MOST
from boxmill.post.postprocess import Postprocessor
from boxmill.types import Geometry, HeadSpec, NmsMethod

__all__ = ["postprocess"]

_HEADS = ("yolo", "yolov5")


def postprocess(
    head: HeadSpec,
    raw: Tensor | Sequence[Tensor],
    network: tuple[int, int],
    geometries: Sequence[Geometry] | Tensor | None = None,
    *,
    conf: float = 0.25,
    iou: float | None = 0.45,
    max_det: int = 300,
    max_nms: int = 30000,
    classes: tuple[int, ...] | Tensor | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    nms: NmsMethod = "hard",
    sigma: float = 0.5,
) -> DeviceDetections:
    """The objects of each image of a batch, without waiting for the device; inside torch.compile one operator.

    Results are those of `boxmill.post.reference.postprocess` on the same values, bit for bit; a head with a sigmoid may
    differ where exp of two libraries in double rounds to different float32.

    Args:
        head: `yolo` or `yolov5`, any activation that these have.
        raw: the network's output on a GPU, float32, float16 or bfloat16, with any strides; `yolo` (B, 4 + C, A),
            `yolov5` (B, A, 5 + C); with or without the axis B; a list that holds the one tensor will do.
        network: height and width of the network's input, in pixels.
        geometries: how each image lies in the network's input; boxes then go back to source pixels and are clipped to
            the image. A CUDA graph needs the tensor that `places` makes of them, for a graph replays addresses, not
            values, and so does torch.compile. None: network pixels, unclipped.
        conf, iou, max_det, max_nms, agnostic, multi_label, nms, sigma: as for `boxmill.post.Postprocessor`.
        classes: wanted class ids; or (C,) bool or uint8 on the device, nonzero where a class is wanted, which spares
            one launch for each run of neighbouring ids. None: all.

    Returns:
        Tensors in static shapes; `to_detections()` brings them to the host.

    Raises:
        UsageError: an option is out of range, or the tensor, `network` and `geometries` do not fit the head or each
            other, or are not on a GPU.
    """
    if torch.compiler.is_compiling():
        return _as_operator(
            head, raw, network, geometries, (conf, iou, max_det, max_nms, agnostic, multi_label, nms, sigma), classes
        )
    chosen = None if isinstance(classes, Tensor) else classes
    # Its constructor refuses what is out of range.
    Postprocessor(head, conf, iou, max_det, max_nms, chosen, agnostic, multi_label, nms, sigma)
    if head.type not in _HEADS:
        raise UsageError(
            f"heads of type {' and '.join(_HEADS)} are read on a GPU, not {head.type}; "
            "use boxmill.post.Postprocessor with the arrays on the CPU"
        )
    if len(network) != 2 or not all(1 <= side <= MOST for side in network):
        raise UsageError(f"network must be the height and width of the network's input, got {network}")
    source = _head(head, _tensor(raw), network)
    if source.anchors * source.classes > PAIRS_LIMIT:
        raise UsageError(f"a head of {source.anchors} anchors x {source.classes} classes is beyond {PAIRS_LIMIT}")
    threshold = None if iou is None else float32_of(iou)
    rule = Rule(float32_of(conf), threshold, max_det, max_nms, agnostic, multi_label, nms, sigma)
    with on_device(source.raw):
        geometry = None if geometries is None else _geometry(geometries, source)
        return run(_with_wanted(source, classes), rule, geometry)


@torch.library.custom_op("boxmill::postprocess", mutates_args=())
def _operator(
    raw: Tensor,
    limits: list[int],
    geometry: Tensor | None,
    wanted: Tensor | None,
    ids: list[int] | None,
    head: str,
    boxes: str,
    activation: str,
    network: list[int],
    numbers: list[float],
    iou: float | None,
    flags: list[bool],
    nms: str,
) -> Tensor:
    """`postprocess` in types that torch's schemas know, so that torch.compile takes it as it is."""
    chosen = wanted if ids is None else tuple(ids)
    return postprocess(
        HeadSpec(head, boxes, activation),  # type: ignore[arg-type]  # the literals that came in
        raw,
        (network[0], network[1]),
        geometry,
        conf=numbers[0],
        iou=iou,
        max_det=limits[0],
        max_nms=limits[1],
        classes=chosen,
        agnostic=flags[0],
        multi_label=flags[1],
        nms=nms,  # type: ignore[arg-type]
        sigma=numbers[1],
    ).packed


@_operator.register_fake
def _(raw: Tensor, limits: list[int], *_: object) -> Tensor:
    images = raw.shape[0] if raw.ndim == 3 else 1
    return raw.new_empty((images, row_length(limits[0])), dtype=torch.int32)


def _as_operator(
    head: HeadSpec,
    raw: Tensor | Sequence[Tensor],
    network: tuple[int, int],
    geometries: Sequence[Geometry] | Tensor | None,
    options: tuple[float, float | None, int, int, bool, bool, str, float],
    classes: tuple[int, ...] | Tensor | None,
) -> DeviceDetections:
    """What torch.compile sees of `postprocess`."""
    if geometries is not None and not isinstance(geometries, Tensor):
        raise UsageError("inside torch.compile, geometries must be the tensor that places() makes")
    conf, iou, max_det, max_nms, agnostic, multi_label, nms, sigma = options
    packed = _operator(
        raw[0] if isinstance(raw, list | tuple) else raw,
        [max_det, max_nms],
        geometries,
        classes if isinstance(classes, Tensor) else None,
        None if classes is None or isinstance(classes, Tensor) else list(classes),
        head.type,
        head.boxes,
        head.activation,
        list(network),
        [conf, sigma],
        iou,
        [agnostic, multi_label],
        nms,
    )
    return DeviceDetections(packed, max_det)


def _tensor(raw: Tensor | Sequence[Tensor]) -> Tensor:
    """(B, P, Q) of the one tensor, with or without B."""
    tensors: Sequence[Tensor] = raw if isinstance(raw, list | tuple) else [cast(Tensor, raw)]
    if len(tensors) != 1:
        raise UsageError(f"expected one raw head, got {len(tensors)} tensors; name the right one in head.outputs")
    tensor = tensors[0]
    check_device("the raw head", tensor)
    check_floats("the raw head", tensor)
    if tensor.ndim not in (2, 3):
        raise UsageError(f"the raw head must have shape (images, rows, columns), got {tuple(tensor.shape)}")
    return tensor.detach() if tensor.ndim == 3 else tensor.detach()[None]


def _head(head: HeadSpec, raw: Tensor, network: tuple[int, int]) -> Head:
    image, row, column = raw.stride()
    yolo = head.type == "yolo"
    anchors, columns = (raw.shape[2], raw.shape[1]) if yolo else (raw.shape[1], raw.shape[2])
    steps = (image, column, row) if yolo else (image, row, column)
    if columns < (5 if yolo else 6):
        expected = "4 box rows and at least 1 class row" if yolo else "4 box columns, objectness and at least 1 class"
        raise UsageError(f"a {head.type} head has {expected}, got shape {tuple(raw.shape)}")
    return Head(
        raw,
        steps,
        raw.shape[0],
        anchors,
        columns - (4 if yolo else 5),
        objectness=not yolo,
        sigmoid=head.activation == "sigmoid",
        normalized=head.boxes == "normalized",
        network=network,
        wanted=None,
    )


def _with_wanted(head: Head, classes: tuple[int, ...] | Tensor | None) -> Head:
    if classes is None:
        return head
    wanted = _mask(classes, head) if isinstance(classes, Tensor) else _filled(classes, head)
    return replace(head, wanted=wanted)


def _mask(classes: Tensor, head: Head) -> Tensor:
    if classes.shape != (head.classes,) or classes.dtype not in (torch.bool, torch.uint8):
        raise UsageError(
            f"classes as a tensor must be bool or uint8 of shape ({head.classes},), "
            f"got {classes.dtype} of shape {tuple(classes.shape)}"
        )
    if classes.device != head.raw.device:
        raise UsageError(f"classes must be on the device of the head, {head.raw.device}, got {classes.device}")
    return classes.contiguous().view(torch.uint8)


def _filled(classes: tuple[int, ...], head: Head) -> Tensor:
    """(C,) uint8, written on the device run by run: nothing is copied from the host, so a graph can replay it."""
    wanted = torch.zeros(head.classes, dtype=torch.uint8, device=head.raw.device)
    ids = sorted(set(classes))
    if ids and ids[-1] >= head.classes:
        raise UsageError(
            f"class id {ids[-1]} does not exist: the head has {head.classes} classes, 0 to {head.classes - 1}"
        )
    first = 0
    for i in range(1, len(ids) + 1):
        if i == len(ids) or ids[i] != ids[i - 1] + 1:
            wanted[ids[first] : ids[i - 1] + 1].fill_(1)
            first = i
    return wanted


def _geometry(geometries: Sequence[Geometry] | Tensor, head: Head) -> Tensor:
    """(B, 6) float32 on the head's device."""
    if isinstance(geometries, Tensor):
        if geometries.shape != (head.images, 6) or geometries.dtype != torch.float32:
            raise UsageError(
                f"geometries as a tensor must be float32 of shape ({head.images}, 6), as places() makes it, "
                f"got {geometries.dtype} of shape {tuple(geometries.shape)}"
            )
        if geometries.device != head.raw.device:
            raise UsageError(f"geometries must be on the device of the head, {head.raw.device}")
        return geometries.contiguous()
    if len(geometries) != head.images:
        raise UsageError(f"expected one geometry for each of {head.images} images, got {len(geometries)}")
    for geometry in geometries:
        if geometry.network != head.network:
            raise UsageError(f"the geometry is for network size {geometry.network}, but the head for {head.network}")
    if head.raw.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise UsageError("a CUDA graph would replay the same geometries for ever; give the tensor that places() makes")
    return places(geometries, head.raw.device)
