"""The supervisor's view: workers come and go, and what they left is known exactly once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outcomes import NAMES, found, name

from boxmill.errors import OutputError
from boxmill.store import (
    Entry,
    Journal,
    JsonFiles,
    NewInput,
    RunLedger,
    States,
    Tail,
    load,
    next_epoch,
    recover,
    verify,
)
from boxmill.store import write_manifest as freeze

TOTAL = 10


@pytest.fixture
def run(tmp_path: Path) -> Path:
    freeze(tmp_path / "manifest-0.jsonl", b"/photos", (NewInput(name(i), None, 1, 2) for i in range(TOTAL)))
    return tmp_path


def work(run: Path, epoch: int, writer: int, indices: range) -> None:
    """A worker that is killed."""
    Journal(run, epoch, writer).commit([Entry.of(found(index)) for index in indices])


def agrees(states: States, run: Path) -> bool:
    """Whether what is known equals what the journal says."""
    loaded = load(run, TOTAL)
    return (states.status, states.attempts, states.counts, states.tally().by_code) == (
        loaded.status,
        loaded.attempts,
        loaded.counts,
        loaded.tally().by_code,
    )


def test_deaths_are_counted_across_starts_and_end_in_a_failure(run: Path) -> None:
    states = load(run, TOTAL)
    ledger = RunLedger(run, next_epoch(run), states, JsonFiles(run, NAMES))
    work(run, 1, ledger.next_writer(), range(4))
    ledger.refresh()
    ledger.refresh()
    assert [ledger.finished(index) for index in (3, 4)] == [True, False]
    ledger.record_attempt(4, "crashed")
    assert agrees(states, run)
    work(run, 1, ledger.next_writer(), range(5, 7))
    ledger.refresh()
    ledger.record_attempt(4, "timeout")
    assert agrees(states, run)
    assert states.finished() == 6  # and then the supervisor is killed

    recover(run)
    states = load(run, TOTAL)
    ledger = RunLedger(run, next_epoch(run), states, JsonFiles(run, NAMES))
    assert ledger.attempts(4) == 2
    assert ledger.attempts(5) == 0
    ledger.record_attempt(4, "crashed")
    ledger.record_failure(4, "crashed", "the worker died of signal 11 three times")
    assert ledger.finished(4)
    assert ledger.attempts(4) == 0
    ledger.close()
    assert agrees(states, run)
    document = json.loads((run / "json" / f"{name(4)}.json").read_bytes())
    assert document["failure"]["code"] == "crashed"
    assert states.damage == []
    assert [finding.message for finding in verify(run, json_files=False)] == ["3 of 10 inputs have no outcome yet"]


def test_a_supervisor_that_cannot_write_says_so_and_counts_nothing(run: Path) -> None:
    (run / "journal").write_text("")
    states = States.empty(TOTAL)
    ledger = RunLedger(run, 1, states)
    with pytest.raises(OutputError):
        ledger.record_attempt(4, "crashed")
    assert ledger.attempts(4) == 0
    ledger.close()


def test_workers_at_two_places_are_taken_in_one_by_one(run: Path) -> None:
    states = load(run, TOTAL)
    ledger, tail = RunLedger(run, 1, states), Tail(run, 1)
    first, second = ledger.next_writer(0), ledger.next_writer(1)
    alive = Journal(run, 1, first)
    alive.commit([Entry.of(found(index)) for index in (0, 1)])
    work(run, 1, second, range(2, 5))
    kept = {0: 2, 1: 0}  # what the workers have acknowledged: the second one's frame may not be on the disk
    assert [outcome.index for outcome in tail.outcomes(ledger.durable(kept.__getitem__))] == [0, 1]
    ledger.refresh(1)
    assert ledger.counts() == (3, 0)
    assert not ledger.finished(0)  # the first is at work: its segment is not touched
    assert [outcome.index for outcome in tail.outcomes(ledger.durable(kept.__getitem__))] == [2, 3, 4]
    third = ledger.next_writer(1)
    alive.commit([Entry.of(found(5))])
    work(run, 1, third, range(6, 7))
    assert list(tail.outcomes({})) == []
    ledger.refresh_all()
    assert ledger.counts() == (7, 0)
    assert agrees(states, run)
    assert [outcome.index for outcome in tail.outcomes(None)] == [5, 6]
    assert tail.told == 7
