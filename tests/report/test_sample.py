"""Which images are shown."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from reported_runs import failed, found, write_run

from boxmill.report.sample import pick
from boxmill.report.survey import Survey, survey
from boxmill.types import Outcome


def made(tmp_path: Path) -> tuple[list[Outcome], Survey]:
    """300 images: 20 failed with three codes, 40 without objects, 10 at a limit."""
    outcomes = []
    for i in range(300):
        if i % 15 == 0:
            outcomes.append(failed(i, ("truncated", "corrupt", "empty")[0 if i < 200 else 1 + i % 2]))
        else:
            outcomes.append(found(i, 0 if i % 7 == 0 else 1 + i % 9, cut=0.3 if i % 30 == 1 else None))
    return outcomes, survey(write_run(tmp_path, outcomes), 300, 3)


@pytest.mark.parametrize("most", [0, 1, 9, 60, 1000])
def test_no_image_is_shown_twice_and_no_more_than_asked_for(tmp_path: Path, most: int) -> None:
    _, seen = made(tmp_path)
    every = [index for one in pick(seen, most) for index in one.indices]
    assert len(every) == len(set(every)) <= most
    assert len(every) >= min(most, 280)


def test_every_group_shows_what_it_says(tmp_path: Path) -> None:
    _, seen = made(tmp_path)
    groups = {one.group.name: one for one in pick(seen, 60)}
    assert set(groups) == {"even", "most", "lowest", "cut", "slowest", "empty", "failed"}
    assert groups["failed"].of == 20
    codes = [seen.states.codes[seen.states.failure[index]] for index in groups["failed"].indices]
    assert set(codes[:3]) == {"truncated", "corrupt", "empty"}
    assert all(seen.count[index] == 0 for index in groups["empty"].indices)
    assert all(index % 30 == 1 for index in groups["cut"].indices)
    assert {seen.count[index] for index in groups["most"].indices} == {9}
    shown = set(groups["most"].indices) | set(groups["cut"].indices)
    rest = [i for i in range(300) if seen.count[i] and i not in shown]
    assert groups["lowest"].indices == sorted(rest, key=lambda i: seen.lowest[i])[:8]
    even = groups["even"].indices
    assert even == sorted(even)
    assert len(even) == 60 - sum(len(one.indices) for name, one in groups.items() if name != "even")
    steps = [b - a for a, b in pairwise(even)]
    assert max(steps) < 3 * 300 / len(even)


def test_a_small_run_is_shown_whole(tmp_path: Path) -> None:
    outcomes = [found(0, 2), failed(1), found(2, 0)]
    seen = survey(write_run(tmp_path, outcomes, open_inputs=1), 4, 3)
    assert sorted(index for one in pick(seen, 60) for index in one.indices) == [0, 1, 2]
