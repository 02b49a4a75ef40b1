"""What a worker reads: everything that is open, or what it is handed, in whatever order."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from small_runs import boxmill, png, write_card

from boxmill.engine import Handed
from boxmill.inputs import HandedInputs, OpenInputs, Origin
from boxmill.store import NewInput, write_manifest

COUNT = 12


@pytest.fixture
def place(tmp_path: Path) -> Origin:
    for number in range(COUNT):
        (tmp_path / f"{number:02}.txt").write_text(str(number))
    entries = (NewInput(f"{number:02}.txt", None, len(str(number)), -1) for number in range(COUNT))
    write_manifest(tmp_path / "manifest-0.jsonl", str(tmp_path).encode(), entries)
    return Origin(tmp_path, None, 100)


def test_what_is_handed_is_read_forwards_and_backwards(place: Origin) -> None:
    order = [3, 4, 8, 1, 2, 11, 0]
    handed = Handed(order[:2])
    handed.add(order[2:])
    handed.close()
    inputs = HandedInputs(place, [5, 6], order[:2], handed)
    assert (inputs.total, inputs.untried) == (COUNT, True)
    assert [item.index for item in inputs.first()] == [3, 4]
    assert [item.index for item in inputs.suspects()] == [5, 6]
    assert [(item.index, int(item.read())) for item in inputs.open()] == [(index, index) for index in order]


def test_a_worker_that_is_alone_takes_what_is_open(place: Origin) -> None:
    inputs = OpenInputs(place, [5], retry_before=0)
    expected = [index for index in range(COUNT) if index != 5]
    assert [item.index for item in inputs.open()] == expected
    assert next(inputs.first()).index == 0
    assert inputs.untried


def test_members_of_a_compressed_archive_are_handed_too(tmp_path: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for number in range(COUNT):
            data = png(number)
            member = tarfile.TarInfo(f"{number:02}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    archive = tmp_path / "photos.tar.gz"
    archive.write_bytes(gzip.compress(plain.getvalue()))
    options = ("--runtime", "fake", "--weights", str(write_card(tmp_path)), "--project", str(tmp_path / "runs"))
    process = boxmill("run", str(archive), *options)
    assert process.wait() == 0, process.communicate()
    order = [6, 7, 2, 3, 11]
    handed = Handed(order)
    handed.close()
    (run,) = (tmp_path / "runs").iterdir()
    inputs = HandedInputs(Origin(run, None, 1 << 20), [], order, handed)
    assert [(item.index, item.read()) for item in inputs.open()] == [(index, png(index)) for index in order]
