"""What every file under a folder ends as, a line each: hash, outcome. Run as a process of its own, which has a peak.

    python hostile_outcomes.py FOLDER [PHOTO ...] > hostile.tsv

The outcome is `ok WIDTHxHEIGHT CRC` (zlib's CRC-32 of the RGB bytes) or the code of the failure. Photos are decoded in
between, named by their path. The last line, on stderr, is the peak resident memory in kB.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from boxmill.errors import ImageError
from boxmill.images import configure_opencv, decode

HASH_DIGITS = 20  # of sha256


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:HASH_DIGITS]


def outcome(data: bytes) -> str:
    try:
        pixels = decode(data, "x").pixels
    except ImageError as error:
        return error.code
    return f"ok {pixels.shape[1]}x{pixels.shape[0]} {zlib.crc32(pixels):08x}"


def outcomes(folder: Path, photos: list[Path]) -> Iterator[tuple[str, str]]:
    """Each distinct file once, in the order of the hashes; a photo after every 100 of them."""
    files = {digest(data): data for data in (path.read_bytes() for path in folder.rglob("*") if path.is_file())}
    hashes = sorted(files)
    pieces = [hashes[at : at + 100] for at in range(0, len(hashes), 100)]
    for piece, photo in zip_longest(pieces, photos[: len(pieces)]):
        yield from ((name, outcome(files[name])) for name in piece)
        if photo is not None:
            yield str(photo), outcome(photo.read_bytes())


def main() -> None:
    configure_opencv()
    for name, result in outcomes(Path(sys.argv[1]), [Path(photo) for photo in sys.argv[2:]]):
        sys.stdout.write(f"{name}\t{result}\n")
    sys.stderr.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


if __name__ == "__main__":
    main()
