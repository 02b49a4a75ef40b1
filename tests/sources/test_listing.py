"""What each kind of source lists, and under which keys."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

import pytest

from boxmill.errors import ImageError, SourceError
from boxmill.sources import list_source, read_file
from boxmill.sources.globs import matching_files


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_folder_is_recursive_sorted_and_takes_images_only(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "商品/图 1.webp", "商品/深/x.bmp", "notes.txt", ".hidden.jpg", "no_suffix")
    listing = list_source(tmp_path)
    assert listing.keys == ["a.PNG", "b.jpg", "商品/图 1.webp", "商品/深/x.bmp"]
    assert listing.name == tmp_path.name
    assert listing.skipped == {".txt": 1, "hidden": 1, "without suffix": 1}
    assert [item.read() for item in listing] == [key.encode() for key in listing.keys]
    assert [item.index for item in listing] == [0, 1, 2, 3]


def test_undecodable_formats_are_listed_so_that_they_fail_visibly(tmp_path: Path) -> None:
    touch(tmp_path, "scan.tiff", "loop.gif", "phone.heic")
    assert list_source(tmp_path).keys == ["loop.gif", "phone.heic", "scan.tiff"]


def test_same_stem_and_same_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "sub/a.jpg")
    assert list_source(tmp_path).keys == ["a.jpg", "a.png", "sub/a.jpg"]


def test_single_file_and_its_content(tmp_path: Path) -> None:
    touch(tmp_path, "photo.jpg")
    listing = list_source(str(tmp_path / "photo.jpg"))
    assert listing.keys == ["photo.jpg"]
    assert listing.item(0).read() == b"photo.jpg"
    assert listing.name == "photo.jpg"


def test_glob_keys_are_relative_to_its_fixed_part(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/deep/b.jpg", "in/deep/c.png", "out/d.jpg")
    assert list_source(f"{tmp_path}/in/**/*.jpg").keys == ["a.jpg", "deep/b.jpg"]
    assert list_source(f"{tmp_path}/*/a.jpg").keys == ["in/a.jpg"]


@pytest.mark.parametrize(
    "pattern",
    ["*", "*.jpg", "**", "**/*.jpg", "in/**", "**/deep/**/*", "*/*/?.jpg", "in/.h*/*", "**/.*", "in/[[]x]/*",
     "link/*.jpg", "l*/*.jpg", "in/deep/../*.jpg", "in//deep/*", "in/*/", "none/*", "[!a]*/*/b*"],
)  # fmt: skip
def test_a_glob_matches_what_pythons_does(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, "a.jpg", "in/a.jpg", "in/deep/b.jpg", "in/deep/.c.jpg", "in/.hidden/d.jpg", "in/[x]/e.jpg")
    (tmp_path / "link").symlink_to("in")
    path = os.fsencode(f"{tmp_path}/{pattern}")
    expected = {os.path.normpath(one) for one in glob.glob(path, recursive=True) if os.path.isfile(one)}
    if "**" in pattern:  # the one difference
        expected = {one for one in expected if b"/link/" not in one}
    assert {os.path.normpath(one) for one in matching_files(path)} == expected


def test_loops_of_symbolic_links_end(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/deep/b.jpg")
    for name in ("in/one", "in/two", "in/deep/three"):
        (tmp_path / name).symlink_to(tmp_path / "in")
    assert list_source(f"{tmp_path}/in/**/*.jpg").keys == ["a.jpg", "deep/b.jpg"]
    assert list_source(f"{tmp_path}/in/**/**/*.jpg").keys == ["a.jpg", "deep/b.jpg"]
    assert list_source(tmp_path / "in").keys == ["a.jpg", "deep/b.jpg"]
    assert list_source(tmp_path / "in").skipped == {"symbolic link": 3}


def test_glob_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    listing = list_source("*.jpg")
    assert listing.keys == ["a.jpg", "b.jpg"]
    assert listing.item(1).read() == b"b.jpg"


def test_a_name_with_brackets_is_not_a_glob_when_it_exists(tmp_path: Path) -> None:
    touch(tmp_path, "shot[1].jpg")
    assert list_source(tmp_path / "shot[1].jpg").keys == ["shot[1].jpg"]


def test_list_file_takes_relative_absolute_and_outside_paths(tmp_path: Path) -> None:
    touch(tmp_path, "data/a.jpg", "data/sub/b.jpg", "elsewhere/c.jpg")
    outside = tmp_path / "elsewhere" / "c.jpg"
    lines = ["\ufeffa.jpg", "", f"{tmp_path}/data/sub/b.jpg", "a.jpg", "../elsewhere/c.jpg", "gone.jpg"]
    (tmp_path / "data/list.txt").write_text("\r\n".join(lines), encoding="utf-8")
    listing = list_source(tmp_path / "data/list.txt")
    inside = [key for key in listing.keys if not key.startswith("ext/")]
    external = [key for key in listing.keys if key.startswith("ext/")]
    assert inside == ["a.jpg", "gone.jpg", "sub/b.jpg"]
    assert len(external) == 1
    assert external[0].endswith("-c.jpg")
    assert Path(os.fsdecode(listing.path(external[0]))) == outside
    assert listing.skipped == {"listed twice": 1}
    assert listing.name == "list"


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "real/loop").symlink_to(tmp_path / "real")
    (tmp_path / "real/link.jpg").symlink_to(tmp_path / "real/a.jpg")
    listing = list_source(tmp_path / "real")
    assert listing.keys == ["a.jpg"]
    assert listing.skipped == {"symbolic link": 2}


def test_bytes_that_are_not_utf8_and_percent_signs_are_encoded(tmp_path: Path) -> None:
    for name in (b"100%.jpg", b"caf\xe9.jpg"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(name)
    listing = list_source(tmp_path)
    assert listing.keys == ["100%25.jpg", "caf%E9.jpg"]
    assert [item.read() for item in listing] == [b"100%.jpg", b"caf\xe9.jpg"]


def test_names_that_differ_only_in_case_get_distinct_keys_everywhere(tmp_path: Path) -> None:
    touch(tmp_path, "A.jpg", "a.jpg", "b.jpg")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system folds case")
    listing = list_source(tmp_path)
    folded = {key.casefold() for key in listing.keys}
    assert len(folded) == 3
    assert "b.jpg" in listing.keys
    assert sorted(item.read() for item in listing) == [b"A.jpg", b"a.jpg", b"b.jpg"]


def test_long_names_are_shortened_within_the_limit(tmp_path: Path) -> None:
    name = "长" * 80 + ".jpg"  # 244 bytes
    touch(tmp_path, name)
    listing = list_source(tmp_path)
    assert len(listing.keys[0].encode()) <= 120
    assert listing.keys[0].startswith("长" * 33)
    assert listing.item(0).read() == name.encode()


def test_a_folder_named_like_a_result_does_not_collide_with_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.jpg.json/b.jpg")
    keys = list_source(tmp_path).keys
    assert "a.jpg" in keys
    assert not any(key.startswith("a.jpg.json/") for key in keys)


def test_a_vanished_file_is_noticed_at_reading_not_at_listing(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    listing = list_source(tmp_path)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        listing.item(0).read()


def test_missing_and_empty_sources_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"source not found: .*expected an image, a folder, an archive, a glob or"):
        list_source(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="no images found"):
        list_source(f"{tmp_path}/*.jpg")
    touch(tmp_path, "a.txt", "b.txt", "c.pdf")
    with pytest.raises(SourceError, match=r"no images found in .*looked for .*\.jpg.*passed over 2 \.txt, 1 \.pdf"):
        list_source(tmp_path)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(ImageError, match="found a pipe, a socket or a device") as caught:
            read_file(os.fsencode(path))
        assert caught.value.code == "unsupported"


def test_a_folder_where_a_sibling_is_written_gets_another_key(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.jpg.json.tmp/b.jpg", "a.jpg.json/c.jpg")
    keys = list_source(tmp_path).keys
    assert keys[0] == "a.jpg"
    assert all(re.fullmatch(r"a\.jpg\.json(\.tmp)?-[0-9a-f]{16}/[bc]\.jpg", key) for key in keys[1:])
    pictures = tmp_path / "pictures"
    touch(pictures, "a.jpg", "a.jpg.jpg/b.jpg", "a.jpg.jpg.tmp/c.jpg", "other.jpg/d.jpg")
    first, *middle, last = list_source(pictures).keys
    assert (first, last) == ("a.jpg", "other.jpg/d.jpg")
    assert all(re.fullmatch(r"a\.jpg\.jpg(\.tmp)?-[0-9a-f]{16}/[bc]\.jpg", key) for key in middle)
