"""Files named after an image without its suffix: which names meet, and that it is said."""

from __future__ import annotations

import pytest

from boxmill.errors import UsageError
from boxmill.store import check_stems
from boxmill.store.stems import stem


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.jpg", "a"), ("sub.d/a.b.jpeg", "sub.d/a.b"), ("sub.d/a", "sub.d/a"), (".hidden", ".hidden"),
        ("sub/.hidden", "sub/.hidden"), ("图.片/人.PNG", "图.片/人"), ("clip.mp4#000123", "clip.mp4#000123"),
        ("photos.zip!/x.jpg", "photos.zip!/x"), ("long.na-0123456789abcdef", "long.na-0123456789abcdef"), ("a.", "a."),
    ],
)  # fmt: skip
def test_a_stem_is_the_key_without_its_suffix(key: str, expected: str) -> None:
    assert stem(key) == expected


def test_different_stems_are_fine() -> None:
    check_stems(["a.jpg", "b.jpg", "sub/a.png", "sub/a.b.jpg", "clip.mp4#000001", "clip.mp4#000002"], ".json", "--flag")


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.jpg", "a.png"), ("sub/人.jpg", "sub/人.webp"), ("A.jpg", "a.png"), ("a.jpg", "a.json/b.jpg"),
     ("a.json.tmp/c/b.jpg", "a.jpg")],
)  # fmt: skip
def test_stems_that_meet_are_refused_and_both_are_named(first: str, second: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_stems(["other.jpg", first, second], ".json", "--json-names stem")
    assert all(word in str(refused.value) for word in (repr(first), repr(second), "--json-names stem"))
