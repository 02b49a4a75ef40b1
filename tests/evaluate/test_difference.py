"""Two runs side by side, object by object."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged_runs import NAMES, Row, write_run

from boxmill.errors import UsageError
from boxmill.evaluate import Agreement, Tolerance, compare_runs, open_run

A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 40.0, 20.0), (50.0, 50.0, 90.0, 90.0)


def compared(tmp_path: Path, a: dict[str, list[Row] | None], b: dict[str, list[Row] | None]) -> Agreement:
    runs = [open_run(write_run(tmp_path / name, found)) for name, found in (("a", a), ("b", b))]
    return compare_runs(runs[0], runs[1], (0.25, 0.25), Tolerance())


def test_a_run_agrees_with_itself(tmp_path: Path) -> None:
    results: dict[str, list[Row] | None] = {"a.jpg": [(*A, 0.9, 0), (*B, 0.8, 1)], "b.jpg": [], "c.jpg": None}
    found = compared(tmp_path, results, results)
    assert (found.images, found.alike, found.pairs, found.equal) == (2, 2, 2, 2)
    assert (found.share, found.iou_sum, found.score_sum) == (1.0, 2.0, 0.0)
    assert found.without_result == (1, 1)
    assert found.differences == []


def test_every_kind_of_difference(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {
            "a.jpg": [(*A, 0.9, 0), (*B, 0.8, 1), (*C, 0.7, 2)],
            "b.jpg": [(*A, 0.6, 0), (*B, 0.5, 0)],
            "c.jpg": [(*A, 0.26, 0)],
            "only-a.jpg": [(*A, 0.99, 0)],
        },
        {
            "c.jpg": [(*A, 0.24, 0)],  # below the threshold
            "b.jpg": [(0.0, 0.0, 10.5, 10.0, 0.605, 0), (*B, 0.3, 0), (*C, 0.95, 1)],  # within tolerance, score, new
            "a.jpg": [(*A, 0.9, 0), (*B, 0.8, 2), (50.0, 50.0, 93.0, 90.0, 0.5, 2)],  # equal, class, moved
            "only-b.jpg": None,
        },
    )
    rows = [(one.key, one.kind, one.score) for one in found.differences]
    assert rows == [
        ("b.jpg", "only B", pytest.approx(0.95)),
        ("a.jpg", "class", pytest.approx(0.8)),
        ("a.jpg", "moved", pytest.approx(0.7)),
        ("b.jpg", "score", pytest.approx(0.5)),
        ("c.jpg", "only A", pytest.approx(0.26)),
    ]
    assert found.counts == {"only A": 1, "only B": 1, "class": 1, "moved": 1, "score": 1}
    assert (found.images, found.alike, found.objects) == (3, 0, (6, 6))
    assert (found.pairs, found.equal) == (4, 1)
    assert found.share == pytest.approx(8 / 12)
    assert found.only_inputs == (1, 1)
    assert (found.pixels_max, found.score_max) == (3.0, pytest.approx(0.2))
    moved = found.differences[2]
    assert (moved.pixels, moved.iou) == (3.0, pytest.approx(1600 / 1720))
    assert moved.a is not None
    assert (moved.a.class_id, moved.a.box) == (2, C)


def test_runs_without_objects_agree(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a.jpg": []}, {"a.jpg": []})
    assert (found.share, found.alike) == (1.0, 1)


def test_a_result_that_one_run_does_not_have_is_counted(tmp_path: Path) -> None:
    found = compared(tmp_path, {"a.jpg": [], "b.jpg": None}, {"a.jpg": None, "b.jpg": []})
    assert (found.images, found.without_result) == (0, (1, 1))


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no input in common"):
        compared(tmp_path, {"a.jpg": []}, {"b.jpg": []})
    one = open_run(write_run(tmp_path / "one", {"a.jpg": []}))
    other = open_run(write_run(tmp_path / "other", {"a.jpg": []}, NAMES[::-1]))
    with pytest.raises(UsageError, match="other classes\nA: cat, 狗, cow\nB: cow, 狗, cat"):
        compare_runs(one, other, (0.25, 0.25), Tolerance())
