"""A listing's memory stays within what DESIGN allows it, also where a single folder holds everything."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

from boxmill.sources import list_source

FILES = 20_000
MOST = 150  # bytes an input


def test_one_large_folder_stays_within_150_bytes_an_input(tmp_path: Path) -> None:
    first = tmp_path / f"photo_{0:07}.jpg"
    first.touch()
    for index in range(1, FILES):
        os.link(first, tmp_path / f"photo_{index:07}.jpg")
    tracemalloc.start()
    try:
        listing = list_source(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing) == FILES
    assert listing.keys == sorted(listing.keys)
    assert peak <= MOST * FILES
