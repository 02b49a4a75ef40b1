"""The seam between the engine and whatever runs the network."""

from __future__ import annotations

from typing import Protocol

from boxmill.types import Float32, ModelSpec

__all__ = ["Runtime"]


class Runtime(Protocol):
    """A loaded network. `infer` may be called from several threads at once."""

    spec: ModelSpec
    name: str  # "openvino", "fake"
    version: str  # of the library
    precision: str  # the one in effect: "fp32", "bf16"

    def infer(self, tensor: Float32) -> list[Float32]:
        """Runs the network.

        Args:
            tensor: (B, 3, h, w) or (B, h, w, 3) float32, as `spec.input.layout` says.

        Returns:
            The head's raw outputs, in the order of `spec.head.outputs`, each (B, ...) float32. They may lie in memory
            that the calling thread's next `infer` writes over.
        """

    def close(self) -> None:
        """Frees the network; no `infer` may be running."""
