"""From the ONNX file, the model card and the flags to one ModelSpec, saying where each value came from.

A flag wins over the card, the card over the exporter's metadata, metadata over shapes, shapes over defaults. What
cannot be known (colour order, scale, how images are fitted, the unit of boxes) is never assumed: without a card or an
exporter's metadata it ends in an error that holds a card to confirm.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boxmill.models.card import Card
from boxmill.models.case import Case, open_case
from boxmill.models.conventions import head_spec, input_spec
from boxmill.models.head import head_shape
from boxmill.models.ledger import Note, Source, table
from boxmill.models.onnx_metadata import Dim, OnnxSummary
from boxmill.models.proposal import proposed_card
from boxmill.models.shapes import STRIDE_SETS, HeadShape, square_side
from boxmill.types import InputSpec, ModelSpec

__all__ = ["Resolution", "resolve"]

Layout = Literal["NCHW", "NHWC"]

_DEFAULT_SIZE = (640, 640)
_NAMES_FROM: dict[Source, str] = {"flag": "label file", "card": "model card", "metadata": "exporter's metadata"}


@dataclass(frozen=True, slots=True)
class Resolution:
    """A model that is ready to run, and why it is read that way."""

    spec: ModelSpec
    rect: bool  # each image in the smallest shape of its own aspect ratio; otherwise all in spec.input.size
    notes: tuple[Note, ...]
    warnings: tuple[str, ...]
    external: tuple[Path, ...] = ()  # files with weights beside the ONNX file; part of the model

    def table(self) -> str:
        """The notes, a line for each source."""
        return table(self.notes)


def resolve(
    weights: Path,
    card: Card | None,
    onnx: OnnxSummary,
    labels: tuple[str, ...] | None,
    imgsz: tuple[int, int] | None,
    rect: bool | None,
) -> Resolution:
    """Conclude how to run a model.

    Args:
        weights: the ONNX file, for messages and for the name of the card that an error proposes.
        card: its model card; `card.labels` must hold names (or None), not a file or `coco80`.
        onnx: what the file says of itself.
        labels: names by class id from the command line; they win over those of card and metadata.
        imgsz: height and width from the command line.
        rect: True or False from the command line; None takes rect where the model can.

    Raises:
        ModelError: sources contradict each other, the model is of a kind that this version cannot run, or something
            is missing that only the user can tell; the message then holds a card to confirm and save.
    """
    case = open_case(Path(weights), card or Card(), onnx, labels)
    layout = _layout(case)
    sides = _sides(case, layout)
    size = _size(case, sides, imgsz)
    shape = head_shape(case, size)
    if not shape.on_grid and sides != (None, None):
        size = _fixed_size(case, sides, imgsz)  # no card can open these
    size = _confirmed_size(case, shape, size)
    fixed = _why_fixed(case, sides, shape, size)
    known = _known_input(case, layout, size, shape, fixed)
    names = _names(case, shape)
    task: Literal["detect", "tag"] = "tag" if shape.type == "classes" else "detect"
    spec = ModelSpec(input_spec(case, shape, known), head_spec(case, shape), names, task)
    use_rect = _rect(case, rect, spec, fixed)
    if case.ledger.questions:
        case.fail(_request(case, spec))
    return Resolution(spec, use_rect, tuple(case.ledger.notes), tuple(case.ledger.warnings), onnx.external)


def _layout(case: Case) -> Layout:
    axes: tuple[tuple[Layout, Dim], ...] = (("NCHW", case.image_dims[1]), ("NHWC", case.image_dims[3]))
    possible = [layout for layout, dim in axes if dim == 3 or not isinstance(dim, int)]
    certain = [layout for layout, dim in axes if dim == 3]
    dims = "(" + ", ".join("?" if dim is None else str(dim) for dim in case.image_dims) + ")"
    said = case.card.input.layout
    if not possible:
        case.fail(f"expected an image input with 3 channels, (N, 3, H, W) or (N, H, W, 3), got {dims}")
    if said is not None and said not in possible:
        case.fail(f"the card says layout {said}, the input {dims} can only be {possible[0]}; correct the card")
    shaped = next((found[0] for found in (certain, possible) if len(found) == 1), None)
    exported: Layout | None = "NCHW" if case.exporter.kind else None
    layout: Layout | None = case.ledger.first(
        "input.layout", ("card", said), ("shapes", shaped), ("metadata", exported)
    )
    if layout is None:
        return case.ledger.guess("input.layout", possible[0], f"NCHW or NHWC; the input is {dims}")
    return layout


def _sides(case: Case, layout: Layout) -> tuple[int | None, int | None]:
    """Height and width that the network fixes; None where it leaves them open."""
    pair = case.image_dims[2:4] if layout == "NCHW" else case.image_dims[1:3]
    height, width = (dim if isinstance(dim, int) else None for dim in pair)
    return height, width


def _size(case: Case, sides: tuple[int | None, int | None], imgsz: tuple[int, int] | None) -> tuple[int, int]:
    card = case.card.input
    height, width = sides
    own = (height, width) if height is not None and width is not None else None
    if sides != (None, None) and not (own and card.dynamic and case.outputs_open()):
        return _fixed_size(case, sides, imgsz)
    if card.dynamic is False and card.size is not None and imgsz not in (None, card.size):
        case.fail(f"--imgsz is {_x(imgsz)}, the card says size {_x(card.size)} and dynamic: false; leave --imgsz out")
    square = square_side(case.grid_dims, STRIDE_SETS[0])
    return case.ledger.first_or(
        "input.size",
        ("default", _DEFAULT_SIZE),
        ("flag", imgsz),
        ("card", card.size),
        ("metadata", case.exporter.imgsz),
        ("shapes", own or ((square, square) if square else None)),
    )


def _confirmed_size(case: Case, shape: HeadShape, size: tuple[int, int]) -> tuple[int, int]:
    """A default size has to be confirmed for models that are made for one size and do not show it."""
    if shape.type not in ("classes", "detr") or case.ledger.source("input.size") != "default":
        return size
    usual = (224, 224) if shape.type == "classes" else size
    return case.ledger.guess("input.size", usual, "height and width that the model was trained for")


def _fixed_size(case: Case, sides: tuple[int | None, int | None], imgsz: tuple[int, int] | None) -> tuple[int, int]:
    side = sides[0] or sides[1] or 0  # where only one is fixed, the other follows it
    size = (sides[0] or side, sides[1] or side)
    for what, offer in (("the card's input.size", case.card.input.size), ("--imgsz", imgsz)):
        if offer is None:
            continue
        if any(fixed not in (None, asked) for fixed, asked in zip(sides, offer, strict=True)):
            case.fail(
                f"{what} is {_x(offer)}, the network's input is fixed at {_x(sides)}; use that, or export the model "
                "with dynamic height and width"
            )
        size = offer
    case.ledger.note("input.size", size, "shapes", f"the network's input is fixed at {_x(sides)}")
    return size


def _why_fixed(case: Case, sides: tuple[int | None, int | None], shape: HeadShape, size: tuple[int, int]) -> str | None:
    """Why the network takes one shape only; None when it takes any multiple of its stride."""
    said = case.card.input.dynamic
    if shape.type == "classes":
        return "all images of a tagger have one size"
    if not shape.on_grid and not (said and sides == (None, None)):
        return f"the outputs of {shape.type} heads do not show whether the network takes other shapes"
    if shape.anchors is not None:
        if said and any(fixed not in (None, asked) for fixed, asked in zip(sides, size, strict=True)):
            case.fail(
                f"the card says dynamic: true and size {_x(size)}, but the network's input is fixed at {_x(sides)} and "
                f"its head at {shape.anchors} anchors; correct the card"
            )
        if said:
            case.ledger.warnings.append(
                f"the card says dynamic: true, but the head is fixed at {shape.anchors} anchors; its boxes would be "
                "wrong at other shapes, so every image is fitted into the same square"
            )
        return f"the head is fixed at {shape.anchors} anchors"
    if said is False:
        return "the card says dynamic: false"
    if sides == (None, None) or (said and None not in sides):
        return None
    return f"the network's input is fixed at {_x(sides)}"


def _known_input(case: Case, layout: Layout, size: tuple[int, int], shape: HeadShape, fixed: str | None) -> InputSpec:
    """Size, layout, stride and dynamic; the rest is for `conventions`."""
    if shape.type == "classes":
        return InputSpec(size, layout)
    said_stride, exported = case.card.input.stride, case.exporter.stride
    last: tuple[Source, int] = ("shapes", max(shape.strides)) if shape.on_grid else ("default", 32)
    stride = case.ledger.first_or("input.stride", last, ("card", said_stride), ("metadata", exported))
    matters = fixed is None or (shape.on_grid and _sides(case, layout) != size)
    if matters and any(side % stride for side in size):
        down = (max(size[0] // stride, 1) * stride, max(size[1] // stride, 1) * stride)
        up = (-(-size[0] // stride) * stride, -(-size[1] // stride) * stride)
        case.fail(f"size {_x(size)}: expected multiples of the stride {stride}, such as {_x(down)} or {_x(up)}")
    dynamic = fixed is None
    said = case.card.input.dynamic
    if said is dynamic:
        case.ledger.note("input.dynamic", dynamic, "card")
    else:
        case.ledger.note("input.dynamic", dynamic, "shapes", fixed or "height and width are symbolic")
    return InputSpec(size, layout, dynamic=dynamic, stride=stride)


def _names(case: Case, shape: HeadShape) -> tuple[str, ...]:
    offers: tuple[tuple[Source, tuple[str, ...] | None], ...]
    offers = (("flag", case.labels), ("card", case.card_labels), ("metadata", case.exporter.names))
    for source, names in offers:
        if names is None:
            continue
        if shape.classes is not None and len(names) != shape.classes:
            case.fail(
                f"expected {shape.classes} names, the head has as many classes; the {_NAMES_FROM[source]} has "
                f"{len(names)}; give the names of this model with --labels"
            )
        control = next((name for name in names if any(unicodedata.category(mark) == "Cc" for mark in name)), None)
        if control is not None:
            case.fail(f"the name {control[:40]!r} holds a control character; correct it in the {_NAMES_FROM[source]}")
        case.ledger.note("labels", f"{len(names)} names", source)
        return names
    count = shape.classes
    if count is None:
        question = "the names of this model's classes, whose number the network does not show: a file, coco80 or coco91"
        case.ledger.guess("labels", "no names", question)
        return ()
    case.ledger.warnings.append(
        f"no names for the {count} classes: they are called by number; give names with --labels"
    )
    case.ledger.note("labels", f"{count} numbers", "default")
    return tuple(str(index) for index in range(count))


def _rect(case: Case, wanted: bool | None, spec: ModelSpec, fixed: str | None) -> bool:
    if spec.input.resize == "stretch":
        fixed = fixed or "images are stretched to the whole input"
    if spec.task == "tag" and not wanted:
        return False
    if wanted and fixed:
        case.fail(f"--rect: expected a model that takes any height and width, but {fixed}; leave --rect out")
    if wanted is None:
        case.ledger.note("rect", fixed is None, "shapes", f"square, because {fixed}" if fixed else "")
        return fixed is None
    case.ledger.note("rect", wanted, "flag")
    return wanted


def _request(case: Case, spec: ModelSpec) -> str:
    """The error that asks for what only the user can tell, with a card to save."""
    questions, card = case.ledger.questions, case.card
    if spec.head.type == "yolox" and card.head.type is None:
        questions["head.type"] = "yolox when the grid is undecoded, yolov5 when boxes come out decoded"
    selected = spec.head.type in ("end2end", "triple")  # their scores are final
    if not selected and case.ledger.source("head.activation") == "default":
        questions["head.activation"] = "none when scores come out in 0-1, sigmoid otherwise"
    for field, question in (("interpolation", "bilinear or bicubic"), ("antialias", "true as Pillow, false as OpenCV")):
        if case.ledger.source(f"input.{field}") == "default":
            questions[f"input.{field}"] = question
    beside = card.path.name if card.path else f"{case.weights.name}.yaml"
    text = proposed_card(case.weights.name, spec, case.ledger, card)
    return (
        f"{', '.join(questions)}: neither the network nor {'its card' if card.path else 'its metadata'} says, and "
        f"a wrong guess gives wrong {'tags' if spec.task == 'tag' else 'boxes'}. Confirm the marked lines of this "
        f"model card and save it as {beside} beside the weights:\n\n{text}"
    )


def _x(size: tuple[int | None, int | None]) -> str:
    return "x".join("?" if side is None else str(side) for side in size)
