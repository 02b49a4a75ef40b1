"""Names of inputs: stable, printable, and never two inputs under one (FORMATS, "Keys")."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_COMPONENT", "FolderNames", "encode_component", "external_key", "suffix"]

MAX_COMPONENT = 200  # bytes; with ".json" and a temporary suffix it still fits the 255 of every common file system
_KEPT = 100  # bytes of the original name that a shortened one keeps
_WRITTEN = re.compile(r"\.(json|jpg)(\.tmp)?\Z")  # what results and pictures have after their key
_SHORTENED = re.compile(r".*-[0-9a-f]{16}", re.DOTALL)


def suffix(name: bytes) -> bytes:
    """A file name's suffix with its dot, in lower case; empty where it has none."""
    dot = name.rfind(b".")
    return name[dot:].lower() if dot > 0 else b""


def encode_component(name: bytes) -> str:
    """One path component as text: bytes that are not UTF-8, and the percent sign, are percent-encoded."""
    # errors="surrogateescape" maps each undecodable byte b to U+DC00 + b
    text = name.decode("utf-8", "surrogateescape")
    if "%" in text:
        text = text.replace("%", "%25")
    if text.isascii() or not any("\udc80" <= c <= "\udcff" for c in text):
        return text
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in text)


def _shorten(name: bytes) -> str:
    head = encode_component(name).encode()[:_KEPT].decode("utf-8", "ignore")
    return f"{head}-{hashlib.sha256(name).hexdigest()[:16]}"


def external_key(path: bytes) -> str:
    """Key of an input outside the source's folder, from its absolute path."""
    base = path.rsplit(b"/", 1)[-1]
    name = encode_component(base)
    if len(name.encode()) > MAX_COMPONENT:
        name = _shorten(base)
    return f"ext/{hashlib.sha256(path).hexdigest()[:16]}-{name}"


class FolderNames:
    """Key components for the entries of one folder; beside their names it takes 16 bytes an entry while it is made."""

    def __init__(self, files: Sequence[bytes], folders: Sequence[bytes]) -> None:
        names = partial(chain, files, folders)
        folded = np.fromiter((hash(_folded(name)) for name in names()), np.int64, len(files) + len(folders))
        self._meeting = _meeting(names, folded)
        # where the result or the picture of an entry is written: as `<key>.json.tmp` first
        written = {fold for fold in map(_folded, folders) if _WRITTEN.search(fold)}
        beside = {_WRITTEN.sub("", fold) for fold in written}
        beside = {fold for name in names() if (fold := _folded(name)) in beside} if beside else set()
        self._results = {fold for fold in written if _WRITTEN.sub("", fold) in beside}
        self._some = bool(self._meeting or self._results) or any(_is_long(name) for name in names())

    def component(self, name: bytes, *, folder: bool) -> str:
        """The key component of one of the entries.

        One that is too long, that meets a sibling when case is folded, or that would stand where a sibling's result is
        written (folder "a.jpg.json" or "a.jpg.json.tmp" beside "a.jpg"), is its first bytes and a hash of the whole.
        Beside such a one, so is every name that already looks like that: it might be the very same.
        """
        text = encode_component(name)
        if not self._some:
            return text
        fold = text.casefold()
        changed = fold in self._meeting or (folder and fold in self._results) or _SHORTENED.fullmatch(fold)
        return _shorten(name) if changed or _is_long(name) else text


def _is_long(name: bytes) -> bool:
    """Whether it has too many bytes as a component; percent-encoding makes at most three of one."""
    return 3 * len(name) > MAX_COMPONENT and len(encode_component(name).encode()) > MAX_COMPONENT


def _folded(name: bytes) -> str:
    return encode_component(name).casefold()


def _meeting(names: Callable[[], Iterable[bytes]], hashes: npt.NDArray[np.int64]) -> set[str]:
    """The folded names that several entries have; `hashes` (N,), which is sorted here, spares holding all of them."""
    hashes.sort()
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not suspects:
        return set()
    counts = Counter(fold for name in names() if hash(fold := _folded(name)) in suspects)
    return {fold for fold, count in counts.items() if count > 1}
