"""Where inputs come from: a file, a folder, a glob, a list file."""

from __future__ import annotations

from boxmill.sources.listing import IMAGE_SUFFIXES, Listing, list_source

__all__ = ["IMAGE_SUFFIXES", "Listing", "list_source"]
