"""Where the time went adds up; throughput loses no image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported_runs import START, Page, found, write_run, write_summary

from boxmill.report.facts import read_facts
from boxmill.report.markup import Words
from boxmill.report.survey import survey
from boxmill.report.timing import PAUSE, pace, stage_times, throughput

EN = Words(("en",))


@given(st.lists(st.floats(0, 200), min_size=1, max_size=300))
def test_every_image_is_in_one_bin_and_pauses_take_no_room(steps: list[float]) -> None:
    ended = START + np.cumsum(steps)
    found = pace(START, ended)
    assert found.counts.sum() == len(steps)
    working = np.diff(ended, prepend=START)
    assert len(found.counts) * found.width == pytest.approx(max(working[working <= PAUSE].sum(), 1e-3))
    assert len(found.pauses) == np.count_nonzero(working > PAUSE)
    assert all(0 <= at <= 1 + 1e-9 for at, _ in found.pauses)


def test_a_steady_run_is_flat() -> None:
    found = pace(0.0, np.arange(1, 1201) * 0.05 - 0.025)
    assert set((found.counts / found.width).round(1).tolist()) <= {19.0, 20.0, 21.0}


def test_stages_waits_and_the_rest_fill_the_bar(tmp_path: Path) -> None:
    run = write_run(tmp_path, [found(0, 1)])
    write_summary(run, 1)
    page = Page(str(stage_times(EN, read_facts(run))))
    assert [one["width"] for one in page.all("rect")] == ["250.0", "500.0", "125.0", "125.0"]
    text = page.text()
    for shown in ("decode", "wait: next input", "unexplained", "workers × wall", "2.00", "25.0%", "100.0%"):
        assert shown in text


def test_without_a_summary_there_are_no_stages(tmp_path: Path) -> None:
    run = write_run(tmp_path, [found(0, 1)])
    assert stage_times(EN, read_facts(run)) is None
    (run / "summary.json").write_text('{"status": 3')
    assert read_facts(run).summary is None


def test_throughput_says_what_it_left_out(tmp_path: Path) -> None:
    times = [START, START + 1, None, START + 4000, START + 4001]
    seen = survey(write_run(tmp_path, [found(i, 1) for i in range(5)], times=times), 5, 3)
    text = Page(str(throughput(EN, seen))).text()
    assert "Pauses of more than 60 s are left out: 1, 1 h 06 min in all" in text
    assert "Images without a time, written by an older version: 1." in text


def test_a_run_of_an_older_version_has_no_throughput(tmp_path: Path) -> None:
    seen = survey(write_run(tmp_path, [found(0, 1)], times=[None]), 1, 3)
    assert "written by an older version" in str(throughput(EN, seen))
