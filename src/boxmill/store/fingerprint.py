"""What must be the same for two parts of a run to be one run (FORMATS, "Fingerprint")."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping

__all__ = ["differences", "digest", "file_sha256"]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file's bytes. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(fields: Mapping[str, object]) -> str:
    """Hex sha256 over JSON-able fields, whatever their order."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """`field: then -> now` for each field that differs; long values are cut."""
    return [
        f"{name}: {_shown(then.get(name))} -> {_shown(now.get(name))}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
