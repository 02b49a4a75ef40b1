"""How long it takes to refuse what is built to cost time and memory.

    PYTHONPATH=src python bench/refusals.py            # prints the table
    PYTHONPATH=src python bench/refusals.py --write    # and refreshes RESULTS.md

Each case makes its bytes once; then they are refused a number of times, and the slowest counts. A refusal must come
from the header: within 100 ms, with hardly any memory. An archive is listed and each of its files read.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import results

from boxmill.errors import ImageError
from boxmill.images import configure_opencv, decode
from boxmill.sources import list_source

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/sources"))
import bombs

SIDE = 30_000  # 900 megapixels
TARGET = 100.0  # ms


@dataclass(frozen=True, slots=True)
class Case:
    """Something to refuse."""

    name: str
    make: Callable[[], bytes]
    refuse: Callable[[bytes], str]  # returns the code


def image_code(data: bytes) -> str:
    try:
        decode(data, "bomb")
    except ImageError as error:
        return error.code
    return "decoded"


def archive_codes(suffix: str, data: bytes) -> str:
    """The different codes that its files end with; "read" for those that can be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bomb" + suffix)
        path.write_bytes(data)
        codes = set()
        for item in list_source(path):
            try:
                if item.fetch is not None:
                    item.fetch()
                item.read()
                codes.add("read")
            except ImageError as error:
                codes.add(error.code)
    return ", ".join(sorted(codes - {"read"})) or "decoded"


def png_bomb() -> bytes:
    """One bit a pixel, all black: deflate leaves a thousandth of it."""
    packer = zlib.compressobj(9)
    row = SIDE // 8 + 1
    body = b"".join(packer.compress(bytes(row * 1000)) for _ in range(SIDE // 1000)) + packer.flush()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0)), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_of_chunks() -> bytes:
    """Three million empty chunks before the first pixel."""
    chunk = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    return png_bomb()[:33] + chunk * 3_000_000


def gif_bomb() -> bytes:
    """A screen of the largest size with one pixel on it."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x4c\1\0"
    return b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + frame + b";"


def tiff_bomb() -> bytes:
    """Grey bytes that all come from the same strip of the file."""
    tags = ((256, SIDE), (257, SIDE), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, SIDE), (279, 1))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


CASES = (
    Case("PNG of 900 megapixels", png_bomb, image_code),
    Case("PNG of 3,000,000 empty chunks", png_of_chunks, image_code),
    Case("GIF of 4,295 megapixels", gif_bomb, image_code),
    Case("TIFF of 900 megapixels", tiff_bomb, image_code),
    Case("zip of 10 GiB, declared", bombs.declared_zip_bomb, partial(archive_codes, ".zip")),
    Case("zip of 64 MiB that declares 1000 bytes", bombs.lying_zip_bomb, partial(archive_codes, ".zip")),
    Case("zip of 100 files that share their bytes", bombs.overlapping_zip_bomb, partial(archive_codes, ".zip")),
    Case("tar of 10 GiB, declared", bombs.declared_tar_bomb, partial(archive_codes, ".tar")),
    Case("tar.gz of 700 MiB", bombs.tar_gz_bomb, partial(archive_codes, ".tar.gz")),
    Case("tar.bz2 of 700 MiB", bombs.tar_bz2_bomb, partial(archive_codes, ".tar.bz2")),
)


def measure(case: Case, rounds: int) -> tuple[int, str, float, float]:
    """Bytes, code, slowest refusal in ms, peak of Python's memory in kB."""
    data = case.make()
    slowest, code = 0.0, ""
    for _ in range(rounds):
        start = time.perf_counter()
        code = case.refuse(data)
        slowest = max(slowest, (time.perf_counter() - start) * 1e3)
    tracemalloc.start()
    case.refuse(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return len(data), code, slowest, peak / 1e3


def table(rounds: int) -> str:
    lines = ["| input | bytes | ends as | slowest, ms | memory, kB | target |", "|---|---|---|---|---|---|"]
    for case in CASES:
        size, code, slowest, peak = measure(case, rounds)
        met = "met" if slowest < TARGET and code != "decoded" else "missed"
        lines.append(f"| {case.name} | {size:,} | {code} | {slowest:.2f} | {peak:.0f} | {met} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    configure_opencv()
    how = f"Slowest of {arguments.rounds} refusals; the target is {TARGET:.0f} ms."
    packages = ("numpy", "opencv-python-headless")
    body = "\n\n".join(["## Refusals", how, table(arguments.rounds), results.environment(packages)])
    print(body)
    if arguments.write:
        results.write_section("refusals", body)


if __name__ == "__main__":
    main()
