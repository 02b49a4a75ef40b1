"""A record reads back to the outcome's bits, whatever the numbers and texts."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import failed, found, same

from boxmill.store.records import Attempt, decode, encode, encode_attempt
from boxmill.types import Detections, Failure, Outcome

int32 = st.integers(-(2**31), 2**31 - 1)
bits = st.integers(0, 2**32 - 1)


def of_bits(rows: list[list[int]], cut: float | None = None) -> Outcome:
    """An outcome whose box coordinates and scores have these bits; every NaN is the one that numpy makes."""
    numbers = np.array(rows, np.uint32).reshape(-1, 5).view(np.float32)
    numbers = np.where(np.isnan(numbers), np.float32("nan"), numbers)
    boxes, scores = np.ascontiguousarray(numbers[:, :4]), np.ascontiguousarray(numbers[:, 4])
    ids = np.arange(len(rows), dtype=np.int32)
    return Outcome("a.jpg", 7, Detections(boxes, scores, ids, ids, cut), (1, 1))


@given(st.lists(st.lists(bits, min_size=5, max_size=5), max_size=4))
def test_every_float32_survives(rows: list[list[int]]) -> None:
    outcome = of_bits(rows)
    assert same(decode(encode(outcome)).outcome(), outcome)


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, 3.4028235e38, 16777217.0, -1e-10])
def test_special_values_survive_anywhere_in_a_row(value: float) -> None:
    row = np.full(5, value, np.float32).view(np.uint32).tolist()
    outcome = of_bits([row, row])
    line = encode(outcome)
    assert same(decode(line).outcome(), outcome)
    json.loads(line, parse_constant=pytest.fail)


def test_neighbours_of_powers_of_two_survive() -> None:
    powers = np.float32(2.0) ** np.arange(-126, 128, dtype=np.float32)
    near = np.concatenate([np.nextafter(powers, np.float32(0)), powers, np.nextafter(powers, np.float32(np.inf))])
    outcome = of_bits(np.resize(near, (153, 5)).view(np.uint32).tolist())
    assert same(decode(encode(outcome)).outcome(), outcome)


@given(classes=int32, anchor=int32, cut=st.none() | st.floats(0, 1, width=32), nan=st.integers(0, 2**40))
def test_integers_and_cut_survive(classes: int, anchor: int, cut: float | None, nan: int) -> None:
    one = np.ones(1, np.float32)
    ids = np.array([classes], np.int32), np.array([anchor], np.int32)
    outcome = Outcome("a.jpg", 2**40, Detections(np.ones((1, 4), np.float32), one, *ids, cut, nan), (9, 8))
    assert same(decode(encode(outcome)).outcome(), outcome)


@given(key=st.text(), message=st.text(max_size=50))
def test_texts_survive_in_one_line(key: str, message: str) -> None:
    line = encode(Outcome(key, 0, Failure(key, "read", "missing", message), None))
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert decode(line).failure() == Failure(key, "read", "missing", message)


def test_a_stray_byte_of_a_file_name_in_a_message_can_be_written() -> None:
    record = decode(encode(Outcome("a", 0, Failure("a", "read", "missing", "no \udcff.jpg"))))
    assert record.message == "no \\udcff.jpg"


def test_a_message_without_end_is_cut() -> None:
    assert len(decode(encode(Outcome("a", 0, Failure("a", "read", "missing", "x" * 10**6)))).message) == 1000


def test_lines_are_as_documented() -> None:
    boxes = np.array([[1.5, 2, 30.25, 40]], np.float32)
    ids = np.array([3], np.int32), np.array([8399], np.int32)
    outcome = Outcome(
        "sub/人.jpg", 17, Detections(boxes, np.array([0.9], np.float32), *ids), (1920, 1080), {"read": 0.12345}
    )
    assert encode(outcome, 2).decode() == (
        '{"v":1,"i":17,"key":"sub/人.jpg","status":"ok","attempt":2,"wh":[1920,1080],'
        '"det":[[1.5,2,30.25,40,0.899999976,3,8399]],"cut":null,"nan":0,"ms":{"read":0.123}}\n'
    )
    assert json.loads(encode(failed(18))) == {
        "v": 1, "i": 18, "key": "sub/000018.jpg", "status": "failed", "attempt": 1,
        "stage": "decode", "code": "truncated", "message": "it ends early", "ms": {},
    }  # fmt: skip
    assert json.loads(encode_attempt(Attempt(5, "b.jpg", 2, "timeout"))) == {
        "v": 1, "i": 5, "key": "b.jpg", "status": "attempt", "attempt": 2, "cause": "timeout",
    }  # fmt: skip


def test_times_have_three_decimals_and_come_back() -> None:
    assert decode(encode(found(0))).outcome().times == {"read": 0.25, "decode": 7.125}


@pytest.mark.parametrize("outcome", [found(0), failed(1)])
def test_the_time_it_ended_is_kept_to_the_millisecond_and_may_be_missing(outcome: Outcome) -> None:
    line = encode(outcome, at=1790000000.12345)
    assert b',"at":1790000000.123,"ms":{' in line
    assert decode(line).at == 1790000000.123
    assert same(decode(line).outcome(), outcome)
    assert decode(encode(outcome)).at is None


@pytest.mark.parametrize("line", [b"", b"{}", b'{"v":2,"i":0,"key":"a","status":"ok"}', b'{"v":1,"i":0,"key":"a"}'])
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(line)


def test_an_attempt_has_no_outcome() -> None:
    with pytest.raises(ValueError, match="attempt"):
        decode(encode_attempt(Attempt(5, "b.jpg", 2, "timeout"))).outcome()
