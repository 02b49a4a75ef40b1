"""Where inputs come from: a file, a folder, a glob, a list file, an archive."""

from __future__ import annotations

from boxmill.sources.items import ItemReader
from boxmill.sources.listing import IMAGE_SUFFIXES, Listing, Place, list_source, locate, read_file
from boxmill.sources.members import ArchiveReader

__all__ = [
    "IMAGE_SUFFIXES",
    "ArchiveReader",
    "ItemReader",
    "Listing",
    "Place",
    "list_source",
    "locate",
    "read_file",
]
