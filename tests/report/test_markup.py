"""Nothing from outside becomes markup."""

from __future__ import annotations

import html

from hypothesis import given
from hypothesis import strategies as st
from reported_runs import Page

from boxmill.report.markup import Html, Labels, Words, element, escape, foreign, join, shortened


@given(st.text())
def test_any_text_comes_back_as_text_between_tags_and_in_attributes(text: str) -> None:
    page = Page(element("p", text, title=text))
    assert [tag for tag, _ in page.tags] == ["p"]
    assert "<" not in escape(text)
    assert '"' not in escape(text)
    assert html.unescape(escape(text)).isprintable() >= text.isprintable()


def test_markup_is_not_escaped_twice_and_other_things_once() -> None:
    assert element("b", Html("<i>x</i>"), "<", 3, None, class_="a&b", data_x=None) == (
        '<b class="a&amp;b"><i>x</i>&lt;3</b>'
    )
    assert join(["a", Html("<br>")], " & ") == "a &amp; <br>"
    assert element("rect", x=1, stroke_width=2) == '<rect x="1" stroke-width="2"/>'


def test_what_html_cannot_hold_is_shown_as_something_else() -> None:
    assert escape("a\0b\x1bc\x7f\n") == "a␀b␛c␡\n"
    assert escape("\udcff") == "\\udcff"


def test_long_texts_keep_both_ends() -> None:
    assert shortened("a" * 10 + "b" * 10, 20) == "a" * 10 + "b" * 10
    assert shortened("a" * 10 + "b" * 11, 10) == "aaaaa…bbbbb"
    assert foreign("<x>" * 100, 6) == "<bdi>&lt;x&gt;…&lt;x&gt;</bdi>"


def test_words_come_in_every_language_of_the_page_once_each() -> None:
    both, only = Words(("zh", "en")), Words(("en",))
    assert both("cat", "猫") == '<span lang="zh">猫</span><span lang="en">cat</span>'
    assert only("<cat>", "猫") == "&lt;cat&gt;"
    assert both("OK", "OK") == "OK"
    assert both.plain("cat", "猫") == "猫 / cat"
    assert both.plain("x", "x") == only.plain("x", "y") == "x"


def test_labels_are_escaped() -> None:
    labels = Labels(Words(("zh", "en")), ("<dog>",), ("狗",))
    assert labels.html(0) == '<span lang="zh"><bdi>狗</bdi></span><span lang="en"><bdi>&lt;dog&gt;</bdi></span>'
    assert labels.plain(0) == "狗 / <dog>"
