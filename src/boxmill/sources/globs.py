"""The files that a pattern names.

Unlike in Python's glob, `**` does not follow symbolic links: where two of them lead upwards, that would never end.
"""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

__all__ = ["matching_files"]


def matching_files(pattern: bytes) -> Iterator[bytes]:
    """Paths of the files that match; one may come more than once where there are several `**`.

    Names that begin with a dot are matched only by a dot. Folders that may not be listed are passed over.
    """
    if not pattern.endswith(b"/"):  # that would name folders
        parts = [part for part in pattern.split(b"/") if part]
        once = [part for place, part in enumerate(parts) if part != b"**" or parts[place - 1 : place] != [b"**"]]
        yield from _below(b"/" if pattern.startswith(b"/") else b".", once)


def _below(folder: bytes, parts: Sequence[bytes]) -> Iterator[bytes]:
    part, rest = parts[0], parts[1:]
    if part == b"**":
        yield from _below(folder, rest or [b"*"])
        for entry in _entries(folder):
            if not entry.name.startswith(b".") and entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, parts)
        return
    for path in _named(folder, part):
        if rest and os.path.isdir(path):
            yield from _below(path, rest)
        elif not rest and os.path.isfile(path):
            yield path


def _named(folder: bytes, part: bytes) -> Iterator[bytes]:
    """What one component of a pattern matches in a folder."""
    if not globbing.has_magic(part):
        yield os.path.join(folder, part)
        return
    for entry in _entries(folder):
        if fnmatchcase(entry.name, part) and (part.startswith(b".") or not entry.name.startswith(b".")):
            yield entry.path


def _entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []
