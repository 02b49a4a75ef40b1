"""Six photos and a run without a network, in a working directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import write_card, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 6)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags that run without a network, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return ["--runtime", "fake", "-w", str(write_card(tmp_path))]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"
