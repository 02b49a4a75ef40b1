"""Pictures are read again from where they were, and what cannot be read says why."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported_runs import found, png, write_run

from boxmill.report.thumbnails import SIDE, fitted, thumbnails
from boxmill.sources import list_source
from boxmill.store import Manifest, NewInput, write_manifest


def shape(jpeg: bytes) -> tuple[int, ...]:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.shape


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_thumbnail_fits_and_is_never_larger(width: int, height: int) -> None:
    small = fitted((width, height))
    assert 1 <= max(small) <= SIDE
    assert small[0] <= width
    assert small[1] <= height
    assert max(width, height) > SIDE or small == (width, height)


def test_pictures_are_small_even_of_noise(tmp_path: Path) -> None:
    run = write_run(tmp_path, [found(i, 1) for i in range(3)])
    photos = tmp_path / "photos"
    (photos / "0001.png").write_bytes(png(1500, 900))
    made = thumbnails(Manifest(run, os.fsencode(photos)), [0], moved=True)
    assert list(made) == [0]
    assert shape(made[0].jpeg) == (60, 80, 3)
    facts = (photos / "0001.png").stat()
    write_manifest(run / "manifest-0.jsonl", os.fsencode(photos), [NewInput("0001.png", None, facts.st_size, 0)])
    made = thumbnails(Manifest(run, os.fsencode(photos)), [0], moved=True)
    assert shape(made[0].jpeg) == (204, 340, 3)
    assert len(made[0].jpeg) < 40_000


def test_what_is_gone_changed_or_broken_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, [found(i, 1) for i in range(4)])
    photos = tmp_path / "photos"
    (photos / "0000.png").unlink()
    (photos / "0001.png").write_bytes(png(100, 100))
    size, time = (photos / "0002.png").stat().st_size, (photos / "0002.png").stat().st_mtime_ns
    (photos / "0002.png").write_bytes(b"\0" * size)
    os.utime(photos / "0002.png", ns=(time, time))
    made = thumbnails(Manifest(run), range(4), moved=False)
    assert [bool(made[i].jpeg) for i in range(4)] == [False, False, False, True]
    assert made[0].problem == "No such file or directory"
    assert "changed" in made[1].problem
    assert made[2].problem


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar", "photos.tar.gz"])
def test_members_of_archives_have_pictures(tmp_path: Path, name: str) -> None:
    path, picture = tmp_path / name, tmp_path / "a.png"
    picture.write_bytes(png())
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(5):
                archive.write(picture, f"{number}.png")
    else:
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
            for number in range(5):
                tar.add(picture, f"{number}.png")
    listing = list_source(path)
    entries = [NewInput(k, None, m.size, 0, m.where) for k, m in zip(listing.keys, listing.members, strict=True)]
    write_manifest(tmp_path / "manifest-0.jsonl", listing.root, entries, archive=listing.archive)
    made = thumbnails(Manifest(tmp_path), [1, 4], moved=False)
    assert [shape(made[i].jpeg) for i in (1, 4)] == [(60, 80, 3)] * 2
