"""What is kept at a low threshold and seen at a higher one is what a run at the higher one gives, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import NAMES, failed, found, name, same

from boxmill.post import Postprocessor
from boxmill.store import Entry, Journal, Manifest, NewInput, load, recover, replay, run_tally, seen, verify
from boxmill.store import write_manifest as write
from boxmill.store.records import decode, encode
from boxmill.types import Detections, HeadSpec, Outcome, Tags

LOW, HIGH = 0.05, 0.25


def at(raw: np.ndarray, head: HeadSpec, conf: float, **options: object) -> Outcome:
    return Outcome("a", 0, Postprocessor(head, conf=conf, **options)(raw, (64, 64))[0], (64, 64))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    head=st.sampled_from(["yolo", "yolov5"]),
    max_det=st.sampled_from([1, 5, 300]),
    max_nms=st.sampled_from([1, 20, 30000]),
    multi_label=st.booleans(),
    steps=st.sampled_from([0, 20]),
    high=st.sampled_from([LOW, 0.1, HIGH, 0.3, 0.9, 1.0]),
)
def test_a_view_is_the_run_at_that_threshold(
    seed: int, head: str, max_det: int, max_nms: int, multi_label: bool, steps: int, high: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.random((4 + (head == "yolov5") + 3, 80)).astype(np.float32)
    rows[:4] *= 40
    if steps:  # ties, also with the thresholds
        rows[4:] = np.round(rows[4:] * steps) / steps
    raw = rows[None] if head == "yolo" else np.ascontiguousarray(rows.T)[None]
    options = {"max_det": max_det, "max_nms": max_nms, "multi_label": multi_label}
    kept = at(raw, HeadSpec(head), LOW, **options)
    expected = at(raw, HeadSpec(head), high, **options)
    assert same(seen(kept, high), expected)
    assert same(seen(decode(encode(kept, 1, high)).outcome(), high), expected)


def test_an_outcome_without_threshold_and_a_failure_are_seen_as_they_are() -> None:
    for outcome in (found(1), failed(2)):
        assert seen(outcome, None) is outcome
    assert seen(failed(2), 0.5).result == failed(2).result


def test_tags_above_the_threshold_are_seen() -> None:
    tags = Tags(np.array([4, 2, 9], np.int32), np.array([0.7, 0.3, 0.1], np.float32), nan=2)
    shown = seen(Outcome("a", 0, tags), 0.3).result
    assert isinstance(shown, Tags)
    assert shown.classes.tolist() == [4]  # float32(0.3) is not above float32(0.3)
    assert shown.nan == 2


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three results, of whose objects only some are shown, in a sealed and an unsealed segment; one failure."""
    write(tmp_path / "manifest-0.jsonl", b"/photos", (NewInput(name(i), None, 1, 2) for i in range(4)))
    first, second = Journal(tmp_path, 1, 1), Journal(tmp_path, 1, 2)
    first.commit([Entry.of(one, 1, HIGH) for one in (found(0, 9, cut=0.1), found(1, 8, cut=0.4))])
    first.close()
    second.commit([Entry.of(failed(2)), Entry.of(found(3, 7), 1, HIGH)])
    return tmp_path


def expected() -> list[Detections]:
    results = [seen(one, HIGH).result for one in (found(0, 9, cut=0.1), found(1, 8, cut=0.4), found(3, 7))]
    return [result for result in results if isinstance(result, Detections)]


def test_only_what_is_shown_is_counted_by_footers_scans_and_recovery(run: Path) -> None:
    objects = sum(map(len, expected()))
    assert 0 < objects < 24
    scanned = load(run, 4).counts
    recover(run)
    for counts in (scanned, load(run, 4).counts):
        assert (counts.processed, counts.objects, counts.truncated) == (3, objects, 1)
        assert sum(counts.by_class.values()) == objects
    assert verify(run, json_files=False) == []


def test_the_journal_keeps_all_and_shows_what_is_above(run: Path) -> None:
    records = list(replay(run, 4))
    assert [len(record.det) for record in records] == [9, 8, 0, 7]
    shown = [record.seen() for record in records if record.status == "ok"]
    assert all(
        same(one, replace(one, result=result)) and len(result) == len(one.result)
        for one, result in zip(shown, expected(), strict=True)
    )
    results = run_tally(run, load(run, Manifest(run).total), NAMES).document(NAMES)["results"]
    assert [len(row.get("objects", ())) for row in results] == [
        len(expected()[0]),
        len(expected()[1]),
        0,
        len(shown[2].result),
    ]
