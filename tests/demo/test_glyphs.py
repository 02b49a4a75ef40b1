"""The font: found, complete, and missed with a message that helps."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from drawn import bitmap

from boxmill.demo import glyphs
from boxmill.demo.glyphs import draw_glyph, every_glyph, load_atlas, sheet
from boxmill.errors import SourceError


def test_every_glyph_is_in_the_font_and_no_two_look_alike(font: Path) -> None:
    atlas = load_atlas(font)
    assert set(atlas.glyphs) == set(every_glyph())
    assert len({glyph.levels[0].tobytes() for glyph in atlas.glyphs.values()}) == len(atlas.glyphs)
    for glyph in atlas.glyphs.values():
        assert max(glyph.size) >= 60
        for level in glyph.levels:
            assert (level[:, :, :3].max(2) <= level[:, :, 3].astype(int) + 1).all()  # multiplied by alpha
        rows, columns = np.nonzero(glyph.levels[0][:, :, 3] >= 128)
        assert (rows.min(), columns.min()) == (0, 0)
        assert (columns.max() + 1, rows.max() + 1) == glyph.size


def test_a_character_that_the_font_lacks_is_named(font: Path) -> None:
    with pytest.raises(SourceError, match=r"U\+3042"):
        draw_glyph(font, "あ")


def test_a_file_that_is_no_font_is_named(font: Path, tmp_path: Path) -> None:
    (tmp_path / "no.ttf").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"no\.ttf"):
        draw_glyph(tmp_path / "no.ttf", "x")


def test_without_the_font_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(glyphs, "_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="apt-get install fonts-noto-color-emoji"):
        glyphs.find_font()


def test_fontconfig_is_asked_where_the_usual_places_have_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = tmp_path / "Emoji.ttf"
    there.write_bytes(b"")
    listing = tmp_path / "fc-list"
    listing.write_text(f'#!/bin/sh\necho "{tmp_path}/gone.ttf"\necho "{there}"\n')
    listing.chmod(0o755)
    monkeypatch.setattr(glyphs, "_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert glyphs.find_font() == there


def test_without_pillow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SourceError, match=r"boxmill\[demo\]"):
        draw_glyph(tmp_path / "any.ttf", "x")


@pytest.fixture
def drawn_font(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A font that every machine has."""
    monkeypatch.setattr(glyphs, "draw_glyph", lambda font, character: bitmap(character))
    return Path("drawn.ttf")


def test_a_sheet_stands_for_the_font(drawn_font: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "glyphs.npz").write_bytes(sheet(drawn_font))
    expected = load_atlas(drawn_font)
    monkeypatch.setattr(glyphs, "draw_glyph", None)
    found = load_atlas(tmp_path / "glyphs.npz")
    assert found.glyphs.keys() == expected.glyphs.keys()
    for character, glyph in expected.glyphs.items():
        assert [one.tobytes() for one in found[character].levels] == [one.tobytes() for one in glyph.levels]


def test_a_sheet_that_lacks_a_glyph_or_is_none_is_named(drawn_font: Path, tmp_path: Path) -> None:
    (tmp_path / "short.npz").write_bytes(sheet(drawn_font, "ab"))
    with pytest.raises(SourceError, match=r"short\.npz.*U\+0063"):
        load_atlas(tmp_path / "short.npz", "abc")
    (tmp_path / "none.npz").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"none\.npz"):
        load_atlas(tmp_path / "none.npz")
    np.savez(tmp_path / "flat.npz", **{"U+0061": np.zeros((4, 4))})
    with pytest.raises(SourceError, match=r"U\+0061 is float64 \(4, 4\)"):
        load_atlas(tmp_path / "flat.npz", "a")
