"""Checkpoints of YOLOv9 read without executing them, compared with the published keys, shapes and structures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from boxmill.models import read_checkpoint

ASSETS = os.environ.get("BOXMILL_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS names no folder with the test weights")
RANDOM = ("yolov9-t", "gelan-t", "yolov9-c-quarter", "yolov9-m-quarter", "yolov9-e-quarter")


@needs_assets
@pytest.mark.parametrize("name", RANDOM)
def test_the_state_has_the_published_keys_in_their_order(name: str) -> None:
    folder = Path(ASSETS or "") / "yolov9"
    read = read_checkpoint(folder / f"{name}.random.pt")
    keys = json.loads((folder / f"{name}.keys.json").read_text())
    assert [(key, list(array.shape)) for key, array in read.state.items()] == list(keys.items())
    assert {str(array.dtype) for array in read.state.values()} == {"float16", "int64"}
    assert read.stride == (8, 16, 32)
    assert len(read.names) == read.structure["nc"] == 80
    assert "models.yolo.DetectionModel" in read.objects
    if not name.endswith("quarter"):
        structure = json.loads((folder / f"{name}.structure.json").read_text())
        assert dict(read.structure) == {"ch": 3, **structure}
