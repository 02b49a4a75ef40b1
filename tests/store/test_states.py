"""Where every input stands, whatever mixture of segments tells it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import NAMES, failed, found

from boxmill.store import FAILED, OK, OPEN, Attempt, Entry, Journal, States, load, recover
from boxmill.store.contents import Contents
from boxmill.store.journal import segments
from boxmill.types import Outcome


def write(directory: Path, epoch: int, writer: int, contents: list[Outcome | Attempt], *, close: bool = True) -> None:
    journal = Journal(directory, epoch, writer, segment_bytes=3000)
    for content in contents:
        journal.commit([Entry.of(content)])
    if close:
        journal.close()


def test_sealed_and_unsealed_segments_together(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [found(i) for i in range(20)])
    write(tmp_path, 1, 2, [found(i) for i in range(20, 27)] + [failed(27)], close=False)
    write(tmp_path, 1, 0, [Attempt(28, "x", 1, "crashed"), Attempt(28, "x", 2, "timeout")], close=False)
    states = load(tmp_path, 30)
    assert states.status == bytes([OK] * 27 + [FAILED] + [OPEN] * 2)
    assert states.attempts == {28: 2}
    assert states.damage == []
    assert states.finished() == 28
    recover(tmp_path)
    assert all(segment.sealed for segment in segments(tmp_path))
    again = load(tmp_path, 30)
    assert (again.status, again.attempts, again.counts) == (states.status, states.attempts, states.counts)
    tally = again.tally()
    assert (tally.processed, tally.failed, tally.objects, dict(tally.by_code)) == (27, 1, 81, {"truncated": 1})
    assert tally.document(NAMES)["failed"]["first"][0]["image"] == "sub/000027.jpg"


def test_a_retry_supersedes_a_failure_and_nothing_supersedes_a_result(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [failed(0), failed(1, "memory"), failed(2), found(3)])
    write(tmp_path, 2, 1, [found(0), failed(1, "timeout")])
    states = load(tmp_path, 4)
    assert states.status == bytes([OK, FAILED, FAILED, OK])
    assert dict(states.tally().by_code) == {"timeout": 1, "truncated": 1}
    assert [(index, failure.code) for index, failure in states.tally().failures] == [(1, "timeout"), (2, "truncated")]
    assert states.damage == []
    write(tmp_path, 3, 1, [failed(3)])
    assert load(tmp_path, 4).status[3] == OK


def test_two_results_for_one_input_are_damage(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [found(3)])
    write(tmp_path, 1, 2, [found(3)])
    states = load(tmp_path, 4)
    assert states.status == bytes([OPEN, OPEN, OPEN, OK])
    assert "1 inputs have a result already, such as 3" in states.damage[0]


def test_two_results_for_one_input_in_one_segment_are_damage(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [found(3, 1), found(3, 1)])
    assert "2 results for 1 inputs" in load(tmp_path, 4).damage[0]


def test_records_beyond_the_manifest_are_damage(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [found(1), found(9)])
    states = load(tmp_path, 4)
    assert states.status == bytes([OPEN, OK, OPEN, OPEN])
    assert "input 9, but there are 4 inputs" in states.damage[0]


def test_attempts_start_anew_after_a_failure(tmp_path: Path) -> None:
    deaths: list[Outcome | Attempt] = [Attempt(5, "x", n, "crashed") for n in (1, 2, 3)]
    write(tmp_path, 1, 0, [*deaths, Attempt(6, "y", 1, "crashed")])
    assert load(tmp_path, 9).attempts == {5: 3, 6: 1}
    write(tmp_path, 2, 0, [failed(5, "crashed")])
    assert load(tmp_path, 9).attempts == {6: 1}
    write(tmp_path, 3, 0, [Attempt(5, "x", 1, "timeout")])
    assert load(tmp_path, 9).attempts == {5: 1, 6: 1}


def test_reopening_the_failed_ones(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [failed(0), found(1), failed(2)])
    states = load(tmp_path, 4)
    assert states.reopen_failed() == 2
    assert states.status == bytes([OPEN, OK, OPEN, OPEN])


def test_what_a_dead_writer_left_is_absorbed(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [found(i) for i in range(10)])
    states = load(tmp_path, 40)
    write(tmp_path, 2, 1, [found(i) for i in range(10, 30)], close=False)
    recover(tmp_path, (2, 1))
    states.absorb(tmp_path, 2, 1)
    assert states.status == load(tmp_path, 40).status == bytes([OK] * 30 + [OPEN] * 10)
    assert states.counts == load(tmp_path, 40).counts


def test_a_sealed_segment_without_its_footer_gives_what_is_whole_and_is_reported(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, [found(0), found(1)])
    (segment,) = segments(tmp_path)
    os.truncate(segment.path, os.path.getsize(segment.path) - 1)
    states = load(tmp_path, 3)
    assert states.status == bytes([OK, OK, OPEN])
    assert "seg-1-1-0.jsonl: expected a footer" in states.damage[0]


def test_a_run_without_a_journal_is_all_open(tmp_path: Path) -> None:
    assert load(tmp_path, 3).status == bytes(3)


@given(st.lists(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["ok", "a", "b"])), max_size=12), max_size=5))
def test_merging_equals_the_obvious_way(parts: list[list[tuple[int, str]]]) -> None:
    states, obvious = States.empty(31), dict[int, str]()
    for part in parts:
        contents = Contents()
        for index, kind in part:
            if obvious.get(index) != "ok":  # the engine never works on an input with a result
                contents.add_outcome(found(index, 1) if kind == "ok" else failed(index, kind))
                obvious[index] = kind
        states.merge(contents)
    assert {i: s for i, s in enumerate(states.status) if s} == {
        index: OK if kind == "ok" else FAILED for index, kind in obvious.items()
    }
    tally = states.tally()
    kinds = list(obvious.values())
    assert (tally.processed, tally.objects, tally.failed) == (kinds.count("ok"),) * 2 + (
        len(kinds) - kinds.count("ok"),
    )
    assert dict(tally.by_code) == {kind: kinds.count(kind) for kind in ("a", "b") if kind in kinds}
    assert states.damage == []


@pytest.mark.parametrize("pattern", [1, 2])
def test_a_hundred_thousand_inputs_in_footers(tmp_path: Path, pattern: int) -> None:
    """Every second one failed, the worst for run lengths, or none."""
    one, bad = Entry.of(found(0, 0)), Entry.of(failed(0))
    journal = Journal(tmp_path, 1, 1, segment_bytes=4 << 20)
    for first in range(0, 100_000, 5000):
        journal.commit([_numbered(bad if i % 2 >= pattern else one, i) for i in range(first, first + 5000)])
    journal.close()
    states = load(tmp_path, 100_001)
    assert states.finished() == 100_000
    assert states.tally().failed == (50_000 if pattern == 1 else 0)
    assert len(states.tally().failures) == (1000 if pattern == 1 else 0)


def _numbered(entry: Entry, index: int) -> Entry:
    outcome = entry.content
    assert isinstance(outcome, Outcome)
    line = entry.line.replace(b'"i":0', b'"i":%d' % index, 1)
    return Entry(line, Outcome(outcome.key, index, outcome.result, outcome.size, outcome.times))
