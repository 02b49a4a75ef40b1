"""Fonts of this machine, for characters that OpenCV's own fonts lack. Nothing is ever downloaded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["installed_fonts"]

_PATIENCE = 5.0  # seconds for fontconfig; it may be building its cache
_ASKED = 64  # characters; who lacks none of so many is tried with all
_TRIED = 8  # files; a font with Chinese takes 0.3 s to load
_SUFFIXES = (".ttf", ".ttc", ".otf")
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
)
# parts of the names of files that have Chinese, best first; asked where there is no fontconfig
_HINTS = ("notosanscjk", "sourcehansans", "wqy-microhei", "wqy-zenhei", "droidsansfallback", "pingfang", "uming")


def installed_fonts(characters: str) -> tuple[Path, ...]:
    """Font files that may have all of the `characters`, best first, at most 8; the caller looks whether they do.

    fontconfig (`fc-list`) knows which have; where it is missing, slow or fails, the usual folders are searched for
    fonts known to have Chinese.
    """
    charset = " ".join(f"{ord(mark):x}" for mark in characters[:_ASKED])
    command = ["fc-list", "--format=%{file}\\n", f":charset={charset}"]
    try:
        listed = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return _hinted(_walk(_FOLDERS))
    files = {Path(os.fsdecode(line)) for line in listed.splitlines() if line}
    return tuple(sorted((path for path in files if path.suffix.lower() in _SUFFIXES), key=_rank)[:_TRIED])


def _rank(path: Path) -> tuple[bool, bool, str]:
    """Upright sans-serifs of regular weight before all others."""
    name = path.stem.lower()
    return "sans" not in name, "regular" not in name, str(path)


def _hinted(paths: Iterable[Path]) -> tuple[Path, ...]:
    ranked: list[tuple[int, tuple[bool, bool, str], Path]] = []
    for path in paths:
        hints = [number for number, hint in enumerate(_HINTS) if hint in path.stem.lower()]
        if hints:
            ranked.append((hints[0], _rank(path), path))
    return tuple(path for *_, path in sorted(ranked)[:_TRIED])


def _walk(folders: Iterable[str]) -> Iterator[Path]:
    for folder in folders:
        for parent, _, names in os.walk(os.path.expanduser(folder)):
            yield from (Path(parent, name) for name in names if name.lower().endswith(_SUFFIXES))
