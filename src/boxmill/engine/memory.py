"""How much memory a process holds, and how much it may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["default_memory_limit", "resident"]

_SHARE = 3, 4


def resident(pid: int) -> int:
    """Bytes of memory that a process holds (RSS); 0 when it is gone, or where there is no /proc."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            pages = int(file.read().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def default_memory_limit(root: Path = Path("/")) -> int:
    """Bytes: three quarters of the machine's memory, or of what this process's control group may use if that is less.

    `root` is where proc/ and sys/ are. https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max),
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (memory.limit_in_bytes).
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    part, whole = _SHARE
    return min([machine, *_control_group_limits(root)]) * part // whole


def _control_group_limits(root: Path) -> Iterator[int]:
    """The limits of this process's groups and of all groups around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            yield from _number(folder / name)
            if folder == mount:
                break


def _number(path: Path) -> list[int]:
    """The file's number; none when there is no such file (in a container: a group outside it) or it says `max`."""
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []
