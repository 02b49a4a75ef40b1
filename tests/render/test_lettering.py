"""What is written: the name, or another one, and never a sign that a character is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from boxmill.coco80 import COCO80_EN, COCO80_ZH
from boxmill.render import font_advice, fonts, lettering
from boxmill.render.fonts import installed_fonts
from boxmill.render.lettering import Lettering

RARE = "\u3400"  # a Chinese character that OpenCV's own font lacks


def nothing(characters: str) -> Sequence[Path]:
    return ()


def texts(names: Sequence[str], finder: lettering.Finder = nothing) -> list[str]:
    written = Lettering(names, finder)
    return [written.label(index, None).text for index in range(len(names))]


@pytest.fixture
def without_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV as it is built without its Chinese font: it writes question marks there."""
    put = cv2.putText

    def bare(pixels: np.ndarray, text: str, *rest: object, **more: object) -> object:
        return put(pixels, "".join("?" if mark >= "\u2e80" else mark for mark in text), *rest, **more)

    monkeypatch.setattr(cv2, "putText", bare)


def test_chinese_is_written_without_any_installed_font() -> None:
    def unasked(characters: str) -> Sequence[Path]:
        raise AssertionError(f"asked for {characters}")

    assert texts(COCO80_ZH, unasked) == list(COCO80_ZH)
    assert texts(COCO80_EN, unasked) == list(COCO80_EN)
    assert font_advice(COCO80_ZH, unasked) is None
    assert font_advice(["чашка", "Hündin", "かな", "한국어", "Ωμέγα"], unasked) is None


def test_every_character_has_a_picture_of_its_own() -> None:
    marks = sorted(set("".join(COCO80_ZH)))
    drawn = set()
    for mark in marks:
        pixels = np.zeros((60, 60, 3), np.uint8)
        Lettering((mark,)).label(0, None).put(pixels, (10, 45), 32, (255, 255, 255))
        assert np.count_nonzero(pixels) > 30
        drawn.add(pixels.tobytes())
    assert len(drawn) == len(marks)


def test_the_score_has_two_decimals() -> None:
    written = Lettering(("人",))
    assert written.label(0, 0.876).text == "人 0.88"
    assert written.label(0, float("nan")).text == "人"


@pytest.mark.usefixtures("without_chinese")
def test_without_a_font_the_english_names_are_written() -> None:
    assert texts(("人", "停车计时器", "person", "仓鼠")) == ["person", "parking meter", "person", "class 3"]
    advice = font_advice(COCO80_ZH, nothing)
    assert advice is not None
    assert "English instead of '人' and 79 other names" in advice
    assert "apt install fonts-noto-cjk" in advice
    assert "class numbers instead of '仓鼠':" in (font_advice(("仓鼠",), nothing) or "")


def test_what_no_name_is_clear_without_is_left_out() -> None:
    assert texts(["cat 🐱", "👩‍👩‍👧 family", "🐱", "", "  ", "a\nb\tc\0d", "e\u0301"]) == [
        "cat", "family", "class 2", "class 3", "class 4", "a b c d", "e\u0301",
    ]  # fmt: skip


def test_scripts_that_would_come_out_wrong_are_not_tried() -> None:
    assert texts(["שלום", "مرحبا", "बिल्ली", "cat (حيوان)", "แมว", "ឆ្មា"], installed_fonts) == [
        f"class {index}" for index in range(6)
    ]
    assert "from right to left" in (font_advice(("مرحبا",), nothing) or "")


def test_long_names_are_cut() -> None:
    (latin, chinese) = texts(["x" * 500, "长" * 500])
    assert (latin, chinese) == ("x" * 31 + "…", "长" * 15 + "…")
    assert texts(["x" * 32, "长" * 16]) == ["x" * 32, "长" * 16]


def test_a_class_without_a_name() -> None:
    written = Lettering(("a",))
    assert [written.label(index, None).text for index in (0, 1, -1, 79)] == ["a", "class 1", "class -1", "class 79"]


def test_other_fonts_are_asked_for_what_is_missing_and_looked_at(tmp_path: Path) -> None:
    asked: list[str] = []
    latin = [path for path in installed_fonts("abc") if path not in installed_fonts(RARE)][:1]

    def useless(characters: str) -> Sequence[Path]:
        asked.append(characters)
        (tmp_path / "text.ttf").write_text("no font")
        return (tmp_path / "missing.ttf", tmp_path / "text.ttf", *latin)

    assert texts([RARE + "马", "a" + RARE, "马"], useless) == ["class 0", "class 1", "马"]
    assert asked == [RARE]  # once
    asked.clear()
    assert texts([chr(0x3400 + index) for index in range(99)], useless) == [f"class {index}" for index in range(99)]
    assert len(asked) == 4  # each time may take seconds


def test_a_font_of_this_machine_writes_rare_characters() -> None:
    if not installed_fonts(RARE):
        pytest.skip("no font here has U+3400")
    assert texts([f"{RARE}马"], installed_fonts) == [f"{RARE}马"]
    assert font_advice([f"{RARE}马"]) is None


def test_fontconfig_is_asked_for_the_characters() -> None:
    if shutil.which("fc-list") is None:
        pytest.skip("fontconfig is not installed")
    assert installed_fonts("\U000e0fff") == ()
    assert all(path.is_file() for path in installed_fonts("a"))


@pytest.mark.parametrize("error", [FileNotFoundError("fc-list"), subprocess.TimeoutExpired("fc-list", 5)])
def test_without_fontconfig_the_usual_folders_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*command: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(fonts, "_FOLDERS", (str(tmp_path), str(tmp_path / "nowhere")))
    names = (
        "x/wqy-microhei.ttc",
        "x/NotoSansCJK-Bold.ttc",
        "NotoSansCJK-Regular.ttc",
        "DejaVuSans.ttf",
        "wqy-zenhei.txt",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in installed_fonts("人")]
    assert found == ["NotoSansCJK-Regular.ttc", "x/NotoSansCJK-Bold.ttc", "x/wqy-microhei.ttc"]
