"""Files named after an image without its suffix (`a.json`, `a.txt`), as other tools expect them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from boxmill.errors import UsageError

__all__ = ["check_stems", "stem"]

# letters and digits only: the number of a video's frame (clip.mp4#000123) and the hash of a shortened name stay
_SUFFIX = re.compile(r"(?<=[^/])\.[0-9A-Za-z]+$")


def stem(key: str) -> str:
    """The key without its file name's suffix: `sub/a.jpg` becomes `sub/a`, `.hidden` stays."""
    return _SUFFIX.sub("", key)


def check_stems(keys: Iterable[str], suffix: str, flag: str) -> None:
    """That no two inputs would share a file `<stem><suffix>`, nor one stand where another needs a folder.

    Letters that differ in case only count as the same, as some file systems have it.

    Args:
        keys: of all inputs.
        suffix: of the files, such as ".json".
        flag: what asks for such files, for the message.

    Raises:
        UsageError: two inputs do; both are named.
    """
    owners: dict[str, str] = {}
    folders: dict[str, str] = {}
    for key in keys:
        file = (stem(key) + suffix).casefold()
        other = owners.setdefault(file, key)
        if other is not key:
            raise UsageError(
                f"{flag}: {other!r} and {key!r} would both be written to {stem(key) + suffix!r}; "
                "rename one of them, or leave the flag out"
            )
        parent = key.rpartition("/")[0].casefold()
        while parent and parent not in folders:
            folders[parent] = key
            parent = parent.rpartition("/")[0]
    for file, key in owners.items():
        below = folders.get(file) or folders.get(file + ".tmp")
        if below is not None:
            raise UsageError(
                f"{flag}: the file of {key!r} would stand where {below!r} needs a folder; rename one of them"
            )
