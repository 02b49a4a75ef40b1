"""Lengths in charts are what the numbers say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported_runs import Page

from boxmill.report.charts import Column, Mark, Part, columns, elapsed, number, seconds, stacked_bar, top_of


def widths(bar: str) -> list[float]:
    return [float(given["width"] or "nan") for given in Page(bar).all("rect")]


def test_a_bar_that_adds_up_is_full() -> None:
    shares = [0.5, 0.3, 0.15, 0.05]
    drawn = widths(stacked_bar([Part(share, "s0", "<x>") for share in shares], "times"))
    assert drawn == [1000 * share for share in shares]


def test_a_part_below_nothing_is_not_drawn_and_the_others_keep_their_proportions() -> None:
    drawn = widths(stacked_bar([Part(0.6, "s0", "a"), Part(0.6, "s1", "b"), Part(-0.2, "s2", "c")], "times"))
    assert drawn == [500.0, 500.0, 0.0]


@given(st.floats(1e-6, 1e12))
def test_an_axis_ends_at_a_round_number_not_far_above(most: float) -> None:
    top = top_of(most)
    assert most * (1 - 1e-9) <= top <= 2.5 * most
    assert round(top / 10 ** math.floor(math.log10(top)), 6) in (1, 2, 2.5, 5, 10)


def test_columns_are_as_high_as_their_values() -> None:
    values = [Column(0, "a"), Column(50, "b"), Column(100, "c")]
    page = Page(columns(values, ["0", "<1>"], "rates", [Mark(0.25, "here")], level=75))
    assert [float(one["height"] or "nan") for one in page.all("rect")] == [0, 100, 200]
    lines = {one["class"]: one for one in page.all("line")}
    assert (lines["mark"]["x1"], lines["level"]["y1"]) == ("250.0", "50.0")
    assert "<1>" in page.text()


def test_an_axis_of_nothing_has_a_length() -> None:
    assert top_of(0) == 1
    assert Page(columns([], [], "nothing")).all("rect") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 s"),
        (0.0123, "12 ms"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (7265, "2 h 01 min"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def test_an_axis_of_time_has_one_form() -> None:
    assert [elapsed(at, 1) for at in (0, 0.25, 1)] == ["0.00 s", "0.25 s", "1.00 s"]
    assert [elapsed(at, 30) for at in (0, 7.5)] == ["0 s", "8 s"]
    assert [elapsed(at, 150) for at in (0, 75)] == ["0:00", "1:15"]
    assert [elapsed(at, 7200) for at in (0, 3661)] == ["0:00:00", "1:01:01"]


def test_numbers() -> None:
    assert [number(value) for value in (0, 5.0, 0.126, 12.34, 99.96, 1234.5)] == [
        "0", "5", "0.126", "12.3", "100", "1,234",
    ]  # fmt: skip
