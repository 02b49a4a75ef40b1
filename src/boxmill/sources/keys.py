"""Names of inputs: stable, printable, and never two inputs under one (FORMATS, "Keys")."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

__all__ = ["MAX_COMPONENT", "encode_component", "external_key", "folder_names"]

MAX_COMPONENT = 200  # bytes; with ".json" and a temporary suffix it still fits the 255 of every common file system
_KEPT = 100  # bytes of the original name that a shortened one keeps


def encode_component(name: bytes) -> str:
    """One path component as text: bytes that are not UTF-8, and the percent sign, are percent-encoded."""
    # errors="surrogateescape" maps each undecodable byte b to U+DC00 + b
    text = name.decode("utf-8", "surrogateescape").replace("%", "%25")
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


def folder_names(children: Mapping[bytes, bool]) -> dict[bytes, str]:
    """Key components for the entries of one folder.

    Args:
        children: entry name -> whether it is itself a folder.

    Returns:
        Entry name -> key component. One that is too long, that meets a sibling when case is folded, or that would stand
        where a sibling's result is written (folder "a.jpg.json" or "a.jpg.json.tmp" beside "a.jpg"), is its first bytes
        and a hash of its whole name instead.
    """
    encoded = {name: encode_component(name) for name in children}
    folded = Counter(text.casefold() for text in encoded.values())
    results = {text.casefold() + suffix for text in encoded.values() for suffix in (".json", ".json.tmp")}

    def stands_out(name: bytes, text: str) -> bool:
        return (
            len(text.encode()) > MAX_COMPONENT
            or folded[text.casefold()] > 1
            or (children[name] and text.casefold() in results)
        )

    return {name: _shorten(name) if stands_out(name, text) else text for name, text in encoded.items()}
