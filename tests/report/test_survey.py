"""What is counted in one pass equals what is counted one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reported_runs import START, failed, found, tagged, write_run

from boxmill.report import survey as room
from boxmill.report.survey import SCORE_BINS, survey
from boxmill.store import Entry, Journal
from boxmill.types import Detections


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_counts_equal_those_of_the_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(room, "_CHUNK", chunk)
    outcomes = [failed(i) if i % 5 == 4 else found(i, i % 4, cut=0.3 if i % 7 == 3 else None) for i in range(40)]
    seen = survey(write_run(tmp_path, outcomes, open_inputs=2), 42, 3)
    results = {one.index: one.result for one in outcomes if isinstance(one.result, Detections)}
    assert seen.total == 42
    assert seen.count.tolist() == [len(results.get(i, ())) for i in range(42)]
    assert seen.cut.tolist() == [i in results and results[i].cut is not None for i in range(42)]
    for index in range(42):
        scores = results[index].scores if index in results else np.empty(0, np.float32)
        assert seen.lowest[index] == scores.min() if len(scores) else np.isnan(seen.lowest[index])
    assert seen.spent.tolist() == [1.0 if i % 5 == 4 else 10.0 for i in range(40)] + [0.0, 0.0]
    for class_id in range(3):
        own = [result.scores[result.classes == class_id] for result in results.values()]
        assert seen.classes.objects[class_id] == sum(map(len, own))
        assert seen.classes.images[class_id] == sum(len(scores) > 0 for scores in own)
        assert seen.classes.scores[class_id] == pytest.approx(sum(float(scores.sum()) for scores in own), rel=1e-6)
    every = np.concatenate([result.scores for result in results.values()])
    assert seen.scores.tolist() == np.histogram(every, SCORE_BINS, (0, 1))[0].tolist()
    assert seen.beyond == 0
    assert seen.ended.tolist() == [pytest.approx(START + 0.05 * i, abs=1e-3) for i in range(40)]
    assert seen.began == pytest.approx(START - 0.01, abs=1e-3)


def test_only_what_the_run_shows_is_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path, [], open_inputs=1)
    one = found(0, 20)
    assert isinstance(one.result, Detections)
    journal = Journal(run, 1, 1)
    journal.commit([Entry.of(one, conf=0.6)])
    journal.close()
    above = one.result.scores > np.float32(0.6)
    seen = survey(run, 1, 3)
    assert seen.count.tolist() == [above.sum()]
    assert seen.scores.sum() == seen.classes.objects.sum() == seen.states.tally().objects == above.sum()
    assert seen.untimed == 1


def test_scores_beyond_0_and_1_are_counted_apart(tmp_path: Path) -> None:
    seen = survey(write_run(tmp_path, [tagged(0, [7.5, 1.0, 0.0, -2.0])], task="tag"), 1, 4)
    assert (seen.scores[0], seen.scores[-1], seen.scores.sum(), seen.beyond) == (1, 1, 2, 2)
