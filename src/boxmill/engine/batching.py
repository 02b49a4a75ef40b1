"""Which images go through the network together, and the memory they lie in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

import numpy as np

from boxmill.types import Float32, Geometry, InputSpec

__all__ = ["BatchBuffer", "HasGeometry", "by_shape"]


class HasGeometry(Protocol):
    """Anything that knows how it lies in the network's input."""

    geometry: Geometry


G = TypeVar("G", bound=HasGeometry)


def by_shape(loaded: Iterable[G]) -> list[list[G]]:
    """Groups of one network shape, in order of first appearance."""
    groups: dict[tuple[int, int], list[G]] = {}
    for one in loaded:
        groups.setdefault(one.geometry.network, []).append(one)
    return list(groups.values())


class BatchBuffer:
    """A worker's input tensor, used again for every batch: fresh memory would cost a page fault every 4 kB."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.float32)

    def tensor(self, count: int, network: tuple[int, int], spec: InputSpec) -> Float32:
        """An uninitialised (count, 3, h, w) or (count, h, w, 3) array; valid until the next call."""
        height, width = network
        shape = (count, 3, height, width) if spec.layout == "NCHW" else (count, height, width, 3)
        size = count * 3 * height * width
        if self._memory.size < size:
            self._memory = np.empty(size, np.float32)
        return self._memory[:size].reshape(shape)
