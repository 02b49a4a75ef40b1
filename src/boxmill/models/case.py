"""What is known of one model before anything is concluded: its image input, its outputs, card and metadata."""

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

__all__ = ["Case", "open_case", "tensor_list", "tensor_text"]


@dataclass(frozen=True, slots=True)
class Case:
    """The evidence about one model, and the ledger that conclusions go to."""

    weights: Path
    card: Card
    exporter: Exporter
    image_dims: tuple[Dim, Dim, Dim, Dim]
    outputs: tuple[TensorInfo, ...]  # those that the card names, in its order; otherwise all of the network's
    labels: tuple[str, ...] | None  # from the command line
    card_labels: tuple[str, ...] | None
    from_tensorflow: bool
    ledger: Ledger

    def fail(self, message: str) -> NoReturn:
        """Raise a ModelError about these weights."""
        raise ModelError(f"{self.weights}: {message}")

    @property
    def grid_dims(self) -> tuple[Dim, Dim]:
        """The two last dims of a single output of three, (images, rows, columns); unknown ones where it is another."""
        dims = self.outputs[0].dims
        return (dims[1], dims[2]) if len(self.outputs) == 1 and dims is not None and len(dims) == 3 else (None, None)

    def outputs_open(self) -> bool:
        """Whether any dim of an output, other than the batch, is left open."""
        return any(
            tensor.dims is None or not all(isinstance(dim, int) for dim in tensor.dims[-2:]) for tensor in self.outputs
        )

    def names_count(self) -> int | None:
        """The number of classes that names tell of; the exporter knows it better than a label file."""
        names = self.exporter.names or self.labels or self.card_labels
        return len(names) if names else None


def open_case(weights: Path, card: Card, onnx: OnnxSummary, labels: tuple[str, ...] | None) -> Case:
    """Collect the evidence.

    Raises:
        ModelError: the network does not take one image tensor of three colours, or the card names other outputs.
    """
    if isinstance(card.labels, (str, Path)):
        raise TypeError(f"card.labels must hold names here, got {card.labels!r}; read them with boxmill.labels first")
    exporter = read_exporter(onnx)
    _refuse_other_kinds(weights, exporter)
    return Case(
        weights=weights,
        card=card,
        exporter=exporter,
        image_dims=_image_dims(weights, onnx),
        outputs=_outputs(weights, card, onnx),
        labels=labels,
        card_labels=card.labels,
        from_tensorflow="tf2onnx" in onnx.producer,
        ledger=Ledger(),
    )


def _refuse_other_kinds(weights: Path, exporter: Exporter) -> None:
    if exporter.task not in (None, "detect", "classify"):
        raise ModelError(f"{weights}: expected a detector or a tagger, the metadata says task: {exporter.task!r}")
    if exporter.channels not in (None, 3):
        raise ModelError(f"{weights}: expected a network for 3 colour channels, the metadata says {exporter.channels}")


def _image_dims(weights: Path, onnx: OnnxSummary) -> tuple[Dim, Dim, Dim, Dim]:
    if len(onnx.inputs) != 1:
        raise ModelError(
            f"{weights}: expected one input, the network has {len(onnx.inputs)}: {tensor_list(onnx.inputs)}"
        )
    image = onnx.inputs[0]
    if image.element != "float32":
        raise ModelError(
            f"{weights}: expected a float32 input, {tensor_text(image)} is {image.element}; export the model in float32"
        )
    if image.dims is None or len(image.dims) != 4:
        raise ModelError(
            f"{weights}: expected an input of 4 dims (batch, 3, height, width) or (batch, height, width, 3), "
            f"got {tensor_text(image)}"
        )
    batch, *rest = image.dims
    return batch, rest[0], rest[1], rest[2]


def _outputs(weights: Path, card: Card, onnx: OnnxSummary) -> tuple[TensorInfo, ...]:
    by_name = {tensor.name: tensor for tensor in onnx.outputs}
    for name in card.head.outputs or ():
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.0)[0]
            raise ModelError(
                f"{card.path or weights}: head.outputs: the network has no output {name!r}; did you mean {near!r}? "
                f"It has {tensor_list(onnx.outputs)}"
            )
    return tuple(by_name[name] for name in card.head.outputs) if card.head.outputs else onnx.outputs


def tensor_list(tensors: tuple[TensorInfo, ...]) -> str:
    """Names and shapes of the first eight."""
    return ", ".join(tensor_text(tensor) for tensor in tensors[:8]) + (", …" if len(tensors) > 8 else "")


def tensor_text(tensor: TensorInfo) -> str:
    """Name and shape of one."""
    dims = "of unknown shape" if tensor.dims is None else shown(tuple("?" if d is None else d for d in tensor.dims))
    return f"{tensor.name!r} {dims}"
