"""Dumps of raw heads: what is read back is what the runtime gave, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boxmill.errors import SourceError
from boxmill.store import DumpHeader, HeadFiles, read_dump, read_dump_header, walk_dumps
from boxmill.types import Geometry, HeadSpec

HEADER = DumpHeader(HeadSpec("yolox", strides=(8, 16)), ("猫", "dog"), "net.onnx", "openvino", "bf16")
PLACE = Geometry((float(np.float32(0.3)), 0.5), (0, 12), (396, 416), (416, 416), (1320, 832))


def test_dumps_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    odd = np.array([[np.nan, -0.0, np.inf, 1e-45]], np.float32)
    raw = [rng.random((1, 7, 6)).astype(np.float16), odd, rng.integers(0, 9, (1, 5)), rng.random((1, 4, 8))[:, :, ::2]]
    files = HeadFiles(tmp_path, HEADER)
    files.add("sub/图 1.jpg", raw, PLACE)
    files.add("clip.mp4#000123", raw[:1], PLACE)
    assert read_dump_header(tmp_path) == HEADER
    first, second = (read_dump(tmp_path, path) for path in walk_dumps(tmp_path))
    assert (first.key, second.key) == ("clip.mp4#000123", "sub/图 1.jpg")
    assert first.geometry == second.geometry == PLACE
    for written, read in zip(raw, second.raw, strict=True):
        assert (read.dtype, read.shape, read.tobytes()) == (written.dtype, written.shape, written.tobytes())
    assert len(first.raw) == 1


def test_a_run_without_dumps_says_how_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--dump-heads"):
        read_dump_header(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_a_damaged_dump_is_named(tmp_path: Path, content: bytes) -> None:
    HeadFiles(tmp_path, HEADER).add("a.jpg", [np.zeros((1, 2), np.float32)], PLACE)
    path = tmp_path / "heads/a.jpg.npz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.jpg\.npz"):
        read_dump(tmp_path, path)


def test_a_dump_without_its_geometry_is_none(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    np.savez(tmp_path / "heads/a.npz", output0=np.zeros(3))
    with pytest.raises(SourceError, match="no dump"):
        read_dump(tmp_path, tmp_path / "heads/a.npz")


def test_a_damaged_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "heads.json").write_bytes(b'{"head": {}}')
    with pytest.raises(SourceError, match=r"heads\.json"):
        read_dump_header(tmp_path)
