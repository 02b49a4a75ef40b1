"""What the members of an archive are called: one readable, harmless name each, whatever wrote it (FORMATS, "Keys")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from boxmill.sources.keys import FolderNames

__all__ = ["Member", "member_keys", "plain_name", "unsafe_because", "zip_name"]

_MOST_BYTES = 1024  # of a whole name: three times as long percent-encoded, it still fits a path's 4096 with the run's
_MOST_LEVELS = 64
_DRIVE = re.compile(rb"[A-Za-z]:")


@dataclass(slots=True)
class Member:
    """One input in an archive."""

    name: bytes  # plain: no empty, "." or ".." component, separated by "/"
    size: int  # bytes, uncompressed, as declared
    where: str  # what its archive's reader needs to find it again
    refused: tuple[str, str] | None = None  # code and message, where it cannot be used


def zip_name(raw: bytes, *, utf8: bool, unicode_path: bytes | None) -> bytes:
    """The name of a zip member as bytes of UTF-8 where its encoding can be told, and as it is where not.

    Bit 11 says UTF-8, and so does the Info-ZIP Unicode path field. Without them names are UTF-8 if they can be (macOS,
    Linux), else GB18030 (Windows in Chinese) if at least half of their characters beyond ASCII are the common ones of
    GB 2312: the accented letters of code page 437 almost never are. What is left over is percent-encoded in the key.

    Args:
        raw: as it stands in the central directory.
        utf8: bit 11 of the flags.
        unicode_path: the field 0x7075, its checksum verified.
    """
    name = raw if unicode_path is None else unicode_path
    if utf8 or name.isascii() or unicode_path is not None:
        return name
    try:
        name.decode("utf-8")
        return name
    except UnicodeDecodeError:
        return _from_gb18030(name) or name


def _from_gb18030(name: bytes) -> bytes | None:
    try:
        text = name.decode("gb18030")
    except UnicodeDecodeError:
        return None
    beyond = [character for character in text if not character.isascii()]
    common = sum(bool(character.encode("gb2312", "ignore")) for character in beyond)
    return text.encode() if 2 * common >= len(beyond) and text.isprintable() else None


def plain_name(name: bytes, *, backslash: bool) -> bytes:
    """A name without empty and "." components, separated by "/".

    Args:
        name: as in the archive.
        backslash: it was written where backslashes separate folders.
    """
    if backslash:
        name = name.replace(b"\\", b"/")
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


def unsafe_because(name: bytes) -> str | None:
    """Why a member's name, as in the archive, may not be trusted; None where it may."""
    if b"\0" in name:
        return "its name has a NUL byte in it"
    if b".." in name and b".." in re.split(rb"[/\\]", name):
        return "its name leads out of the archive ('..')"
    if name.startswith((b"/", b"\\")) or _DRIVE.match(name):
        return "its name is an absolute path"
    levels = name.count(b"/") + name.count(b"\\") + 1
    if len(name) > _MOST_BYTES or levels > _MOST_LEVELS:
        return f"its name has {len(name)} bytes in {levels} levels; {_MOST_BYTES} in {_MOST_LEVELS} are the most"
    return None


def outside_name(name: bytes) -> bytes:
    """What a member with an unsafe name is called."""
    base = re.split(rb"[/\\\0]", name)[-1][-100:]
    return b"ext/" + hashlib.sha256(name).hexdigest()[:16].encode() + b"-" + base


@dataclass(slots=True)
class _Folder:
    parent: int
    name: bytes
    files: list[int]  # places of its members
    folders: list[int]


def member_keys(members: Sequence[Member], prefix: str) -> list[str]:
    """The key of each member.

    Of several members with one name the last one counts, as when they are extracted; the earlier ones are refused
    here, under another name.
    """
    tree = _tree(members)
    keys = [""] * len(members)
    prefixes = [prefix] + [""] * (len(tree) - 1)
    for number, folder in enumerate(tree):  # parents come first
        names = _distinct(members, folder.files)
        inner = [tree[child].name for child in folder.folders]
        components = FolderNames(names, inner)
        for place, name in zip(folder.files, names, strict=True):
            keys[place] = prefixes[number] + components.component(name, folder=False)
        for child, name in zip(folder.folders, inner, strict=True):
            prefixes[child] = f"{prefixes[number]}{components.component(name, folder=True)}/"
        folder.files, prefixes[number] = [], ""
    return keys


def _tree(members: Sequence[Member]) -> list[_Folder]:
    """The folders of all members, the root first; a member's name is walked once, so that deep ones stay affordable."""
    tree = [_Folder(0, b"", [], [])]
    known: dict[tuple[int, bytes], int] = {}
    last_path, last = b"", 0
    for place, member in enumerate(members):
        path = member.name.rpartition(b"/")[0]
        if path != last_path:
            last_path, last = path, 0
            for part in path.split(b"/") if path else ():
                number = known.get((last, part))
                if number is None:
                    number = known[last, part] = len(tree)
                    tree[last].folders.append(number)
                    tree.append(_Folder(last, part, [], []))
                last = number
        tree[last].files.append(place)
    return tree


def _distinct(members: Sequence[Member], places: Sequence[int]) -> list[bytes]:
    """The names of one folder's members; all but the last of those that have one name are refused and renamed."""
    names = [members[place].name.rpartition(b"/")[2] for place in places]
    last = {name: at for at, name in enumerate(names)}
    if len(last) == len(names):
        return names
    number = 0
    for at, name in enumerate(names):
        if last[name] == at:
            continue
        member, number = members[places[at]], number + 1
        while (other := b"%s (duplicate %d)" % (name, number)) in last:
            number += 1
        last[other] = at
        names[at] = other
        member.name = member.name.removesuffix(name) + other
        member.refused = member.refused or ("duplicate", "a later member has the same name; that one counts")
    return names
