"""What a run works on: the inputs of a file, a folder, a glob, a list file or an archive."""

from __future__ import annotations

import glob as globbing
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from boxmill.errors import ImageError, SourceError
from boxmill.sources.archives import is_archive, list_archive, unreadable_archive
from boxmill.sources.globs import matching_files
from boxmill.sources.keys import FolderNames, external_key, suffix
from boxmill.sources.member_names import Member
from boxmill.sources.members import ArchiveReader, refused_item
from boxmill.types import Archive, EncodedItem

__all__ = ["IMAGE_SUFFIXES", "Listing", "Place", "list_source", "locate", "read_file"]

# Taken from a folder. The formats after .bmp cannot be decoded yet: they end as failed, so that nobody misses them.
IMAGE_SUFFIXES = frozenset(
    b".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff .gif .heic .heif .avif .jp2 .ppm .pgm".split()
)
_LIST_SUFFIXES = (b".txt", b".lst")
_MOST_BYTES = 512 * 1024 * 1024  # of one member that is read by `Listing.item`; as images.DecodeLimits.max_bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """The inputs of one source, sorted by key; those of an archive in the archive's order.

    To an archive's inputs `/x/photos.zip!` is what the folder is to others: the root that paths are below.
    """

    name: str  # the source's base name: default name of the run
    root: bytes  # absolute folder that keys are relative to
    keys: list[str]
    paths: dict[str, bytes] = field(default_factory=dict)  # where the key is not simply the path below root
    skipped: Counter[str] = field(default_factory=Counter)  # entries passed over, by suffix or reason
    members: list[Member] = field(default_factory=list)  # of an archive, one for each key
    reader: ArchiveReader | None = None
    archive: Archive | None = None
    remarks: list[str] = field(default_factory=list)  # for people

    def __len__(self) -> int:
        return len(self.keys)

    def path(self, key: str) -> bytes:
        """Absolute path of an input."""
        relative = self.paths.get(key)
        prefix = "" if self.archive is None else self.archive.prefix
        return os.path.join(self.root, relative if relative is not None else key.removeprefix(prefix).encode())

    def item(self, index: int) -> EncodedItem:
        """One input; nothing is opened before its `read` is called."""
        key = self.keys[index]
        if self.reader is not None:
            member = self.members[index]
            if member.refused is not None:
                return refused_item(index, key, *member.refused)
            return self.reader.item(index, key, member.where, member.size)
        return EncodedItem(index, key, lambda: read_file(self.path(key)))

    def __iter__(self) -> Iterator[EncodedItem]:
        return (self.item(index) for index in range(len(self.keys)))


@dataclass(frozen=True, slots=True)
class Place:
    """What a source is, before it is listed."""

    kind: Literal["folder", "file", "list", "glob", "archive"]
    name: str  # default name of the run
    root: bytes  # absolute folder that keys are relative to; see Listing for an archive's


def locate(source: str | os.PathLike[str]) -> Place:
    """Where a source is; nothing is listed. Raises SourceError where there is nothing."""
    path = os.fsencode(source)
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        return Place("folder", _base_name(path), os.path.abspath(path))
    if os.path.isfile(path) and path.lower().endswith(_LIST_SUFFIXES):
        return Place("list", Path(_base_name(path)).stem, folder)
    if os.path.isfile(path) and is_archive(path):
        return Place("archive", _base_name(path), os.path.abspath(path) + b"!")
    if os.path.isfile(path) and unreadable_archive(path):
        raise SourceError(
            f"cannot look into {os.fsdecode(path)!r}: expected a .zip or .tar archive; unpack this one first"
        )
    if os.path.isfile(path):
        return Place("file", _base_name(path), folder)
    if globbing.has_magic(path):
        base = _fixed_part(path)
        return Place("glob", _base_name(base), os.path.abspath(base))
    raise SourceError(
        f"source not found: {os.fsdecode(path)!r}; expected an image, a folder, an archive, a glob or a list file"
    )


def list_source(source: str | os.PathLike[str]) -> Listing:
    """Lists the inputs of a source without opening any image.

    Args:
        source: an image file, a folder (searched recursively; symbolic links are not followed), a glob pattern
            (quoted; `**` is recursive, likewise), a list file (.txt or .lst, UTF-8, a path a line, relative to the
            list's folder), or an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz). Archives that lie in a folder are
            passed over and counted.

    Raises:
        SourceError: the source does not exist, cannot be listed, or holds no image.
    """
    path, place = os.fsencode(source), locate(source)
    if place.kind == "folder":
        listing = _folder(place)
    elif place.kind == "archive":
        listing = _archive(place)
    elif place.kind == "glob":
        listing = _files(place, matching_files(path))
    else:
        listing = _files(place, _lines(path) if place.kind == "list" else [path])
    if not listing.keys:
        raise SourceError(_nothing_found(os.fsdecode(path), listing.skipped))
    return listing


def _nothing_found(source: str, skipped: Counter[str]) -> str:
    seen = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common(5))
    kinds = " ".join(sorted(suffix.decode() for suffix in IMAGE_SUFFIXES))
    return f"no images found in {source!r} (looked for {kinds}; " + (f"passed over {seen})" if seen else "it is empty)")


def _base_name(path: bytes) -> str:
    return Path(os.fsdecode(os.path.abspath(path))).name or "root"


def _archive(place: Place) -> Listing:
    contents = list_archive(place.root.removesuffix(b"!"), IMAGE_SUFFIXES)
    listing = Listing(
        place.name,
        place.root,
        contents.keys,
        skipped=contents.skipped,
        members=contents.members,
        reader=ArchiveReader(contents.archive, _MOST_BYTES),
        archive=contents.archive,
        remarks=contents.remarks,
    )
    for key, member in zip(contents.keys, contents.members, strict=True):
        if key.removeprefix(contents.archive.prefix).encode() != member.name:
            listing.paths[key] = member.name
    return listing


def _folder(place: Place) -> Listing:
    root = place.root
    if not os.access(root, os.R_OK | os.X_OK):
        raise SourceError(f"cannot list {os.fsdecode(root)!r}: permission denied")
    listing = Listing(place.name, root, [])
    pending: list[tuple[bytes, str]] = [(b"", "")]  # path below root, key prefix
    while pending:
        below, prefix = pending.pop()
        files, folders = _children(os.path.join(root, below), listing.skipped)
        pending += _add_folder(listing, below, prefix, files, folders)
    listing.keys.sort()
    return listing


def _add_folder(
    listing: Listing, below: bytes, prefix: str, files: list[bytes], folders: list[bytes]
) -> list[tuple[bytes, str]]:
    """Adds one folder's files, whose list it empties; returns the path below the root and key prefix of its folders."""
    names, inside = FolderNames(files, folders), os.path.join(below, b"")
    while files:  # a name's memory is free before the next key needs some: a folder may hold a million of them
        name = files.pop()
        _add(listing, prefix + names.component(name, folder=False), inside + name)
    return [(os.path.join(below, name), f"{prefix}{names.component(name, folder=True)}/") for name in folders]


def _children(folder: bytes, skipped: Counter[str]) -> tuple[list[bytes], list[bytes]]:
    """Image files and sub-folders of one folder; the rest is counted."""
    files: list[bytes] = []
    folders: list[bytes] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(b"."):
                    skipped["hidden"] += 1
                elif suffix(name) in IMAGE_SUFFIXES and entry.is_file(follow_symlinks=False):
                    files.append(name)
                elif entry.is_symlink():
                    skipped["symbolic link"] += 1
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif is_archive(name) or unreadable_archive(name):
                    skipped["archive"] += 1
                else:
                    skipped[os.fsdecode(suffix(name)) or "without suffix"] += 1
    except PermissionError:
        skipped["unreadable folder"] += 1
    return files, folders


def _add(listing: Listing, key: str, path: bytes) -> None:
    listing.keys.append(key)
    if key.encode() != path:
        listing.paths[key] = path


def _fixed_part(pattern: bytes) -> bytes:
    """The folder above the first component with wildcards."""
    fixed = []
    for component in os.path.dirname(pattern).split(b"/"):
        if globbing.has_magic(component):
            break
        fixed.append(component)
    return b"/".join(fixed) or (b"/" if pattern.startswith(b"/") else b".")


def _lines(path: bytes) -> Iterator[bytes]:
    """The absolute paths that a list file names."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise SourceError(f"cannot read the list file {os.fsdecode(path)!r}: {error.strerror}") from error
    folder = os.path.dirname(os.path.abspath(path))
    lines = (line.strip() for line in data.removeprefix(b"\xef\xbb\xbf").splitlines())
    return (os.path.join(folder, line) for line in lines if line)


def _files(place: Place, paths: Iterable[bytes]) -> Listing:
    """Inputs named one by one; those below the root keep their relative path as key."""
    root = place.root
    listing = Listing(place.name, root, [])
    inside: dict[bytes, dict[bytes, bool]] = {}  # folder below root -> its entries
    seen: set[bytes] = set()
    for path in paths:
        absolute = os.path.normpath(os.path.abspath(path))
        if absolute in seen:
            listing.skipped["listed twice"] += 1
        elif absolute.startswith(root.rstrip(b"/") + b"/"):
            _note(inside, os.path.relpath(absolute, root))
        else:
            _add(listing, external_key(absolute), absolute)
        seen.add(absolute)
    _add_inside(listing, inside)
    listing.keys.sort()
    return listing


def _note(inside: dict[bytes, dict[bytes, bool]], relative: bytes) -> None:
    folder, name = os.path.split(relative)
    inside.setdefault(folder, {})[name] = False
    while folder:
        parent, name = os.path.split(folder)
        inside.setdefault(parent, {})[name] = True
        folder = parent


def _add_inside(listing: Listing, inside: dict[bytes, dict[bytes, bool]]) -> None:
    pending = [(b"", "")] if inside else []
    while pending:
        below, prefix = pending.pop()
        entries = inside[below]
        files = [name for name, folder in entries.items() if not folder]
        folders = [name for name, folder in entries.items() if folder]
        pending += _add_folder(listing, below, prefix, files, folders)


def _open(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # without it, a named pipe is waited for until somebody writes


def read_file(path: bytes, size: int = -1, mtime_ns: int = -1, max_bytes: int | None = None) -> bytes:
    """The bytes of an input.

    Args:
        path: absolute.
        size: what it had when it was listed; -1: not known, then nothing is compared.
        mtime_ns: likewise; -1: only the size is compared.
        max_bytes: larger files are not read; None: any are.

    Raises:
        ImageError: `changed`, it is not the file that was listed; `unsupported`, it is a pipe or a device; `too_large`.
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0, opener=_open) as file:
        now = os.fstat(file.fileno())
        if not stat.S_ISREG(now.st_mode):
            raise ImageError("unsupported", "expected a file with an image, found a pipe, a socket or a device")
        other_time = mtime_ns >= 0 and now.st_mtime_ns != mtime_ns
        if size >= 0 and (now.st_size != size or other_time):
            what = f"{size} -> {now.st_size} bytes" if now.st_size != size else "same size, other time"
            raise ImageError("changed", f"the file has changed since it was listed ({what}); start a new run for it")
        if max_bytes is not None and now.st_size > max_bytes:
            message = f"file has {now.st_size} bytes; the limit is {max_bytes}: raise it or shrink the image"
            raise ImageError("too_large", message)
        return file.read()
