"""The seam between the engine and whatever runs the network."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from boxmill.types import Float32, ModelSpec

__all__ = ["RawOutput", "Runtime"]

RawOutput = npt.NDArray[Any]  # (B, ...) or, where the network has no batch, (...); float32, labels as they come


class Runtime(Protocol):
    """A loaded network. `infer` may be called from several threads at once."""

    spec: ModelSpec
    name: str  # "openvino", "onnxruntime", "fake"
    version: str  # of the library
    precision: str  # the one in effect: "fp32", "bf16"

    def infer(self, tensor: Float32) -> list[RawOutput]:
        """Runs the network.

        Args:
            tensor: (B, 3, h, w) or (B, h, w, 3) float32, as `spec.input.layout` says.

        Returns:
            The head's raw outputs, in the order of `spec.head.outputs`, as the network shapes them: numbers with a
            fraction are float32, whole ones (class labels) keep their dtype. They may lie in memory that the calling
            thread's next `infer` writes over.

        Raises:
            ModelError: the network cannot run on this tensor.
        """

    def close(self) -> None:
        """Frees the network; no `infer` may be running."""
