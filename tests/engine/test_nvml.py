"""Gauges of a GPU by a library that is made up; none where there is none, or where it fails."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from boxmill.engine import Gauges


class NVMLError(Exception):
    pass


def library(**failing: bool) -> ModuleType:
    made: Any = ModuleType("pynvml")

    def check(name: str) -> None:
        if failing.get(name):
            raise NVMLError(name)

    def handle(uuid: str) -> str:
        check("handle")
        assert uuid == "GPU-12"
        return "handle"

    samples = iter([(90, 7 << 30, 1900), (70, 9 << 30, 1500), (80, 8 << 30, 1800)])
    now: list[tuple[int, int, int]] = []

    def rates(of: str) -> Any:
        check("sample")
        now[:] = [next(samples)]
        return SimpleNamespace(gpu=now[0][0])

    made.NVMLError, made.NVML_CLOCK_SM = NVMLError, 1
    made.nvmlInit = lambda: check("init")
    made.nvmlDeviceGetHandleByUUID = handle
    made.nvmlDeviceGetUtilizationRates = rates
    made.nvmlDeviceGetMemoryInfo = lambda of: SimpleNamespace(used=now[0][1])
    made.nvmlDeviceGetClockInfo = lambda of, kind: now[0][2]
    made.closed = []
    made.nvmlShutdown = lambda: made.closed.append(True)
    return made


def gauges(monkeypatch: pytest.MonkeyPatch, made: ModuleType, interval: float = 0.0) -> Gauges:
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return Gauges("GPU-12", interval)


def test_samples_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = gauges(monkeypatch, library())
    for _ in range(3):
        seen.sample()
    assert seen.summary() == {"utilization": pytest.approx(0.8), "peak_memory": 9 << 30, "sm_clock_mhz": 1800}


@pytest.mark.parametrize("failing", ["init", "handle", "sample"])
def test_a_library_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    seen = gauges(monkeypatch, library(**{failing: True}))
    seen.sample()
    assert seen.summary() == {}


def test_it_looks_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = gauges(monkeypatch, library(), interval=1000.0)
    seen.sample()
    seen.sample()
    assert seen.summary()["utilization"] == pytest.approx(0.9)


def test_without_the_library_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    seen = Gauges("GPU-12")
    seen.sample()
    assert seen.summary() == {}


def test_a_closed_one_looks_no_more_and_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = library()
    seen = gauges(monkeypatch, made)
    seen.sample()
    for _ in range(2):
        seen.close()
        seen.sample()
    assert made.closed == [True]  # type: ignore[attr-defined]
    assert seen.summary()["utilization"] == pytest.approx(0.9)
