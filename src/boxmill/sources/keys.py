"""Names of inputs: stable, printable, and never two inputs under one (FORMATS, "Keys")."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_COMPONENT", "FolderNames", "encode_component", "external_key"]

MAX_COMPONENT = 200  # bytes; with ".json" and a temporary suffix it still fits the 255 of every common file system
_KEPT = 100  # bytes of the original name that a shortened one keeps


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
        # where the result of an entry is written: as `<key>.json.tmp` first
        written = {fold for fold in map(_folded, folders) if fold.endswith((".json", ".json.tmp"))}
        beside = {fold.removesuffix(".tmp").removesuffix(".json") for fold in written}
        beside = {fold for name in names() if (fold := _folded(name)) in beside} if beside else set()
        self._results = {fold for fold in written if fold.removesuffix(".tmp").removesuffix(".json") in beside}

    def component(self, name: bytes, *, folder: bool) -> str:
        """The key component of one of the entries.

        One that is too long, that meets a sibling when case is folded, or that would stand where a sibling's result is
        written (folder "a.jpg.json" or "a.jpg.json.tmp" beside "a.jpg"), is its first bytes and a hash of the whole.
        """
        text = encode_component(name)
        if len(text) > MAX_COMPONENT // 4 and len(text.encode()) > MAX_COMPONENT:  # UTF-8 has 4 bytes at most
            return _shorten(name)
        if not self._meeting and not (folder and self._results):
            return text
        fold = text.casefold()
        return _shorten(name) if fold in self._meeting or (folder and fold in self._results) else text


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
