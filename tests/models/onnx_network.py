"""An ONNX file on disk and what `resolve` makes of it, for tests of heads and of taggers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx_writer import Tensors, model

from boxmill.errors import ModelError
from boxmill.labels import COCO80_EN
from boxmill.models.card import Card, CardInput, load_card
from boxmill.models.onnx_metadata import read_onnx
from boxmill.models.resolve import Resolution, resolve
from boxmill.types import HeadSpec

__all__ = ["INT64", "MEAN", "OPEN", "SAID", "STATIC", "STD", "Network", "head"]

STATIC = {"images": [1, 3, 640, 640]}
OPEN = {"images": ["batch", 3, "height", "width"]}
INT64 = 7
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAID = CardInput(color="RGB", scale=1 / 255, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize="letterbox")


class Network:
    """An ONNX file in a folder, with what is asked about it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model.onnx"

    def write(
        self, inputs: Tensors, outputs: Tensors, metadata: dict[str, str] | None = None, **elements: int
    ) -> Network:
        self.path.write_bytes(model(inputs, outputs, metadata, elements=elements))
        return self

    def resolve(self, card: Card | None = None, **flags: Any) -> Resolution:
        values = {"labels": None, "imgsz": None, "rect": None, **flags}
        return resolve(self.path, card, read_onnx(self.path), **values)

    def asks(self, card: Card | None = None, **flags: Any) -> tuple[list[str], Resolution]:
        """The fields to confirm, and the model that the proposed card ends in."""
        with pytest.raises(ModelError, match="CONFIRM") as caught:
            self.resolve(card, **flags)
        message = str(caught.value)
        fields = message.removeprefix(f"{self.path}: ").split(": neither", 1)[0].split(", ")
        proposed = self.path.with_name("model.onnx.yaml")
        proposed.write_text(message.split("\n\n", 1)[1], encoding="utf-8")
        saved = load_card(proposed)
        if isinstance(saved.labels, Path):
            saved = replace(saved, labels=COCO80_EN)
        return fields, self.resolve(saved, **flags)


def head(resolution: Resolution) -> HeadSpec:
    return resolution.spec.head
