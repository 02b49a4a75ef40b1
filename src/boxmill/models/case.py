"""What is known of one model before anything is concluded: its one image input, its one head, card and metadata."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from boxmill.errors import ModelError
from boxmill.models.card import Card
from boxmill.models.exporter import Exporter, read_exporter
from boxmill.models.ledger import Ledger, shown
from boxmill.models.onnx_metadata import Dim, OnnxSummary, TensorInfo

__all__ = ["Case", "open_case"]


@dataclass(frozen=True, slots=True)
class Case:
    """The evidence about one model, and the ledger that conclusions go to."""

    weights: Path
    card: Card
    exporter: Exporter
    image_dims: tuple[Dim, Dim, Dim, Dim]
    output: str  # name of the head's output
    output_dims: tuple[Dim, Dim]  # without the batch
    labels: tuple[str, ...] | None  # from the command line
    card_labels: tuple[str, ...] | None
    from_tensorflow: bool
    ledger: Ledger

    def fail(self, message: str) -> NoReturn:
        """Raise a ModelError about these weights."""
        raise ModelError(f"{self.weights}: {message}")

    def names_count(self) -> int | None:
        """The number of classes that names tell of; the exporter knows it better than a label file."""
        names = self.exporter.names or self.labels or self.card_labels
        return len(names) if names else None


def open_case(weights: Path, card: Card, onnx: OnnxSummary, labels: tuple[str, ...] | None) -> Case:
    """Collect the evidence.

    Raises:
        ModelError: the network is not one that takes one image tensor and gives one head of a detector.
    """
    if isinstance(card.labels, (str, Path)):
        raise TypeError(f"card.labels must hold names here, got {card.labels!r}; read them with boxmill.labels first")
    exporter = read_exporter(onnx)
    _refuse_other_kinds(weights, exporter)
    output = _head_output(weights, card, onnx)
    return Case(
        weights=weights,
        card=card,
        exporter=exporter,
        image_dims=_image_dims(weights, onnx),
        output=output.name,
        output_dims=_head_dims(weights, output),
        labels=labels,
        card_labels=card.labels,
        from_tensorflow="tf2onnx" in onnx.producer,
        ledger=Ledger(),
    )


def _refuse_other_kinds(weights: Path, exporter: Exporter) -> None:
    if exporter.task not in (None, "detect"):
        raise ModelError(f"{weights}: expected a detector, the metadata says task: {exporter.task!r}")
    if exporter.end2end:
        raise ModelError(
            f"{weights}: its head selects boxes itself (metadata end2end or nms), which this version of boxmill does "
            "not have yet; export the model with end2end=False and nms=False"
        )
    if exporter.head is not None and "RTDETR" in exporter.head:
        raise ModelError(f"{weights}: its head is {exporter.head!r}, which this version of boxmill does not have yet")
    if exporter.channels not in (None, 3):
        raise ModelError(f"{weights}: expected a network for 3 colour channels, the metadata says {exporter.channels}")


def _image_dims(weights: Path, onnx: OnnxSummary) -> tuple[Dim, Dim, Dim, Dim]:
    if len(onnx.inputs) != 1:
        raise ModelError(f"{weights}: expected one input, the network has {len(onnx.inputs)}: {_tensors(onnx.inputs)}")
    image = onnx.inputs[0]
    if image.element != "float32":
        raise ModelError(
            f"{weights}: expected a float32 input, {_tensor(image)} is {image.element}; export the model in float32"
        )
    if image.dims is None or len(image.dims) != 4:
        raise ModelError(
            f"{weights}: expected an input of 4 dims (batch, 3, height, width) or (batch, height, width, 3), "
            f"got {_tensor(image)}"
        )
    batch, *rest = image.dims
    return batch, rest[0], rest[1], rest[2]


def _head_output(weights: Path, card: Card, onnx: OnnxSummary) -> TensorInfo:
    by_name = {tensor.name: tensor for tensor in onnx.outputs}
    if card.head.outputs:
        name = card.head.outputs[0]
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.0)[0]
            raise ModelError(
                f"{card.path or weights}: head.outputs: the network has no output {name!r}; did you mean {near!r}? "
                f"It has {_tensors(onnx.outputs)}"
            )
        return by_name[name]
    if len(by_name) > 1:
        raise ModelError(
            f"{weights}: expected one output, the network has {len(by_name)}: {_tensors(onnx.outputs)}; name the one "
            f"that holds the boxes in a model card {weights.name}.yaml, for example\n"
            f"version: 1\nhead: {{outputs: [{onnx.outputs[0].name!r}]}}"
        )
    return onnx.outputs[0]


def _head_dims(weights: Path, output: TensorInfo) -> tuple[Dim, Dim]:
    if output.element not in ("float32", "float16", "undefined"):
        raise ModelError(f"{weights}: expected a head of floats, {_tensor(output)} is {output.element}")
    if output.dims is None:
        return None, None
    if len(output.dims) != 3:
        raise ModelError(
            f"{weights}: expected a head of 3 dims (batch, 4 + classes, anchors) or (batch, anchors, 5 + classes), "
            f"got {_tensor(output)}"
        )
    return output.dims[1], output.dims[2]


def _tensors(tensors: tuple[TensorInfo, ...]) -> str:
    return ", ".join(_tensor(tensor) for tensor in tensors[:8]) + (", …" if len(tensors) > 8 else "")


def _tensor(tensor: TensorInfo) -> str:
    dims = "of unknown shape" if tensor.dims is None else shown(tuple("?" if d is None else d for d in tensor.dims))
    return f"{tensor.name!r} {dims}"
