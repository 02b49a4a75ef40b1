"""Tables and sections of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from boxmill.report.markup import Html, element, join

__all__ = ["details", "pairs", "section", "table"]


def section(name: str, heading: Html, *parts: Html | None) -> Html:
    """A part of the page with its heading; `name` is what a link may point at."""
    return element("section", element("h2", heading), *parts, id=name)


def table(headings: Sequence[object], rows: Iterable[Sequence[object]], numeric: int | None = None) -> Html:
    """A table that scrolls by itself where it is too wide; from column `numeric` on, cells hold numbers."""
    last = len(headings) if numeric is None else numeric

    def cells(tag: str, row: Sequence[object]) -> Html:
        return element("tr", join(element(tag, c, class_="n" if i >= last else None) for i, c in enumerate(row)))

    body = element("tbody", join(cells("td", row) for row in rows))
    return element("div", element("table", element("thead", cells("th", headings)), body), class_="scroll")


def pairs(rows: Iterable[tuple[object, object]]) -> Html:
    """Names and values."""
    return element("dl", join(element("div", element("dt", name), element("dd", value)) for name, value in rows))


def details(summary: Html, *parts: Html) -> Html:
    """What opens on a click; no script is needed for it."""
    return element("details", element("summary", summary), *parts)
