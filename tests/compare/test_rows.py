"""The table's arithmetic, by hand."""

from __future__ import annotations

import pytest

from boxmill.compare import Comparison, Missing, Row, Sample, markdown

MIB = 2**20


def sample(images: int, wall: float, whole: float, cpu: float = 1.0, memory: int = 100, gpu: float | None = None):
    return Sample(images, wall, whole, cpu, memory * MIB, gpu, objects=7, failed=0)


def comparison(*rows: Row, missing: tuple[Missing, ...] = (), judged: bool = False) -> Comparison:
    facts = {
        "processor": "one", "system": "Linux", "versions": {"boxmill": "0"}, "source": "photos", "images": 100,
        "network": "net.onnx", "network_size": [384, 640], "conf": 0.25, "iou": 0.45, "max_det": 300, "judged": judged,
        "boxmill_settings": {},
    }  # fmt: skip
    return Comparison(rows, missing, 2, facts, ("a note",))


def test_a_sample_of_the_images_is_extrapolated() -> None:
    row = Row("a", "reloaded", 100, (sample(10, wall=5.0, whole=5.5),))
    assert row.sampled == 10
    assert row.per_image == pytest.approx(0.5)
    assert row.start == pytest.approx(0.5)
    assert row.total == pytest.approx(0.5 + 100 * 0.5)


def test_all_images_are_no_sample() -> None:
    row = Row("a", "reloaded", 10, (sample(10, wall=5.0, whole=5.5),))
    assert row.sampled is None
    assert row.total == pytest.approx(5.5)


def test_rounds_give_medians_and_the_most_memory() -> None:
    rounds = (
        sample(100, 10.0, 12.0, cpu=10.0, memory=50, gpu=0.1),
        sample(100, 30.0, 31.0, cpu=30.0, memory=70, gpu=None),
        sample(100, 20.0, 24.0, cpu=30.0, memory=60, gpu=0.3),
    )
    row = Row("d", "boxmill", 100, rounds)
    assert row.per_image == pytest.approx(0.2)
    assert row.spread == pytest.approx((0.1, 0.3))
    assert row.start == pytest.approx(2.0)
    assert row.total == pytest.approx(22.0)
    assert row.cpu_share(2) == pytest.approx(0.5)  # of .5, .5 and .75
    assert row.gpu_share == pytest.approx(0.2)
    assert row.peak_memory == 70 * MIB


def test_multiples_are_of_the_time_of_an_image() -> None:
    slow, fast = Row("a", "", 100, (sample(10, 5.0, 5.0),)), Row("d", "", 100, (sample(100, 4.0, 9.0),))
    assert fast.times(slow) == pytest.approx(0.5 / 0.04)
    assert slow.times(fast) == pytest.approx(0.04 / 0.5)


def test_multiples_are_given_over_the_scripts_that_took_part() -> None:
    rows = [Row(letter, letter, 100, (sample(100, wall, wall),)) for letter, wall in (("a", 8.0), ("c", 4.0), ("d", 2))]
    document = comparison(*rows, missing=(Missing("b", "one by one", "no reason"),)).document()
    assert document["rows"][2]["times"] == {"a": 4.0, "c": 2.0}
    assert document["missing"] == [{"row": "b", "title": "one by one", "reason": "no reason"}]


def test_the_document_says_what_was_extrapolated() -> None:
    rows = (Row("a", "x", 100, (sample(10, 5.0, 5.5),)), Row("d", "y", 100, (sample(100, 4.0, 5.0),), ap=0.5))
    first, second = comparison(*rows).document()["rows"]
    assert (first["extrapolated_from"], second["extrapolated_from"]) == (10, None)
    assert (first["ap"], second["ap"]) == (None, 0.5)
    assert second["cpu_share"] == pytest.approx(1.0 / (4.0 * 2))


def test_the_table_marks_what_was_extrapolated_and_the_row_that_counts() -> None:
    rows = (
        Row("a", "loaded for each", 100, (sample(10, 5.0, 5.5),)),
        Row("b", "loaded once", 100, (sample(100, 10.0, 11.0, gpu=0.25),), ap=0.51239),
        Row("d", "boxmill", 100, (sample(100, 2.0, 3.0, cpu=3.6),), ap=0.5),
    )
    text = markdown(comparison(*rows, judged=True), "compare.png")
    assert "| (a) | loaded for each | 500 | ≈ 50.5 s | 10% | – | 100 MiB | as (b) | 1 | 0.20 |" in text
    assert "| (b) | loaded once | 100 | 11.0 s | 5% | 25% | 100 MiB | 0.5124 | 5.00 | 1 |" in text
    assert "| **(d)** | **boxmill** | **20.0** | **3.0 s** | **90%** |" in text
    assert "(a) worked on 10 of 100 images" in text
    assert "at 640x384" in text
    assert "- a note" in text
    assert "![the table](compare.png)" in text


def test_several_rounds_show_their_spread_and_long_totals_are_readable() -> None:
    rounds = (sample(100, 100.0, 100.0), sample(100, 300.0, 300.0), sample(100, 200.0, 200.0))
    text = markdown(comparison(Row("b", "x", 100_000, rounds), missing=(Missing("c", "y", "no batches"),)))
    assert "| 2000 (1000 to 3000) | ≈ 55.6 h |" in text
    assert "median of 3 rounds" in text
    assert "- (c) y: did not take part, no batches" in text
    assert "pip install 'boxmill[plot]'" in text
    assert "AP" not in text.splitlines()[6]
