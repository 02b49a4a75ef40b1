"""Processes seen from outside."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from boxmill.compare import watch as module
from boxmill.compare.watch import check_psutil, watch
from boxmill.errors import UsageError

MIB = 2**20
HOLD = "data = bytearray({size} * 2**20); import time; time.sleep({seconds})"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_code_output_and_time(tmp_path: Path) -> None:
    seen = watch(
        python("import sys, time; print('out'); print('err', file=sys.stderr); time.sleep(.2); sys.exit(3)"), tmp_path
    )
    assert (seen.code, seen.output, seen.errors) == (3, "out\n", "err\n")
    assert seen.wall >= 0.2
    assert seen.gpu is None or 0 <= seen.gpu <= 1


def test_memory_is_that_of_the_process_and_its_children(tmp_path: Path) -> None:
    alone = watch(python(HOLD.format(size=100, seconds=0.5)), tmp_path)
    child = HOLD.format(size=200, seconds=0.5)
    both = watch(python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"), tmp_path)
    assert 100 * MIB < alone.peak_memory < 200 * MIB
    assert both.peak_memory > 200 * MIB


def test_nothing_goes_on_behind_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def interrupted(process, psutil, gpus):
        seen.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watch(python("import time; time.sleep(60)"), tmp_path)
    assert seen[0].poll() is not None


def test_without_psutil_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(UsageError, match=r"pip install 'boxmill\[compare\]'"):
        check_psutil()
    with pytest.raises(UsageError, match="psutil"):
        watch(python(""), tmp_path)


class NvmlError(Exception):
    pass


def nvml(shares: list[int], broken: bool = False) -> SimpleNamespace:
    """The part of pynvml that is used, with two GPUs of which the second is the busier."""
    closed: list[bool] = []

    def init() -> None:
        if broken:
            raise NvmlError("no driver")

    def rates(device: int) -> SimpleNamespace:
        if not shares:
            raise NvmlError("not supported")
        return SimpleNamespace(gpu=shares[0] if device else 0)

    return SimpleNamespace(
        NVMLError=NvmlError, nvmlInit=init, nvmlShutdown=lambda: closed.append(True), closed=closed,
        nvmlDeviceGetCount=lambda: 2, nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetUtilizationRates=rates,
    )  # fmt: skip


def test_the_busiest_gpu_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = nvml([40])
    monkeypatch.setitem(sys.modules, "pynvml", library)
    seen = watch(python("import time; time.sleep(.3)"), tmp_path)
    assert seen.gpu == pytest.approx(0.4)
    assert library.closed == [True]


@pytest.mark.parametrize("library", [None, nvml([40], broken=True), nvml([])], ids=["absent", "no driver", "no rates"])
def test_without_an_answer_there_is_no_share(monkeypatch, tmp_path: Path, library: SimpleNamespace | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert watch(python(""), tmp_path).gpu is None
