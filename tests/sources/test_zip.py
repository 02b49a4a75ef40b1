"""Zip archives: every member is read as it was written or refused with its reason, and none is ever a surprise."""

from __future__ import annotations

import io
import os
import re
import tempfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bombs import (
    MiB,
    Part,
    declared_zip_bomb,
    lying_zip_bomb,
    overlapping_zip_bomb,
    unicode_path,
    write,
    zip_bytes,
    zip_of_photos,
)
from hypothesis import given
from hypothesis import strategies as st

from boxmill.errors import ImageError, SourceError
from boxmill.sources import ArchiveReader, Listing, list_source
from boxmill.sources.member_names import zip_name

PHOTOS = {f"sub{number % 3}/{number:03}.jpg": os.urandom(500 + number) + bytes(500) for number in range(40)}


def results(listing: Listing) -> dict[str, bytes | str]:
    """Key behind the archive's prefix -> data, or the code of the failure."""
    assert listing.archive is not None
    found: dict[str, bytes | str] = {}
    for item in listing:
        assert item.key.startswith(listing.archive.prefix)
        try:
            found[item.key.removeprefix(listing.archive.prefix)] = item.read()
        except ImageError as error:
            found[item.key.removeprefix(listing.archive.prefix)] = error.code
    assert len(found) == len(listing)
    return found


def of(tmp_path: Path, *parts: Part) -> dict[str, bytes | str]:
    return results(list_source(write(tmp_path, "a.zip", zip_bytes(parts))))


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
)
def test_every_method_of_the_standard_library_in_the_archives_order(tmp_path: Path, method: int) -> None:
    large = {"large.png": os.urandom(MiB) + bytes(2 * MiB) + os.urandom(300_000), "empty.jpg": b""}
    path = write(tmp_path, "photos.zip", zip_of_photos({**PHOTOS, **large, "notes.txt": b"x"}, method))
    listing = list_source(path)
    assert listing.name == "photos.zip"
    assert listing.keys == [f"photos.zip!/{name}" for name in [*PHOTOS, *large]]
    assert results(listing) == {**PHOTOS, **large}
    assert listing.skipped == {".txt": 1}
    assert os.fsdecode(listing.path(listing.keys[0])) == f"{path}!/sub0/000.jpg"


def test_threads_read_at_once(tmp_path: Path) -> None:
    listing = list_source(write(tmp_path, "a.zip", zip_of_photos(PHOTOS)))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda item: item.read(), list(listing) * 5)) == list(PHOTOS.values()) * 5


def test_streamed_zip64_and_prefixed_archives(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        """Cannot seek, so sizes stand behind the data."""

        def __init__(self) -> None:
            self.out = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:
            self.out += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"one")
        with archive.open("b.jpg", "w", force_zip64=True) as member:
            member.write(b"two")
    assert results(list_source(write(tmp_path, "s.zip", bytes(pipe.out)))) == {"a.jpg": b"one", "b.jpg": b"two"}
    prefixed = zip_bytes([Part(b"a.jpg", b"one")], before=b"#!/bin/sh\n" * 100, comment=b"PK\5\6 in a comment")
    assert results(list_source(write(tmp_path, "p.zip", prefixed))) == {"a.jpg": b"one"}


def test_more_than_65535_members_use_zip64(tmp_path: Path) -> None:
    count, path = 66_000, tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(f"{number:06}.txt" if number % 1000 else f"{number:06}.jpg"), b"data")
    assert results(list_source(path)) == {f"{number:06}.jpg": b"data" for number in range(0, count, 1000)}


def test_a_listing_takes_little_memory_for_each_member(tmp_path: Path) -> None:
    count = 5_000
    parts = (Part(b"photos/%06d.jpg" % number, b"%d" % number) for number in range(count))
    path = write(tmp_path, "many.zip", zip_bytes(parts))
    tracemalloc.start()
    try:
        listing = list_source(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing) == count
    assert listing.item(count - 1).read() == b"%d" % (count - 1)
    assert peak < 800 * count + 2 * MiB


def test_unsafe_names_stay_inputs_and_fail(tmp_path: Path) -> None:
    names = [b"../up.jpg", b"a/../../b.jpg", b"/etc/abs.jpg", b"C:\\win.jpg", b"..\\back.jpg", b"\\\\host\\share.jpg",
             b"nul\0.jpg", b"a/" * 70 + b"deep.jpg", b"x" * 1100 + b".jpg"]  # fmt: skip
    for system in (0, 3):
        found = of(tmp_path, *(Part(name, b"data", system=system) for name in names), Part(b"good.jpg", b"data"))
        assert found.pop("good.jpg") == b"data"
        assert set(found.values()) == {"unsafe_name"}
        assert len(found) == len(names)
        assert all(re.fullmatch(r"ext/[0-9a-f]{16}-[^/]*\.jpg", key) for key in found)


def test_names_are_made_plain(tmp_path: Path) -> None:
    found = of(tmp_path, Part(b"./a//b/./c.jpg", b"1"), Part(b"win\\x.jpg", b"2", system=0), Part(b"u\\x.jpg", b"3"))
    assert found == {"a/b/c.jpg": b"1", "win/x.jpg": b"2", "u\\x.jpg": b"3"}


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        Part(b"link.jpg", b"good.jpg", mode=0o120777),
        Part(b"pipe.jpg", mode=0o010644),
        Part(b"secret.jpg", b"data", flags=1),
        Part(b"aes.jpg", b"data", method=99),
        Part(b"deflate64.jpg", b"data", method=9),
        Part(b"zstd.jpg", b"data", method=93),
        Part(b"crc.jpg", b"data", crc=1),
        Part(b"short.jpg", b"data", method=8, size=9),
        Part(b"noise.jpg", b"data", method=8, packed=b"\xff" * 50),
        Part(b"bz.jpg", b"data", method=12, packed=b"no bzip2"),
        Part(b"lzma.jpg", b"data", method=14, packed=b"\x09\x04\x05\x00\xff12345"),
        Part(b"cut.jpg", b"data", method=14, packed=b"\x09"),
        Part(b"good.jpg", b"data"),
    )
    codes = "link unsupported encrypted encrypted unsupported unsupported" + " corrupt" * 6
    assert list(found.values()) == [*codes.split(), b"data"]


def test_data_outside_the_archive_are_corrupt(tmp_path: Path) -> None:
    far = Part(b"far.jpg", b"data", offset=1 << 31, absent=True)
    long = Part(b"long.jpg", b"data", declared_packed=1 << 30)
    assert of(tmp_path, far, long, Part(b"good.jpg", b"data")) == {
        "far.jpg": "corrupt",
        "long.jpg": "corrupt",
        "good.jpg": b"data",
    }


def test_a_local_header_that_is_not_there_is_corrupt(tmp_path: Path) -> None:
    data = zip_bytes([Part(b"a.jpg", b"data"), Part(b"b.jpg", b"data")])
    path = write(tmp_path, "a.zip", data.replace(b"PK\3\4", b"XXXX", 1))
    path.write_bytes(data.replace(b"PK\3\4", b"XXXX", 1).replace(b"XXXX", b"PK\7\x08", 1))
    assert results(list_source(path)) == {"a.jpg": "corrupt", "b.jpg": b"data"}


def test_folders_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    names = b"d/ .hidden.jpg .git/a.jpg inner.zip b.tar.gz __MACOSX/._a.jpg a.pdf README".split()
    parts = [*map(Part, names), Part(b"win\\", system=0), Part(b"a.jpg", b"1")]
    listing = list_source(write(tmp_path, "a.zip", zip_bytes(parts)))
    assert results(listing) == {"a.jpg": b"1"}
    expected = {"hidden": 2, "__MACOSX": 1, "archive": 2, ".pdf": 1, "without suffix": 1}
    assert listing.skipped == expected


def test_of_one_name_the_last_counts(tmp_path: Path) -> None:
    found = of(tmp_path, *(Part(b"s/a.jpg", b"%d" % number) for number in range(3)), Part(b"s/a.jpg (duplicate 1)"))
    assert found == {"s/a.jpg (duplicate 1)": "duplicate", "s/a.jpg (duplicate 2)": "duplicate", "s/a.jpg": b"2"}


def test_keys_never_meet_even_when_somebody_tries(tmp_path: Path) -> None:
    plain = of(tmp_path, Part(b"S/a.jpg", b"1"), Part(b"s/a.jpg", b"2"))
    folders = [key.split("/")[0].encode() for key in plain]
    assert all(re.fullmatch(rb"[sS]-[0-9a-f]{16}", folder) for folder in folders)
    forged = [Part(folder + b"/a.jpg", b"x") for folder in folders]
    found = of(tmp_path, Part(b"S/a.jpg", b"1"), Part(b"s/a.jpg", b"2"), *forged)
    assert len({key.casefold() for key in found}) == 4
    outside = of(tmp_path, Part(b"../a.jpg"))
    found = of(tmp_path, Part(b"../a.jpg"), Part(next(iter(outside)).encode(), b"forged"))
    assert list(found.values()) == ["unsafe_name", b"forged"]
    found = of(tmp_path, Part(b"a.jpg", b"1"), Part(b"a.jpg.json/b.jpg", b"2"), Part(b"A.jpg/c.jpg", b"3"))
    assert not any(key == "a.jpg" or key.startswith("a.jpg.json/") for key in found)


# names


def test_names_in_the_encodings_of_the_world(tmp_path: Path) -> None:
    raw = "图片\\人像.jpg".encode("gbk")
    found = of(
        tmp_path,
        Part("商品/人.jpg".encode(), b"1", flags=0x800),
        Part("无标志.jpg".encode(), b"2"),  # macOS does not set the flag
        Part(raw, b"3", system=0),
        Part("张祎.jpg".encode("gbk"), b"4"),
        Part("détail.jpg".encode("cp437"), b"5"),
        Part("été.jpg".encode("cp437"), b"6"),
        Part(b"caf?.jpg", b"7", extra=unicode_path(b"caf?.jpg", "café.jpg")),
        Part(b"stale.jpg", b"8", extra=unicode_path(b"other.jpg", "wrong.jpg")),
        Part(b"bad\xff.jpg", b"9", flags=0x800),
        Part(b"100%.jpg", b"0"),
    )
    assert found == {
        "商品/人.jpg": b"1",
        "无标志.jpg": b"2",
        "图片/人像.jpg": b"3",
        "张祎.jpg": b"4",
        "d%82tail.jpg": b"5",
        "%82t%82.jpg": b"6",
        "café.jpg": b"7",
        "stale.jpg": b"8",
        "bad%FF.jpg": b"9",
        "100%25.jpg": b"0",
    }


@given(st.text(st.characters(codec="gb2312"), min_size=1), st.binary(min_size=1))
def test_any_name_is_stable_and_common_chinese_is_read(text: str, raw: bytes) -> None:
    encoded = text.encode("gb2312")
    try:
        encoded.decode()
    except UnicodeDecodeError:
        if text.isprintable():
            assert zip_name(encoded, utf8=False, unicode_path=None).decode() == text
    assert zip_name(raw, utf8=True, unicode_path=None) == raw
    assert zip_name(raw, utf8=False, unicode_path=None) == zip_name(raw, utf8=False, unicode_path=None)


# bombs


def test_a_declared_bomb_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "bomb.zip", declared_zip_bomb())
    listing = list_source(path)
    path.unlink()
    with pytest.raises(ImageError, match="it has 10737418240 bytes; the limit is") as caught:
        listing.item(0).read()
    assert caught.value.code == "too_large"


def test_a_lying_bomb_is_cut_at_what_it_declares(tmp_path: Path) -> None:
    listing = list_source(write(tmp_path, "bomb.zip", lying_zip_bomb()))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="says 1000 bytes, its data become more") as caught:
            listing.item(0).read()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == "corrupt"
    assert peak < MiB


def test_reading_takes_little_more_than_the_data(tmp_path: Path) -> None:
    size = 40 * MiB
    path = write(tmp_path, "a.zip", zip_of_photos({"a.bmp": bytes(size)}))
    listing = list_source(path)
    tracemalloc.start()
    try:
        assert len(listing.item(0).read()) == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * size + 4 * MiB


def test_members_that_overlap_are_refused_and_others_not(tmp_path: Path) -> None:
    found = results(list_source(write(tmp_path, "bomb.zip", overlapping_zip_bomb())))
    assert found.pop("good.jpg") == b"a photo"
    assert set(found.values()) == {"overlap"}
    assert len(found) == 100


def test_a_member_within_another_is_refused_with_it(tmp_path: Path) -> None:
    inner = zip_bytes([Part(b"in.jpg", b"inner")])[: 30 + 6 + 5]
    outer = Part(b"out.jpg", inner + b"rest")
    within = Part(b"in.jpg", b"inner", offset=30 + 7, absent=True)
    assert of(tmp_path, outer, within, Part(b"b.jpg", b"1")) == {
        "out.jpg": "overlap",
        "in.jpg": "overlap",
        "b.jpg": b"1",
    }


def test_the_limit_is_the_readers(tmp_path: Path) -> None:
    listing = list_source(write(tmp_path, "a.zip", zip_bytes([Part(b"a.jpg", bytes(11))])))
    assert listing.archive is not None
    where = listing.members[0].where
    assert ArchiveReader(listing.archive, 11).item(0, "k", where, 11).read() == bytes(11)
    with pytest.raises(ImageError) as caught:
        ArchiveReader(listing.archive, 10).item(0, "k", where, 11).read()
    assert caught.value.code == "too_large"


# damage and change


def test_a_zip_that_is_cut_off_or_none_is_said(tmp_path: Path) -> None:
    data = zip_of_photos(PHOTOS)
    for cut in (data[: len(data) // 2], data[:-10], b"", b"no zip at all"):
        with pytest.raises(SourceError, match="no central directory: it is cut off, or no zip"):
            list_source(write(tmp_path, "a.zip", cut))
    with pytest.raises(SourceError, match="several volumes"):
        list_source(write(tmp_path, "a.zip", data[:-18] + b"\1\0\1\0" + data[-14:]))
    damaged = data.replace(b"PK\1\2", b"PK\1\3", 5)
    with pytest.raises(SourceError, match="central directory is damaged at byte"):
        list_source(write(tmp_path, "a.zip", damaged))
    with pytest.raises(SourceError, match="does not fit into it"):
        list_source(write(tmp_path, "a.zip", data[1000:]))


@given(place=st.integers(0), bits=st.integers(1, 255))
def test_any_damaged_byte_gives_the_data_a_failure_or_a_source_error(place: int, bits: int) -> None:
    photos = {"a.jpg": b"data" * 20, "b/c.jpg": bytes(100)}
    data = bytearray(zip_of_photos(photos))
    data[place % len(data)] ^= bits
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = results(list_source(write(Path(folder), "a.zip", bytes(data))))
        except SourceError:
            return
    assert all(isinstance(one, str) or one in photos.values() for one in found.values())


def test_an_empty_archive_has_no_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no images found"):
        list_source(write(tmp_path, "a.zip", zip_bytes([])))


def test_a_changed_archive_gives_what_is_still_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, "a.zip", zip_bytes([Part(b"a.jpg", b"data"), Part(b"b.jpg", b"data")]))
    listing = list_source(path)
    os.utime(path, ns=(1, 1))  # touched: the checksums still say that nothing has changed
    assert results(listing) == {"a.jpg": b"data", "b.jpg": b"data"}
    listing = list_source(path)
    path.write_bytes(zip_bytes([Part(b"a.jpg", b"data"), Part(b"b.jpg", b"date")]))
    assert results(listing) == {"a.jpg": b"data", "b.jpg": "changed"}
    listing = list_source(path)
    path.write_bytes(b"")
    assert results(listing) == {"a.jpg": "changed", "b.jpg": "changed"}
    listing = list_source(write(tmp_path, "a.zip", zip_of_photos(PHOTOS)))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        listing.item(0).read()
    os.mkfifo(path)
    with pytest.raises(ImageError, match="found a pipe"):
        listing.item(0).read()


def test_other_archives_are_named_and_not_looked_into(tmp_path: Path) -> None:
    for name in ("a.7z", "a.rar", "a.tar.zst"):
        with pytest.raises(SourceError, match=r"cannot look into .* unpack this one first"):
            list_source(write(tmp_path, name, b"x"))
    with pytest.raises(SourceError, match="Zstandard"):
        list_source(write(tmp_path, "a.tar", b"\x28\xb5\x2f\xfd" + bytes(100)))


def test_archives_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.zip", zip_of_photos(PHOTOS))
    write(tmp_path, "b.tar.gz", b"")
    write(tmp_path, "c.rar", b"")
    write(tmp_path, "a.jpg", b"x")
    listing = list_source(tmp_path)
    assert listing.keys == ["a.jpg"]
    assert listing.skipped == {"archive": 3}


def test_a_name_of_the_archive_that_is_no_good_component(tmp_path: Path) -> None:
    for name in (b"100%.zip", b"caf\xe9.zip", "长".encode() * 80 + b".zip"):
        path = os.path.join(os.fsencode(tmp_path), name)
        Path(os.fsdecode(path)).write_bytes(zip_bytes([Part(b"a.jpg", b"1")]))
        listing = list_source(os.fsdecode(path))
        folder = listing.keys[0].split("/")[0]
        assert folder.endswith("!")
        assert len(folder.encode()) <= 201
        assert listing.item(0).read() == b"1"
        assert listing.path(listing.keys[0]) == path + b"!/a.jpg"
