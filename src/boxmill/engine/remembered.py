"""Batch sizes that an earlier run found, so that the next begins with them. Losing them costs a search, no more."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from boxmill.engine.batch_size import MOST

__all__ = ["RememberedSizes"]


class RememberedSizes:
    """One small file for each network on each kind of device.

    Args:
        folder: where such files are.
        about: what the sizes depend on beside the shape: the weights' hash, the dtype, the device's name.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        self._about = dict(about)
        name = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()
        self._path = folder / f"{name[:32]}.json"

    def load(self) -> dict[tuple[int, int], int]:
        """By network height and width; nothing where there is no file, or one that is not ours."""
        try:
            document = json.loads(self._path.read_bytes())
            if document["about"] != self._about:
                return {}
            sizes = {_shape(text): int(size) for text, size in document["sizes"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {network: size for network, size in sizes.items() if 1 <= size <= MOST}

    def save(self, sizes: Mapping[tuple[int, int], int]) -> None:
        """Replaces the file; where it cannot be written, the next run searches again."""
        if not sizes or sizes == self.load():
            return
        document = {"about": self._about, "sizes": {f"{h}x{w}": size for (h, w), size in sorted(sizes.items())}}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile("w", dir=self._path.parent, delete=False) as file:
                json.dump(document, file)
            os.replace(file.name, self._path)
        except OSError:
            return


def _shape(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)
