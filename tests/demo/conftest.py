"""An atlas of drawn shapes, and one of the system's font where it has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn import atlas as drawn_atlas

from boxmill.demo.glyphs import Atlas, find_font
from boxmill.errors import SourceError


@pytest.fixture(scope="session")
def atlas() -> Atlas:
    return drawn_atlas()


@pytest.fixture(scope="session")
def font() -> Path:
    pytest.importorskip("PIL", reason="scenes of emoji are drawn with Pillow")
    try:
        return find_font()
    except SourceError:
        pytest.skip("needs the font Noto Color Emoji (fonts-noto-color-emoji)")
