"""What a threshold makes of a run: precision, recall, confusions, right images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from judged_runs import Object, Row, write_coco, write_run

from boxmill.errors import SourceError, UsageError
from boxmill.evaluate import Scene, confront, image_share, open_run, read_truth, shown, wilson
from boxmill.evaluate.matching import Boxes, match, overlaps

CATEGORIES = {1: "cat", 2: "狗", 3: "cow"}
A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 40.0, 20.0), (50.0, 50.0, 90.0, 90.0)


def scene(
    tmp_path: Path, truth: dict[str, list[Object]], found: dict[str, list[Row] | None], crowds: tuple[int, ...] = ()
) -> Scene:
    path = write_coco(tmp_path / "gt.json", truth, CATEGORIES, crowds)
    return confront(read_truth(path), open_run(write_run(tmp_path / "run", found)))


def slow_iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@pytest.mark.parametrize("seed", range(8))
def test_matching_is_the_obvious_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int) -> Boxes:
        corner = rng.integers(0, 12, (count, 2))
        return Boxes(np.concatenate([corner, corner + rng.integers(0, 9, (count, 2))], 1).astype(float),
                     rng.integers(0, 2, count))  # fmt: skip

    first, second = some(int(rng.integers(0, 14))), some(int(rng.integers(0, 14)))
    partner = [-1] * len(first.boxes)
    for same in (True, False):
        for i, (box, label) in enumerate(zip(first.boxes.tolist(), first.classes.tolist(), strict=True)):
            best = 0.5
            for j, (other, its) in enumerate(zip(second.boxes.tolist(), second.classes.tolist(), strict=True)):
                taken = j in [one for k, one in enumerate(partner) if k != i]
                if (label == its) == same and not taken and (partner[i] < 0 or best > 0.5):
                    iou = slow_iou(box, other)
                    if iou > best:
                        best, partner[i] = iou, j
    found = match(first, second)
    assert found.partner.tolist() == partner
    for i, j in enumerate(partner):
        assert found.same[i] == (j >= 0 and first.classes[i] == second.classes[j])
        assert found.iou[i] == pytest.approx(
            slow_iou(first.boxes[i].tolist(), second.boxes[j].tolist()) if j >= 0 else 0
        )


def test_overlap_with_nothing() -> None:
    box = np.array([[0.0, 0.0, 4.0, 4.0]])
    assert overlaps(box, np.zeros((0, 4))).shape == (1, 0)
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0]]
    assert overlaps(box, np.array([[2.0, 0.0, 8.0, 8.0]]), of_first=True).tolist() == [[0.5]]


def test_right_wrong_missed_and_what_for_what(tmp_path: Path) -> None:
    one = scene(
        tmp_path,
        {"a.jpg": [(*A, 1), (*B, 2), (*C, 3)], "b.jpg": [(*A, 2)], "c.jpg": []},
        {
            "a.jpg": [(*A, 0.9, 0), (*A, 0.8, 0), (*B, 0.7, 0), (*C, 0.2, 2)],  # right, twice, 狗 as cat, below conf
            "b.jpg": [(*A, 0.9, 0), (*A, 0.5, 1)],  # the right class wins although the wrong one scores higher
            "c.jpg": [(*C, 0.26, 2)],
        },
    )
    counts = shown(one, 0.25)
    assert (counts.right, counts.wrong, counts.missed) == (2, 4, 2)
    assert (counts.precision, counts.recall) == (2 / 6, 2 / 4)
    rows = [(row.true, row.shown, row.count) for row in counts.confusions]
    assert rows == [(None, 0, 2), (None, 2, 1), (1, 0, 1), (2, None, 1)]
    lower = shown(one, 0.1)
    assert (lower.right, lower.wrong, lower.missed) == (3, 4, 1)
    nothing = shown(one, 0.95)
    assert (nothing.precision, nothing.recall) == (None, 0.0)


def test_a_box_must_overlap_by_more_than_half(tmp_path: Path) -> None:
    truth = {"a.jpg": [(0.0, 0.0, 10.0, 10.0, 1)]}
    first, second = tmp_path / "half", tmp_path / "more"
    first.mkdir()
    second.mkdir()
    half = scene(first, truth, {"a.jpg": [(0.0, 0.0, 10.0, 5.0, 0.9, 0)]})
    assert shown(half, 0.25).right == 0
    more = scene(second, truth, {"a.jpg": [(0.0, 0.0, 10.0, 5.1, 0.9, 0)]})
    assert shown(more, 0.25).right == 1


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    one = scene(
        tmp_path,
        {"a.jpg": [(*C, 1), (*A, 1)]},
        {"a.jpg": [(55.0, 55.0, 65.0, 65.0, 0.9, 0), (55.0, 55.0, 65.0, 65.0, 0.9, 2), (*A, 0.5, 0)]},
        crowds=(1,),
    )
    counts = shown(one, 0.25)
    assert (counts.right, counts.wrong, counts.missed) == (1, 1, 0)
    share = image_share(one, 0.25)
    assert (share.images, share.right, share.exact) == (1, 1, 0)


def test_an_image_is_right_when_everything_in_it_is_found(tmp_path: Path) -> None:
    truth: dict[str, list[Object]] = {f"{n}.jpg": [(*A, 1), (*B, 2)] for n in range(6)} | {"none.jpg": []}
    both: list[Row] = [(*A, 0.9, 0), (*B, 0.8, 1)]
    one = scene(
        tmp_path,
        truth | {"absent.jpg": [(*A, 1)]},
        {
            "0.jpg": both, "1.jpg": [*both, (*C, 0.7, 2)], "2.jpg": both[:1], "3.jpg": [(*A, 0.9, 0), (*B, 0.8, 2)],
            "4.jpg": None, "5.jpg": both, "none.jpg": [], "else.jpg": both,
        },
    )  # fmt: skip
    share = image_share(one, 0.25)
    assert (share.images, share.right, share.exact, share.seed) == (7, 3, 2, None)
    assert share.interval(3) == wilson(3, 7)
    sampled = image_share(one, 0.25, 3, seed=5)
    assert (sampled.images, sampled.seed) == (3, 5)
    assert sampled == image_share(one, 0.25, 3, seed=5)
    assert len({image_share(one, 0.25, 3, seed=seed).right for seed in range(20)}) > 1
    assert one.without_result() == {"failed": 1, "absent": 1}
    assert one.pairs.unused == 1


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998)
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval(count: int, total: int, low: float, high: float) -> None:
    assert wilson(count, total) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert wilson(total, total)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_an_unfinished_run_misses_what_it_has_not_come_to(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "gt.json", {"a.jpg": [(*A, 1)], "open0.jpg": [(*B, 2)]}, CATEGORIES)
    run = open_run(write_run(tmp_path / "run", {"a.jpg": [(*A, 0.9, 0)]}, open_keys=1))
    one = confront(read_truth(path), run)
    assert one.without_result() == {"open": 1}
    assert shown(one, 0.25).missed == 1


def test_sizes_that_differ_are_said(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "gt.json", {"a.jpg": [(*A, 1)]}, CATEGORIES)
    run = open_run(write_run(tmp_path / "run", {"a.jpg": []}, size=(100, 200)))
    assert "1 images have another width and height" in confront(read_truth(path), run).remarks[0]


def test_yolo_shares_need_a_size(tmp_path: Path) -> None:
    (tmp_path / "gt").mkdir()
    for name in "ab":
        (tmp_path / f"gt/{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    run = open_run(write_run(tmp_path / "run", {"a.jpg": [(50, 25, 150, 75, 0.9, 0)], "b.jpg": None}))
    one = confront(read_truth(tmp_path / "gt"), run)
    assert [view.boxes.tolist() for view in one.views] == [[[50, 25, 150, 75]]] * 2
    assert "1 images have no size" in one.remarks[0]
    assert (shown(one, 0.25).right, shown(one, 0.25).missed) == (1, 1)


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "gt.json", {"z.jpg": [(*A, 1)]}, CATEGORIES)
    run = open_run(write_run(tmp_path / "run", {"a.jpg": []}))
    with pytest.raises(SourceError, match="none of the run's images: its first is 'z"):
        confront(read_truth(path), run)
    with pytest.raises(UsageError, match=r"kept what scores above 0.001; give 0.001 to 1"):
        run.threshold(0.0001)
    assert (run.threshold(None), run.threshold(0.5)) == (0.25, 0.5)
    with pytest.raises(UsageError, match="a tagger's run"):
        open_run(write_run(tmp_path / "tags", {"a.jpg": []}, task="tag"))
