"""The size of batches: found by measuring, lowered by memory, remembered; on modelled devices, without a clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from boxmill.engine.batch_size import BatchSize, BatchSizes, first_guess


def feed(
    size: BatchSize, seconds: Callable[[int], float], batches: int, fits: Callable[[int], bool] | None = None
) -> None:
    for _ in range(batches):
        if fits is not None and not fits(size.size):
            size.did_not_fit(size.size)
        else:
            size.ran(size.size, seconds(size.size))


def overhead(fixed: float) -> Callable[[int], float]:
    """A device that takes `fixed` ms for a launch and 1 ms for an image."""
    return lambda images: (fixed + images) / 1e3


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [(0, 2), (0.5, 8), (4, 64), (1000, 256)],  # the doubling from n gains 1 + fixed / (2 n + fixed)
)
def test_sizes_grow_until_a_doubling_gains_less_than_5_percent(fixed: float, expected: int) -> None:
    size = BatchSize(2)
    feed(size, overhead(fixed), 200)
    assert size.found == size.size == expected


def test_a_size_that_is_slower_is_left_again() -> None:
    size = BatchSize(4)
    feed(size, lambda images: 0.1 * images if images > 8 else 0.01, 100)
    assert size.found == 8


def test_the_first_batch_of_a_size_and_parts_of_batches_tell_nothing() -> None:
    size = BatchSize(2)
    for _ in range(50):
        size.ran(1, 1e-6)
    assert (size.size, size.found) == (2, None)
    size.ran(2, 100.0)  # kernels are being chosen
    for _ in range(3):
        size.ran(2, 1.0)
    assert size.size == 4


def test_one_slow_batch_does_not_end_the_search() -> None:
    size, ran = BatchSize(2), iter([1.0, 1.0, 50.0, 1.0] * 50)
    feed(size, lambda images: next(ran), 60)
    assert size.found == 256


def test_memory_halves_the_size_and_the_double_is_tried_again() -> None:
    size = BatchSize(16, settled=True)
    size.did_not_fit(16)
    assert size.size == 8
    feed(size, overhead(1), 31)
    assert size.size == 8
    feed(size, overhead(1), 1)
    assert size.size == 16
    feed(size, overhead(1), 100)
    assert size.size == 16


def test_memory_that_stays_short_is_asked_for_less_and_less_often() -> None:
    size, attempts = BatchSize(16, settled=True), []

    def fits(images: int) -> bool:
        attempts.append(images)
        return images <= 4

    feed(size, overhead(1), 20_000, fits)
    assert size.size == 4
    assert attempts.count(8) < 20
    assert size.found == 16  # the throughput's, for a day with more memory


def test_several_batches_under_way_that_do_not_fit_halve_it_once() -> None:
    size = BatchSize(16, settled=True)
    for _ in range(3):
        size.did_not_fit(16)
    assert size.size == 8
    size.did_not_fit(8)
    assert size.size == 4


def test_it_never_falls_below_one() -> None:
    size = BatchSize(2)
    for _ in range(5):
        size.did_not_fit(size.size)
    assert size.size == 1


def test_the_search_goes_on_after_memory_was_short() -> None:
    size, short = BatchSize(2), [True]

    def fits(images: int) -> bool:
        return images < 8 or not short[0]

    feed(size, overhead(4), 100, fits)
    assert (size.size, size.found) == (4, None)
    short[0] = False
    feed(size, overhead(4), 2000, fits)
    assert size.found == 64


def test_a_first_guess_is_a_power_of_two_that_fits_into_half_of_the_memory() -> None:
    assert first_guess(140 << 30, (640, 640)) == 16
    assert first_guess(2 << 30, (640, 640)) == 4
    assert first_guess(0, (640, 640)) == 1
    assert first_guess(140 << 30, (640, 640), most=3) == 2


def test_every_shape_has_its_size_and_memory_is_looked_at_once_for_each() -> None:
    looked = []

    def free() -> int:
        looked.append(1)
        return 2 << 30

    sizes = BatchSizes()
    square, wide = sizes.of((640, 640), free), sizes.of((384, 640), free)
    assert (square.size, wide.size) == (4, 8)
    assert sizes.of((640, 640), free) is square
    assert len(looked) == 2


def test_a_fixed_size_is_not_searched_and_not_remembered() -> None:
    sizes = BatchSizes(24)
    size = sizes.of((640, 640), lambda: 0)
    feed(size, overhead(100), 100)
    assert size.size == 24
    assert sizes.found() == {}


def test_what_was_found_is_remembered_and_begun_with() -> None:
    sizes = BatchSizes(known={(384, 640): 32, (640, 640): 8}, most=16)
    assert sizes.of((384, 640), lambda: 0).size == 16
    feed(sizes.of((96, 96), lambda: 0), overhead(0), 50)
    assert sizes.found() == {(384, 640): 16, (640, 640): 8, (96, 96): 1}
