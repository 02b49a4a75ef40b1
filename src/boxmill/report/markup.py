"""HTML from Python: everything is escaped, except what was made here; and one page that speaks two languages."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

from boxmill.labels import Language
from boxmill.store import printable

__all__ = ["Html", "Labels", "Words", "element", "escape", "foreign", "join", "shortened"]

_VOID = frozenset(
    {"input", "meta", "rect", "line", "image"}
)  # HTML's without an end tag, and SVG's that close themselves
_MOST_SHOWN = 160  # characters of a text from outside

# Control characters are not allowed in HTML, and NUL would become U+FFFD: shown by Unicode's pictures of them.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"} | {127: 0x2421}


class Html(str):
    """Markup; any other text is escaped when it becomes a part of it."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Text as markup that shows it, also within a quoted attribute; Html as it is."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(printable(str(value)).translate(_CONTROLS), quote=True))


def join(parts: Iterable[object], between: str = "") -> Html:
    """One after the other."""
    return Html(escape(between).join(map(escape, parts)))


def element(tag: str, /, *children: object, **attributes: object) -> Html:
    """`<tag attributes>children</tag>`.

    Children and the attributes' values are escaped; None leaves either out. An attribute's name is written with `_` for
    `-`, and a trailing `_` where it is a word of Python.
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{named}/>")
    return Html(f"<{tag}{named}>{join(child for child in children if child is not None)}</{tag}>")


def shortened(text: str, most: int = _MOST_SHOWN) -> str:
    """The text, or its beginning and its end where it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2) :]}"


def foreign(text: str, most: int = _MOST_SHOWN) -> Html:
    """A text from outside, such as a file's name: set apart, so that what is written right to left stays within it."""
    return element("bdi", shortened(text, most))


@dataclass(frozen=True, slots=True)
class Words:
    """Says everything in each of the page's languages; the style sheet shows one of them."""

    languages: tuple[Language, ...]  # the first is the one that is shown at first

    def __call__(self, en: object, zh: object) -> Html:
        """Markup."""
        texts: dict[Language, Html] = {"en": escape(en), "zh": escape(zh)}
        if len(self.languages) == 1 or texts["en"] == texts["zh"]:
            return texts[self.languages[0]]
        return join(element("span", texts[language], lang=language) for language in self.languages)

    def plain(self, en: str, zh: str) -> str:
        """Text for places that hold no markup, such as attributes: both, one after the other."""
        texts: dict[Language, str] = {"en": en, "zh": zh}
        return " / ".join(dict.fromkeys(texts[language] for language in self.languages))


@dataclass(frozen=True, slots=True)
class Labels:
    """What classes are called, by class id."""

    words: Words
    en: tuple[str, ...]
    zh: tuple[str, ...]

    def html(self, class_id: int) -> Html:
        """Markup."""
        return self.words(foreign(self.en[class_id], 60), foreign(self.zh[class_id], 60))

    def plain(self, class_id: int) -> str:
        """For attributes and SVG."""
        return self.words.plain(shortened(self.en[class_id], 60), shortened(self.zh[class_id], 60))
