"""Archives written by hand: honest ones of any shape, broken ones, and bombs. None is large; some claim to be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MiB = 1 << 20


# zip


@dataclass(frozen=True, slots=True)
class Part:
    """One member of a zip, and what its headers say of it where that is not so."""

    name: bytes
    data: bytes = b""
    method: int = 0
    packed: bytes | None = None  # the compressed bytes; None: `data`, compressed by `method` (0 or 8)
    size: int | None = None  # declared
    crc: int | None = None  # declared
    flags: int = 0
    system: int = 3
    mode: int = 0o100644
    extra: bytes = b""
    offset: int | None = None  # declared, of its local header
    declared_packed: int | None = None
    absent: bool = False  # only in the central directory


def _packed(part: Part) -> bytes:
    if part.packed is not None:
        return part.packed
    if part.method == 8:
        engine = zlib.compressobj(6, zlib.DEFLATED, -15)
        return engine.compress(part.data) + engine.flush()
    return part.data


def zip_bytes(parts: Iterable[Part], comment: bytes = b"", before: bytes = b"") -> bytes:
    """A zip of exactly these members."""
    out, central, count = bytearray(before), bytearray(), 0
    for part in parts:
        packed = _packed(part)
        size = len(part.data) if part.size is None else part.size
        crc = zlib.crc32(part.data) if part.crc is None else part.crc
        offset = len(out) - len(before) if part.offset is None else part.offset
        length = len(packed) if part.declared_packed is None else part.declared_packed
        common = struct.pack("<HHHHLLL", part.flags, part.method, 0, 33, crc, length, size)
        if not part.absent:
            out += b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<HH", len(part.name), 0)
            out += part.name + packed
        central += b"PK\1\2" + struct.pack("<BBH", 20, part.system, 20) + common
        central += struct.pack("<HHHHHLL", len(part.name), len(part.extra), 0, 0, 0, part.mode << 16, offset)
        central += part.name + part.extra
        count += 1
    start = len(out) - len(before)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(central), start, len(comment))
    return bytes(out + central + end + comment)


def unicode_path(raw: bytes, text: str, crc: int | None = None) -> bytes:
    """The Info-ZIP Unicode path field (0x7075) for a name."""
    body = struct.pack("<BL", 1, zlib.crc32(raw) if crc is None else crc) + text.encode()
    return struct.pack("<HH", 0x7075, len(body)) + body


def zip_of_photos(photos: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An ordinary zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in photos.items():
            archive.writestr(name, data)
    return out.getvalue()


def declared_zip_bomb(size: int = 10 << 30) -> bytes:
    """`x.jpg` says in its header how large it becomes: a zip64 member of 10 GiB, of which a little is there."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15).compress(bytes(16 * MiB))
    extra = struct.pack("<HHQ", 1, 8, size)
    return zip_bytes([Part(b"x.jpg", packed=packed, method=8, size=0xFFFFFFFF, crc=0, extra=extra)])


def lying_zip_bomb(true_size: int = 64 * MiB) -> bytes:
    """`x.jpg` says that it has 1000 bytes and inflates to 64 MiB of zeros."""
    return zip_bytes([Part(b"x.jpg", bytes(true_size), method=8, size=1000, crc=zlib.crc32(bytes(1000)))])


def overlapping_zip_bomb(members: int = 100) -> bytes:
    """Many members that share one compressed kernel (Fifield 2019, the simple form), and one honest photo."""
    kernel = Part(b"0.jpg", bytes(MiB), method=8)
    packed = _packed(kernel)
    shared = [
        Part(b"%d.jpg" % number, kernel.data, method=8, packed=packed, offset=0, absent=True)
        for number in range(1, members)
    ]
    return zip_bytes([kernel, *shared, Part(b"good.jpg", b"a photo")])


# tar


@dataclass(frozen=True, slots=True)
class Block:
    """One tar header, and the bytes behind it."""

    name: bytes
    data: bytes = b""
    kind: bytes = b"0"
    size: int | None = None  # declared
    link: bytes = b""
    binary_size: bool = False


def tar_header(block: Block) -> bytes:
    """512 bytes with a right checksum."""
    size = len(block.data) if block.size is None else block.size
    digits = b"\x80" + size.to_bytes(11, "big") if block.binary_size else b"%011o\0" % size
    fields = block.name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + digits + b"%011o\0" % 0
    rest = block.kind + block.link[:100].ljust(100, b"\0") + b"ustar\x0000"
    rest = rest.ljust(512 - len(fields) - 8, b"\0")
    checksum = sum(fields) + sum(rest) + 8 * 32
    return fields + b"%06o\0 " % checksum + rest


def tar_bytes(blocks: Iterable[Block], end: bool = True) -> bytes:
    """A tar of exactly these headers."""
    out = bytearray()
    for block in blocks:
        out += tar_header(block) + block.data + bytes(-len(block.data) % 512)
    return bytes(out + bytes(1024 if end else 0))


def pax(records: Mapping[str, bytes]) -> Block:
    """An extended header for the member behind it."""
    data = b""
    for key, value in records.items():
        body = b" " + key.encode() + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        data += b"%d" % length + body
    return Block(b"PaxHeaders/x", data, b"x")


def tar_of_photos(photos: Mapping[str, bytes], compression: str = "") -> bytes:
    """An ordinary tar; compression: "", gz, bz2 or xz."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:
        for name, data in photos.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def declared_tar_bomb(size: int = 10 << 30) -> bytes:
    """`x.jpg` says that it has 10 GiB; the file ends after its header. Sparse on a disk, it might even be there."""
    return tar_bytes([Block(b"x.jpg", size=size, binary_size=True)], end=False)


def tar_gz_bomb(size: int = 700 * MiB) -> bytes:
    """700 kB: `bomb.jpg` of 700 MiB of zeros between two photos."""
    zeros = gzip.compress(bytes(MiB), 9, mtime=0)
    before = tar_bytes([Block(b"first.jpg", b"a photo")], end=False) + tar_header(Block(b"bomb.jpg", size=size))
    after = tar_bytes([Block(b"last.jpg", b"a photo")])
    return gzip.compress(before, mtime=0) + zeros * (size // MiB) + gzip.compress(after, mtime=0)


def tar_bz2_bomb(size: int = 700 * MiB) -> bytes:
    """34 kB: the same as tar.bz2."""
    zeros = bz2.compress(bytes(MiB))
    before = tar_bytes([Block(b"first.jpg", b"a photo")], end=False) + tar_header(Block(b"bomb.jpg", size=size))
    return bz2.compress(before) + zeros * (size // MiB) + bz2.compress(bytes(1024))


def huge_pax_bomb(size: int = 8 << 30) -> bytes:
    """An extended header that says it has 8 GiB."""
    return tar_bytes([Block(b"PaxHeaders/x", kind=b"x", size=size, binary_size=True), Block(b"a.jpg", b"a photo")])


def greedy_xz() -> bytes:
    """A tar.xz that asks for a gibibyte of memory to be read; made small by saying so in its header only."""
    data = bytearray(lzma.compress(tar_of_photos({"a.jpg": b"a photo"}), preset=0))
    # stream header 12 bytes, then the block header: size, flags, filter 0x21, 1 byte of properties: the dictionary
    place = data.index(b"\x21\x01", 12) + 2
    data[place] = 36  # 1 GiB
    length = (data[12] + 1) * 4
    data[12 + length - 4 : 12 + length] = zlib.crc32(data[12 : 12 + length - 4]).to_bytes(4, "little")
    return bytes(data)


def write(folder: Path, name: str, data: bytes) -> Path:
    """A file of these bytes."""
    path = folder / name
    path.write_bytes(data)
    return path
