"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real weights and photographs that BOXMILL_ASSETS names."""
    folder = os.environ.get("BOXMILL_ASSETS")
    if not folder:
        pytest.skip("needs real weights and photographs: set BOXMILL_ASSETS to their folder")
    return Path(folder)
