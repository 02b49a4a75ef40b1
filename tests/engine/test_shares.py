"""How inputs are divided among workers, on both sides of the pipe; and the times of workers side by side."""

from __future__ import annotations

import random
import threading
from itertools import islice

import pytest

from boxmill.engine.clock import NO_WORKER, TimeTable, combined, side_by_side
from boxmill.engine.handed import Handed
from boxmill.engine.protocol import LAST, STOP, take_lines, taken
from boxmill.engine.shares import Shares


def test_every_input_has_one_owner_whatever_is_taken_and_given_back() -> None:
    rng = random.Random(5)
    before = set(range(0, 200, 7))
    shares = Shares(200, before.__contains__, 3)
    done, held = set(before), [set[int](), set[int](), set[int]()]
    while len(done) < 200:
        place = rng.randrange(3)
        taken = shares.take(place, rng.randrange(12))
        assert taken == sorted(taken)
        assert not done.intersection(taken)
        assert not set().union(*held).intersection(taken)
        held[place].update(taken)
        for index in rng.sample(sorted(held[place]), len(held[place]) // 2):
            held[place].remove(index)
            done.add(index)
        if rng.random() < 0.2:  # it dies; the supervisor keeps one for its successor
            keep = sorted(held[place])[:1]
            shares.give_back(place, done.__contains__, keep)
            held[place] = set(keep)
        if rng.random() < 0.3:
            done |= held[place]
            held[place].clear()
        assert shares.free == 200 - len(done) - sum(map(len, held))
    assert shares.take(0, 10) == []


def test_what_is_given_back_is_handed_out_first() -> None:
    shares = Shares(10, lambda index: False, 2)
    assert (shares.take(0, 3), shares.take(1, 3)) == ([0, 1, 2], [3, 4, 5])
    shares.give_back(0, lambda index: index == 1, keep=[2])
    assert shares.take(1, 3) == [0, 6, 7]
    assert shares.free == 2


def test_an_order_to_take_is_a_line_for_each_stretch() -> None:
    assert list(take_lines([3, 4, 5, 9, 11, 12])) == [b"take 3 6\n", b"take 9 10\n", b"take 11 13\n"]
    assert list(take_lines([])) == []
    assert taken(b"take 3 6\n") == range(3, 6)
    for other in (STOP, LAST, b"", b"take\n"):
        assert list(taken(other)) == []


def test_what_is_handed_is_waited_for_until_there_will_be_no_more() -> None:
    handed = Handed([4, 5])
    assert list(islice(handed, 2)) == [4, 5]
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(handed))
    thread.start()
    handed.add(range(7, 9))
    handed.add([2])
    handed.close()
    thread.join(10)
    assert found == [7, 8, 2]


def test_a_thread_with_other_work_reserves_before_it_takes() -> None:
    handed = Handed([4])
    told: list[bool] = []
    assert handed.reserve()
    assert not handed.reserve()  # promised to the first
    handed.on_change(lambda: told.append(handed.reserve()))
    assert next(handed) == 4
    handed.add([5])
    assert told == [True]
    assert next(handed) == 5
    handed.close()
    assert told == [True, True]  # there will be nothing to wait for
    with pytest.raises(StopIteration):
        next(handed)


def accounted(table: TimeTable) -> float:
    return sum(table.stages.values()) + sum(table.waits.values()) + table.unexplained


def test_times_side_by_side_add_up() -> None:
    first = TimeTable(2, 10.0, 12.0, {"decode": 15.0}, {"images": 4.0}, 1.0, 8.0)
    second = TimeTable(3, 4.0, 5.0, {"decode": 10.0}, {"images": 1.0}, 1.0, 2.0)
    both = side_by_side([first, second])
    assert (both.workers, both.wall, both.cpu, both.device_busy) == (5, 10.0, 17.0, 10.0)
    assert both.stages["decode"] == 25.0
    assert both.waits[NO_WORKER] == 3 * 6.0
    assert accounted(both) == pytest.approx(both.workers * both.wall)
    assert side_by_side([first]) is first
    nothing = side_by_side([combined([]), combined([])])
    assert (nothing.workers, nothing.wall, accounted(nothing)) == (0, 0.0, 0.0)
