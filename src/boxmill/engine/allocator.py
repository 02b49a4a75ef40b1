"""Keeps the memory of one image for the next."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

# mallopt(3) parameters of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 64 << 20  # bytes: 22 megapixels of RGB; larger images are returned to the system one by one


def keep_freed_memory() -> None:
    """Tells glibc's allocator to keep freed pixels for the next image instead of giving them back to the system.

    Without it every decoded photo is mapped, cleared page by page and unmapped again: 1.2 ms of system time for each
    1920x1080 image, 4 % of the whole (`bench/end_to_end.py`). Process-wide, so for the owner of the process to call
    once, before threads start. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT)
