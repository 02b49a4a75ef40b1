"""The pickle machine against Python's own on what both may read, and what becomes of classes."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxmill.errors import ModelError
from boxmill.models.pickle_machine import Machine, Record, describe, refusal

MEANINGS = {"collections.OrderedDict": lambda args: dict(*args)}
KEYS = st.none() | st.booleans() | st.text(max_size=5) | st.integers(-(2**31) + 1, 2**31 - 1)
LEAVES = KEYS | st.integers() | st.floats() | st.text() | st.sets(KEYS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.lists(inner).map(lambda x: [x, x])
    ),
)


def run(raw: bytes) -> object:
    def persistent(key: object) -> object:
        raise ModelError(f"{key!r}")

    return Machine(raw, MEANINGS, persistent).load()


def same(left: object, right: object) -> bool:
    if isinstance(left, list | tuple) and type(left) is type(right):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


@given(VALUES, st.sampled_from([2, 3, 4, 5]))
def test_plain_values_are_what_python_reads(value: object, protocol: int) -> None:
    raw = pickle.dumps(value, protocol)
    assert same(run(raw), value)
    assert same(run(pickle._dumps(value, protocol)), value)  # type: ignore[attr-defined]


@given(st.binary(), st.frozensets(KEYS), st.sampled_from([4, 5]))
def test_bytes_and_frozen_sets(raw: bytes, frozen: frozenset[object], protocol: int) -> None:
    assert run(pickle.dumps((raw, frozen), protocol)) == (raw, frozen)


def test_what_is_shared_or_holds_itself_stays_so() -> None:
    inner: list[object] = []
    inner.append((inner, inner))
    found = run(pickle.dumps(inner, 2))
    assert isinstance(found, list)
    assert found[0][0] is found[0][1] is found
    shared = run(pickle.dumps([OrderedDict(a=1)] * 2, 2))
    assert isinstance(shared, list)
    assert shared == [{"a": 1}] * 2
    assert shared[0] is shared[1]


@given(st.binary(max_size=64))
def test_any_bytes_give_a_value_or_a_model_error(raw: bytes) -> None:
    message = ""
    try:
        run(b"\x80\x04" + raw + b".")
    except ModelError as error:
        message = str(error)
    assert len(message) < 500


def test_objects_become_records() -> None:
    machine = Machine(pickle.dumps([SimpleNamespace(a=1), PurePosixPath("a")], 2), MEANINGS, lambda key: key)
    with pytest.raises(ModelError, match=r"pathlib\.PurePosixPath, which no checkpoint needs"):
        machine.load()
    machine = Machine(pickle.dumps(SimpleNamespace(a=1), 2), MEANINGS, lambda key: key)
    found = machine.load()
    assert isinstance(found, Record)
    assert (found.name, found.args, found.state) == ("types.SimpleNamespace", (), {"a": 1})
    assert list(machine.called) == ["types.SimpleNamespace"]
    assert not callable(found)


def test_refusals_and_descriptions() -> None:
    assert refusal("models.common.Conv") is None
    assert refusal("collections.OrderedDict") is None
    assert refusal("collections.abc.Callable") is not None
    assert refusal("os.path.join") is not None
    deep: object = ()
    for _ in range(100_000):
        deep = (deep,)
    assert describe(deep) == "a tuple"
    assert describe("x" * 1000) == repr("x" * 64)
    assert describe(Fraction(1)) == "a Fraction"
    assert describe(Record("a.B", ())) == "an object of a.B"
