"""Frozen inputs: any bytes as a path, in order, and damage is noticed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxmill.errors import OutputError
from boxmill.store import Input, Manifest, NewInput, write_manifest
from boxmill.types import Archive

ROOT = b"/photos/\xff%\xe4\xba\xba"
INPUTS = [
    NewInput("a.jpg", None, 123, 10**18 + 7),
    NewInput("ext/0123456789abcdef-b.jpg", b"/elsewhere/b.jpg", 0, -1),
    NewInput("x%FF.jpg", b"x\xff.jpg", 5, 1),
    NewInput("人/%25.png", "人/%.png".encode(), 5, 1),
]


def test_inputs_come_back_in_order_with_their_absolute_paths(tmp_path: Path) -> None:
    assert write_manifest(tmp_path / "manifest-0.jsonl", ROOT, INPUTS) == 4
    manifest = Manifest(tmp_path)
    assert (manifest.total, len(manifest), manifest.root) == (4, 4, ROOT)
    assert list(manifest) == [
        Input(0, "a.jpg", ROOT + b"/a.jpg", 123, 10**18 + 7),
        Input(1, "ext/0123456789abcdef-b.jpg", b"/elsewhere/b.jpg", 0, -1),
        Input(2, "x%FF.jpg", ROOT + b"/x\xff.jpg", 5, 1),
        Input(3, "人/%25.png", ROOT + "/人/%.png".encode(), 5, 1),
    ]
    assert manifest.check() == []
    assert [path.name for path in tmp_path.iterdir()] == ["manifest-0.jsonl"]


def test_lines_are_as_documented(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", b"/photos", INPUTS[:2])
    lines = (tmp_path / "manifest-0.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == [
        '{"v":1,"root":"/photos","first":0}',
        '{"i":0,"key":"a.jpg","size":123,"mtime_ns":1000000000000000007}',
        '{"i":1,"key":"ext/0123456789abcdef-b.jpg","size":0,"mtime_ns":-1,"path":"/elsewhere/b.jpg"}',
    ]


@given(st.lists(st.tuples(st.text(min_size=1), st.none() | st.binary(min_size=1))))
def test_any_key_and_path_survives(pairs: list[tuple[str, bytes | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        new = [NewInput(key, path, 1, 2) for key, path in pairs]
        write_manifest(f"{folder}/manifest-0.jsonl", b"/r", new)
        for entry, (key, path) in zip(Manifest(folder), pairs, strict=True):
            relative = key.encode() if path is None else path
            assert entry.key == key
            assert entry.path == (relative if relative.startswith(b"/") else b"/r/" + relative)


def test_added_inputs_continue_the_numbering(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", b"/one", INPUTS[:1])
    write_manifest(tmp_path / "manifest-1.jsonl", b"/two", INPUTS[2:], first=1)
    assert [(entry.index, entry.path) for entry in Manifest(tmp_path)] == [
        (0, b"/one/a.jpg"),
        (1, b"/two/x\xff.jpg"),
        (2, "/two/人/%.png".encode()),
    ]
    assert [entry.path for entry in Manifest(tmp_path, b"/moved")][:2] == [b"/moved/a.jpg", b"/moved/x\xff.jpg"]


def test_some_inputs_come_in_the_manifests_order(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", ROOT, INPUTS)
    assert [entry.index for entry in Manifest(tmp_path).some([3, 0])] == [0, 3]
    assert list(Manifest(tmp_path).some([])) == []


def test_only_open_inputs(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", ROOT, INPUTS)
    assert [entry.index for entry in Manifest(tmp_path).open_inputs(bytes([1, 0, 2, 0]))] == [1, 3]


def test_one_input(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", ROOT, INPUTS[:2])
    write_manifest(tmp_path / "manifest-1.jsonl", ROOT, INPUTS[2:], first=2)
    manifest = Manifest(tmp_path)
    assert [manifest.input(index) for index in range(4)] == list(manifest)
    for index in (-1, 4):
        with pytest.raises(IndexError):
            manifest.input(index)


def test_no_inputs(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", ROOT, [])
    assert list(Manifest(tmp_path)) == []


def test_more_than_a_buffer(tmp_path: Path) -> None:
    count = 20_000
    new = (NewInput(f"{index:090}.jpg", None, index, index) for index in range(count))
    assert write_manifest(tmp_path / "manifest-0.jsonl", ROOT, new) == count
    assert sum(entry.size == entry.index for entry in Manifest(tmp_path)) == count
    assert Manifest(tmp_path).check() == []


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "manifest-0.jsonl"
    write_manifest(path, ROOT, INPUTS)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"size":123', b'"size":124'))
    assert "expected crc32" in Manifest(tmp_path).check()[0]
    path.write_bytes(data[:-2])
    with pytest.raises(OutputError, match="last line"):
        Manifest(tmp_path)
    path.write_bytes(data.replace(b'"i":2', b'"i":3'))
    with pytest.raises(OutputError, match="expected input 2, found 3"):
        list(Manifest(tmp_path))
    path.write_bytes(b"{}" + data)
    with pytest.raises(OutputError, match="first line"):
        list(Manifest(tmp_path))
    path.write_bytes(data.replace(b'"first":0', b'"first":7'))
    with pytest.raises(OutputError, match="should be 0, it is 7"):
        list(Manifest(tmp_path))


def test_a_missing_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"found numbers \[\]"):
        Manifest(tmp_path)
    write_manifest(tmp_path / "manifest-1.jsonl", ROOT, INPUTS)
    with pytest.raises(OutputError, match=r"found numbers \[1\]"):
        Manifest(tmp_path)


def test_an_error_of_the_lister_leaves_no_manifest(tmp_path: Path) -> None:
    def listing() -> Iterator[NewInput]:
        yield INPUTS[0]
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        write_manifest(tmp_path / "manifest-0.jsonl", ROOT, listing())
    assert list(tmp_path.iterdir()) == []


def test_keys_come_alone_and_notice_damage(tmp_path: Path) -> None:
    path = tmp_path / "manifest-0.jsonl"
    write_manifest(path, ROOT, INPUTS[:2])
    write_manifest(tmp_path / "manifest-1.jsonl", ROOT, INPUTS[2:], first=2)
    assert list(Manifest(tmp_path).keys()) == [entry.key for entry in INPUTS]
    path.write_bytes(path.read_bytes().replace(b'"key":"a', b'"kex":"a'))
    with pytest.raises(OutputError, match="an input is not readable"):
        list(Manifest(tmp_path).keys())


def test_members_of_an_archive(tmp_path: Path) -> None:
    archive = Archive(b"/x/\xff.zip", "zip", 1000, 7, "%FF.zip!/")
    new = [
        NewInput("%FF.zip!/a/b.jpg", None, 5, -1, "0,5,8,123"),
        NewInput("%FF.zip!/x%FF.jpg", b"x\xff.jpg", 6, -1, "9,5,8,1", ("link", "it is a link")),
    ]
    write_manifest(tmp_path / "manifest-0.jsonl", b"/x/\xff.zip!", new, archive=archive)
    lines = (tmp_path / "manifest-0.jsonl").read_text(encoding="utf-8").splitlines()
    described = '{"kind":"zip","size":1000,"mtime_ns":7,"prefix":"%FF.zip!/"}'
    assert lines[:3] == [
        '{"v":1,"root":"/x/%FF.zip%21","first":0,"archive":' + described + "}",
        '{"i":0,"key":"%FF.zip!/a/b.jpg","size":5,"mtime_ns":-1,"member":"0,5,8,123"}',
        '{"i":1,"key":"%FF.zip!/x%FF.jpg","size":6,"mtime_ns":-1,"path":"x%FF.jpg","member":"9,5,8,1",'
        '"refused":["link","it is a link"]}',
    ]
    manifest = Manifest(tmp_path)
    assert manifest.archive == archive
    assert manifest.check() == []
    first, second = manifest
    assert (first.path, first.file, first.archive) == (b"/x/\xff.zip!/a/b.jpg", b"/x/\xff.zip", archive)
    assert (first.member, first.refused) == ("0,5,8,123", None)
    assert (second.path, second.refused) == (b"/x/\xff.zip!/x\xff.jpg", ("link", "it is a link"))
    moved = Manifest(tmp_path, b"/y/renamed.zip!")
    assert moved.archive == Archive(b"/y/renamed.zip", "zip", 1000, 7, "%FF.zip!/")
    assert [one.path for one in moved] == [b"/y/renamed.zip!/a/b.jpg", b"/y/renamed.zip!/x\xff.jpg"]


def test_inputs_that_are_files_have_no_archive(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", ROOT, INPUTS[:1])
    manifest = Manifest(tmp_path)
    assert manifest.archive is None
    assert [(one.archive, one.file) for one in manifest] == [(None, ROOT + b"/a.jpg")]
