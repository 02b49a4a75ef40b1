"""Text for XML files."""

from __future__ import annotations

import re

__all__ = ["legal"]

# what XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """The text with the replacement character U+FFFD for what XML cannot hold, such as control characters."""
    return _ILLEGAL.sub("\ufffd", text)
