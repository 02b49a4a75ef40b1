"""docs/formats.md is the policy: each row of its table is checked against files made for it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import policy_samples
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxmill.errors import ImageError
from boxmill.images import DecodeLimits, decode
from boxmill.sources.listing import IMAGE_SUFFIXES

DOCS = Path(__file__).parents[2] / "docs"
CODES = {"empty", "unsupported", "too_large", "truncated", "corrupt"}


def table(name: str) -> list[list[str]]:
    """Cells of the first table, without its two head lines."""
    lines = (DOCS / name).read_text(encoding="utf-8").partition("\n## ")[2].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    first_end = next(at for at, row in enumerate(rows) if row[0].startswith("`"))
    return rows[2 : first_end - 2]


ROWS = {(row[0], row[1]): row[2] for row in table("formats.md")}


@pytest.fixture(scope="module")
def samples() -> dict[tuple[str, str], list[policy_samples.Sample]]:
    found = defaultdict(list)
    for sample in policy_samples.samples():
        found[sample.format, sample.kind].append(sample)
    return found


def test_every_row_has_a_file_and_every_file_a_row(samples):
    assert set(samples) == set(ROWS)
    assert len(ROWS) == len(table("formats.md"))
    assert set(ROWS.values()) <= CODES | {"ok"}


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_row(row, samples):
    for sample in samples[row]:
        if ROWS[row] == "ok":
            pixels = decode(sample.data, "x").pixels
            assert pixels.dtype == np.uint8
            assert pixels.flags.c_contiguous
            np.testing.assert_allclose(pixels.astype(int), sample.pixels, rtol=0, atol=sample.tolerance)
        else:
            assert sample.pixels is None
            with pytest.raises(ImageError) as caught:
                decode(sample.data, "x")
            assert caught.value.code == ROWS[row]
            if caught.value.code == "unsupported":
                assert "convert it first" in str(caught.value)


def test_the_chinese_table_says_the_same():
    def facts(name: str) -> list[tuple[str, str]]:
        return [(row[0], row[2]) for row in table(name)]

    english, chinese = facts("formats.md"), facts("formats.zh-CN.md")
    assert chinese == [*english[:-1], ("其他", english[-1][1])]


def test_a_folder_s_suffixes_are_those_of_the_formats():
    by_format = {
        "JPEG": b".jpg .jpeg .jpe .jfif",
        "PNG": b".png",
        "WebP": b".webp",
        "BMP": b".bmp .dib",
        "TIFF": b".tif .tiff",
        "GIF": b".gif",
        "AVIF": b".avif",
        "PNM": b".ppm .pgm .pbm .pnm",
        "HEIC": b".heic .heif",
        "JPEG 2000": b".jp2",
    }
    assert set(by_format) == {name for name, _ in ROWS} - {"anything else"}
    assert {suffix for suffixes in by_format.values() for suffix in suffixes.split()} == IMAGE_SUFFIXES


def cut(data: bytes) -> set[str]:
    codes = set()
    for share in (0.3, 0.6, 0.9, 0.99):
        with pytest.raises(ImageError) as caught:
            decode(data[: int(len(data) * share)], "x")
        codes.add(caught.value.code)
    return codes


@pytest.mark.parametrize("name", ["TIFF", "GIF", "AVIF", "PNM"])
def test_cut_files_are_truncated(name, samples):
    later = ("TIFF", "several pages")  # the first page may be whole
    accepted = [row for row, ends in ROWS.items() if row[0] == name and ends == "ok" and row != later]
    assert accepted
    for row in accepted:
        for sample in samples[row]:
            assert cut(sample.data) <= {"truncated", "unsupported" if name == "AVIF" else "truncated"}, row


def test_of_several_pages_only_the_first_must_be_whole(samples):
    (pages,) = samples["TIFF", "several pages"]
    np.testing.assert_array_equal(decode(pages.data[: int(len(pages.data) * 0.6)], "x").pixels, pages.pixels)
    assert cut(pages.data[: len(pages.data) // 2]) == {"truncated"}


@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6))
@settings(max_examples=400, deadline=None)
def test_mangled_files_give_pixels_or_a_code(which, edits):
    data = bytearray(MANGLED[which % len(MANGLED)])
    for at, value in edits:
        data[at % len(data)] = value
    try:
        ends = f"ok {decode(bytes(data), 'x', DecodeLimits(max_pixels=10_000)).pixels.shape[2]}"
    except ImageError as error:
        ends = error.code
    assert ends in CODES | {"ok 3"}


MANGLED = [
    sample.data
    for make in (
        policy_samples.tiff_samples,
        policy_samples.gif_samples,
        policy_samples.avif_samples,
        policy_samples.pnm_samples,
    )
    for sample in make()
]


@pytest.mark.parametrize("name", ["PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_gives_identical_pixels(name, orientation):
    upright = policy_samples.RGB8
    stored = UNDO[orientation](upright)
    data = policy_samples.turned(np.ascontiguousarray(stored), orientation)[name]
    np.testing.assert_array_equal(decode(data, "x").pixels, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_turns_by_its_properties(orientation):
    data = policy_samples.turned(policy_samples.RGB8, orientation)["AVIF"]
    pixels = decode(data, "x").pixels
    np.testing.assert_array_equal(pixels, policy_samples.pillow(data))
    assert np.abs(UNDO[orientation](pixels).astype(int) - policy_samples.RGB8).mean() < 8  # a wrong turn: about 80


UNDO = {  # how upright pixels are stored under each orientation (EXIF 2.32, 4.6.4)
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}
