"""Limits from made-up control groups."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from boxmill.engine.memory import default_memory_limit, resident

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_control_groups_three_quarters_of_the_machine(tmp_path: Path) -> None:
    assert default_memory_limit(tmp_path) == MACHINE * 3 // 4


@pytest.mark.parametrize("place", ["", "a/", "a/b/"])
def test_version_2_the_least_limit_of_all_enclosing_groups(tmp_path: Path, place: str) -> None:
    files = {"sys/fs/cgroup/a/b/memory.max": "max\n", f"sys/fs/cgroup/{place}memory.max": "4000000\n"}
    assert default_memory_limit(system(tmp_path, "0::/a/b\n", files)) == 3_000_000


def test_version_1_and_a_group_that_a_container_cannot_see(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "8000000\n",
        "sys/fs/cgroup/cpu/memory.limit_in_bytes": "4\n",
    }
    groups = "4:memory:/docker/123\n3:cpu,cpuacct:/\n0::/\n"
    assert default_memory_limit(system(tmp_path, groups, files)) == 6_000_000


def test_a_limit_beyond_the_machine_is_none(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert default_memory_limit(system(tmp_path, "4:memory:/\n", files)) == MACHINE * 3 // 4


def test_resident_memory_of_a_process() -> None:
    before = resident(os.getpid())
    block = b"x" * (64 << 20)
    assert resident(os.getpid()) - before > 60 << 20
    del block
    process = subprocess.Popen(["true"])
    process.wait()
    assert resident(process.pid) == 0
