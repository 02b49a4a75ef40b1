"""Where inputs come from: a file, a folder, a glob, a list file."""

from __future__ import annotations

from boxmill.sources.listing import IMAGE_SUFFIXES, Listing, Place, list_source, locate, read_file

__all__ = ["IMAGE_SUFFIXES", "Listing", "Place", "list_source", "locate", "read_file"]
