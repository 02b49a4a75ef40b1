"""The whole page: one file that needs nothing else, and is forbidden to ask for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from boxmill.labels import Language
from boxmill.report.markup import Html, Words, element, foreign, join

__all__ = ["page"]

_NAMES: dict[Language, str] = {"zh": "中文", "en": "English"}


def page(words: Words, run: str, parts: Sequence[Html | None], made_by: str) -> Html:
    """The document around the sections of one run's report."""
    style, script = _resource("page.css"), _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # should a text ever get through unescaped, the browser neither runs it nor lets it ask the network
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{run} · boxmill"),
        element("style", style),
    ]
    title = element("h1", foreign(run, 80), " ", element("small", words("run report", "运行报告")))
    main = element("main", element("header", title), *parts, element("footer", made_by))
    # the script comes last: it works on what is there
    body = element("body", *_switch(words), main, element("script", script))
    language = "zh-Hans" if words.languages[0] == "zh" else "en"
    return join([Html("<!DOCTYPE html>\n"), element("html", element("head", *head), body, lang=language), "\n"])


def _switch(words: Words) -> list[Html]:
    """Two radio buttons before everything else: the style sheet shows what the checked one stands for."""
    if len(words.languages) == 1:
        return []
    buttons = []
    for language in words.languages:
        first = "" if language == words.languages[0] else None
        buttons.append(element("input", type="radio", name="language", id=f"show-{language}", checked=first))
    labels = (element("label", _NAMES[one], for_=f"show-{one}", lang=one) for one in words.languages)
    return [*buttons, element("nav", *labels)]


def _resource(name: str) -> Html:
    return Html(files("boxmill.report").joinpath(name).read_text(encoding="utf-8"))
