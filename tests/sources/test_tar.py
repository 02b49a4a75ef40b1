"""Tar archives, plain and compressed: the same promises as for zip, and one pass over what cannot be read at random."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bombs import (
    Block,
    MiB,
    declared_tar_bomb,
    greedy_xz,
    huge_pax_bomb,
    pax,
    tar_bytes,
    tar_bz2_bomb,
    tar_gz_bomb,
    tar_header,
    tar_of_photos,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

from boxmill.errors import ImageError, SourceError
from boxmill.sources import Listing, list_source, members
from boxmill.sources.inflate import Inflated

PHOTOS = {f"sub{number % 3}/{number:03}.jpg": os.urandom(6_000 + number) for number in range(40)}
KINDS = ["", "gz", "bz2", "xz"]


def results(listing: Listing) -> dict[str, bytes | str]:
    """Key behind the archive's prefix -> data, or the code of the failure."""
    assert listing.archive is not None
    found: dict[str, bytes | str] = {}
    for item in listing:
        try:
            found[item.key.removeprefix(listing.archive.prefix)] = item.read()
        except ImageError as error:
            found[item.key.removeprefix(listing.archive.prefix)] = error.code
    assert len(found) == len(listing)
    return found


def of(tmp_path: Path, *blocks: Block) -> dict[str, bytes | str]:
    """The same whether it is compressed or not."""
    plain = results(list_source(write(tmp_path, "a.tar", tar_bytes(blocks))))
    assert results(list_source(write(tmp_path, "a.tar.gz", gzip.compress(tar_bytes(blocks))))) == plain
    return plain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=str)
def test_every_form_in_the_archives_order(tmp_path: Path, kind: str, form: int) -> None:
    long = f"{'深' * 20}/{'长' * 20}.jpg" if form != tarfile.USTAR_FORMAT else f"{'a' * 90}/{'b' * 90}.jpg"
    photos = {**PHOTOS, long: b"long name", "空.png": b"", "100%.bmp": bytes(3000)}
    path = tmp_path / "photos.tgz"  # whatever it is called
    with tarfile.open(path, f"w:{kind}", format=form) as archive:
        archive.add(tmp_path, "folder", recursive=False)
        for name, data in {**photos, "notes.txt": b"x", ".hidden.jpg": b"x", "in.zip": b"x"}.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    listing = list_source(path)
    assert results(listing) == {name.replace("%", "%25"): data for name, data in photos.items()}
    assert listing.keys[0] == "photos.tgz!/sub0/000.jpg"
    assert listing.skipped == {".txt": 1, "hidden": 1, "archive": 1}
    assert listing.remarks == []


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        Block(b"sym.jpg", kind=b"2", link=b"/etc/passwd"),
        Block(b"hard.jpg", kind=b"1", link=b"good.jpg"),
        Block(b"char.jpg", kind=b"3"),
        Block(b"block.jpg", kind=b"4"),
        Block(b"pipe.jpg", kind=b"6"),
        Block(b"part.jpg", b"data", kind=b"M"),
        Block(b"odd.jpg", b"data", kind=b"Z"),
        Block(b"sparse.jpg", b"data", kind=b"S"),
        pax({"GNU.sparse.major": b"1", "GNU.sparse.name": b"sparse2.jpg"}),
        Block(b"GNUSparseFile.0/x", b"data"),
        Block(b"PaxHeaders/x", b"garbage", b"x"),
        Block(b"damaged.jpg", b"data"),
        Block(b"../up.jpg", b"data"),
        Block(b"/abs.jpg", b"data"),
        Block(b"folder.jpg/", b""),
        Block(b"folder.jpg", kind=b"5"),
        Block(b"twice.jpg", b"old"),
        Block(b"twice.jpg", b"new"),
        Block(b"old.jpg", b"V7", kind=b"\0"),
        Block(b"good.jpg", b"data"),
    )
    assert found.pop("twice.jpg (duplicate 1)") == "duplicate"
    outside = [key for key in found if key.startswith("ext/")]
    assert [found.pop(key) for key in outside] == ["unsafe_name"] * 2
    assert found == {
        "sym.jpg": "link",
        "hard.jpg": "link",
        **dict.fromkeys(
            ["char.jpg", "block.jpg", "pipe.jpg", "part.jpg", "odd.jpg", "sparse.jpg", "sparse2.jpg"], "unsupported"
        ),
        "damaged.jpg": "corrupt",
        "twice.jpg": b"new",
        "old.jpg": b"V7",
        "good.jpg": b"data",
    }


def test_sizes_beyond_octal_and_in_pax_records(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        Block(b"binary.jpg", b"data", binary_size=True),
        pax({"size": b"600", "path": "人/图.jpg".encode(), "comment": b"two\nlines"}),
        Block(b"short.jpg", b"x" * 600, size=0),
        Block(b"good.jpg", b"data"),
    )
    assert found == {"binary.jpg": b"data", "人/图.jpg": b"x" * 600, "good.jpg": b"data"}


def test_names_that_are_not_utf8_are_percent_encoded(tmp_path: Path) -> None:
    assert of(tmp_path, Block("人.jpg".encode("gbk"), b"1")) == {"%C8%CB.jpg": b"1"}


# cut off, damaged, changed


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_truncated_tar_the_members_before_the_cut_are_used(tmp_path: Path, kind: str) -> None:
    photos = {f"{number}.jpg": os.urandom(20_000) for number in range(150)}  # bzip2 has blocks of 900 kB
    data = tar_of_photos(photos, kind)
    listing = list_source(write(tmp_path, "a.tar", data[: len(data) // 2]))
    found = list(results(listing).values())
    assert 30 < len(found) < len(photos)
    assert found[:-1] == list(photos.values())[: len(found) - 1]
    assert found[-1] == "truncated"


def test_a_tar_without_its_end_mark_is_remarked(tmp_path: Path) -> None:
    for data in (tar_bytes([Block(b"a.jpg", b"1")], end=False), gzip.compress(tar_bytes([Block(b"a.jpg")], end=False))):
        listing = list_source(write(tmp_path, "a.tar", data))
        assert len(listing) == 1
        assert "has no end mark: it may have been cut off" in listing.remarks[0]
    whole = gzip.compress(tar_bytes([Block(b"a.jpg", b"1")]))
    listing = list_source(write(tmp_path, "a.tar", whole[:-12]))
    assert results(listing) == {"a.jpg": b"1"}


def test_behind_a_damaged_header_the_next_good_one_is_found(tmp_path: Path) -> None:
    blocks = [Block(b"%d.jpg" % number, b"%d" % number * 700) for number in range(4)]
    data = bytearray(tar_bytes(blocks))
    second = data.index(b"1.jpg")
    data[second] = 0xFF
    listing = list_source(write(tmp_path, "a.tar", bytes(data)))
    assert results(listing) == {"0.jpg": b"0" * 700, "2.jpg": b"2" * 700, "3.jpg": b"3" * 700}
    assert listing.skipped == {"damaged header": 1}


def test_what_is_no_tar_is_said(tmp_path: Path) -> None:
    for data in (b"", b"text" * 1000, b"x"):
        with pytest.raises(SourceError, match="is damaged or no archive"):
            list_source(write(tmp_path, "a.tar", data))
    for data in (gzip.compress(b"text" * 1000), gzip.compress(os.urandom(2000))[:100], b"\x1f\x8b" + b"\xff" * 1000):
        with pytest.raises(SourceError, match=r"does not begin with a tar header"):
            list_source(write(tmp_path, "a.tar.gz", data))
    with pytest.raises(SourceError, match="no images found"):
        list_source(write(tmp_path, "a.tar", bytes(10240)))


@pytest.mark.parametrize("kind", KINDS)
@given(place=st.integers(0), bits=st.integers(1, 255))
def test_any_damaged_byte_gives_the_data_a_failure_or_a_source_error(kind: str, place: int, bits: int) -> None:
    photos = {"a.jpg": b"data" * 20, "b/c.jpg": bytes(100)}
    data = bytearray(tar_of_photos(photos, kind))
    data[place % min(len(data), 3072)] ^= bits
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = results(list_source(write(Path(folder), "a.tar", bytes(data))))
        except SourceError:
            return
    assert all(isinstance(key, str) for key in found)  # every member has ended, one way or the other


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_archive_gives_what_is_still_the_same(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, "a.tar", tar_of_photos(PHOTOS, kind))
    listing = list_source(path)
    more = {**PHOTOS, "more.jpg": b"new"}
    path.write_bytes(tar_of_photos(more, kind))
    assert results(listing) == PHOTOS
    listing = list_source(path)
    path.write_bytes(tar_of_photos({**more, "sub1/001.jpg": b"other"}, kind))
    found = results(listing)
    assert found["sub0/000.jpg"] == PHOTOS["sub0/000.jpg"]
    assert found["sub1/001.jpg"] == found["sub2/002.jpg"] == found["more.jpg"] == "changed"
    listing = list_source(path)
    path.write_bytes(b"")
    assert set(results(listing).values()) == {"changed"}


# one pass


class Counting(Inflated):
    """Counts how often reading begins anew, and what it reads."""

    opened: list[Counting]

    def __init__(self, descriptor: int, compression: str) -> None:
        super().__init__(descriptor, compression)
        self.opened.append(self)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
    opened: list[Counting] = []
    monkeypatch.setattr(Counting, "opened", opened, raising=False)
    monkeypatch.setattr(members, "Inflated", Counting)
    return opened


def test_threads_that_overtake_each_other_still_read_once(tmp_path: Path, passes: list[Counting]) -> None:
    path = write(tmp_path, "a.tar.gz", tar_of_photos(PHOTOS, "gz"))
    items, expected = iter(list_source(path)), list(PHOTOS.values())
    rng = random.Random(1)
    with ThreadPoolExecutor(8) as pool:
        while under_way := [item for _, item in zip(range(8), items, strict=False)]:
            rng.shuffle(under_way)
            for item, data in zip(under_way, pool.map(lambda item: item.read(), under_way), strict=True):
                assert data == expected[item.index]
    assert len(passes) == 1


def test_a_resume_skips_forward_and_suspects_cost_one_more_pass(tmp_path: Path, passes: list[Counting]) -> None:
    listing, expected = list_source(write(tmp_path, "a.tar.xz", tar_of_photos(PHOTOS, "xz"))), list(PHOTOS.values())
    suspects = [listing.item(index) for index in (30, 33)]
    for item in suspects:
        assert item.fetch is not None
        item.fetch()
        assert item.read() == expected[item.index]
    assert len(passes) == 1
    for index in range(20, 40):
        if index not in (30, 33):
            assert listing.item(index).read() == expected[index]
    assert len(passes) == 2


def test_little_is_kept_while_it_is_read(tmp_path: Path) -> None:
    photos = {f"{number}.jpg": os.urandom(100_000) for number in range(100)}
    listing = list_source(write(tmp_path, "a.tar.gz", tar_of_photos(photos, "gz")))
    tracemalloc.start()
    try:
        for item in listing:
            assert len(item.read()) == 100_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MiB


def test_a_broken_stream_is_not_read_again_for_each_input(tmp_path: Path, passes: list[Counting]) -> None:
    data = tar_of_photos(PHOTOS, "gz")
    path = write(tmp_path, "a.tar.gz", data)
    listing = list_source(path)
    path.write_bytes(data[: len(data) // 2] + b"\xff" * (len(data) // 2))
    found = list(results(listing).values())
    assert found[0] == PHOTOS["sub0/000.jpg"]
    assert found[-1] == "changed"
    assert len(passes) == 1


# bombs


def peak_of(path: Path) -> tuple[Listing, int]:
    tracemalloc.start()
    try:
        listing = list_source(path)
        return listing, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_declared_bomb_is_refused(tmp_path: Path) -> None:
    listing = list_source(write(tmp_path, "bomb.tar", declared_tar_bomb()))
    assert results(listing) == {"x.jpg": "truncated"}
    sparse = write(tmp_path, "bomb.tar", declared_tar_bomb())
    os.truncate(sparse, (10 << 30) + 2048)  # a hole
    assert results(list_source(sparse)) == {"x.jpg": "too_large"}


@pytest.mark.parametrize("bomb", [tar_gz_bomb, tar_bz2_bomb])
def test_a_compressed_bomb_ends_the_listing_and_is_told(tmp_path: Path, bomb: object) -> None:
    assert callable(bomb)
    listing, peak = peak_of(write(tmp_path, "bomb.tgz", bomb()))
    assert results(listing) == {"first.jpg": b"a photo", "bomb.jpg": "too_large"}
    assert "could not be read to its end: 734003200 bytes out of next to nothing: a bomb" in listing.remarks[0]
    assert peak < 8 * MiB


def test_a_bomb_that_is_no_image_is_an_input_too(tmp_path: Path) -> None:
    size = 600 * MiB
    head = gzip.compress(tar_header(Block(b"disk.bin", size=size)), mtime=0)
    data = head + gzip.compress(bytes(MiB), mtime=0) * 100
    assert results(list_source(write(tmp_path, "a.tgz", data))) == {"disk.bin": "too_large"}


def test_huge_extended_headers_are_not_taken_into_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tar", huge_pax_bomb())
    with pytest.raises(SourceError, match="no images found"):
        list_source(path)
    long = Block(b"PaxHeaders/x", bytes(2 * MiB), b"x")
    assert of(tmp_path, long, Block(b"a.jpg", b"1"), Block(b"b.jpg", b"2")) == {"a.jpg": "unsupported", "b.jpg": b"2"}


def test_an_xz_that_asks_for_a_gibibyte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="would take more than 256 MiB of memory"):
        list_source(write(tmp_path, "a.tar.xz", greedy_xz()))


def test_several_streams_and_padding_are_one_file(tmp_path: Path) -> None:
    data = tar_of_photos(PHOTOS)
    pieces = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        joined = b"".join(compress(piece) for piece in pieces)
        assert results(list_source(write(tmp_path, "a.tar", joined + bytes(64)))) == PHOTOS
    assert results(list_source(write(tmp_path, "a.tar", gzip.compress(data) + b"trailing"))) == PHOTOS
