"""Fuzzes the reader of checkpoints with atheris: scripts/fuzz_checkpoint runs it, with seeds that it makes here.

The first byte of an input chooses the door: an odd one is followed by a whole archive; an even one by a pickle alone,
which is put into a good archive with the storages of the small network, so that no checksum stands in the way. Whatever
comes, reading gives a Checkpoint or a ModelError, and raises no audit event: nothing is imported, opened or executed.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["boxmill.models"]):
    from boxmill.models import checkpoint as reader
    from boxmill.models import torch_archive

from attacks import assembler as asm
from attacks.evil import STORAGES, cases

from boxmill.errors import ModelError
from boxmill.models.torch_archive import Archive, Member

MAX_SEED = 4000  # bytes; longer ones only make the fuzzer slow


class Broken(Exception):
    """What must never happen."""


class Door:
    """Gives inputs to the reader."""

    def __init__(self) -> None:
        self.storages = b""
        self.members: dict[str, Member] = {}
        for key, value in {**STORAGES, **asm.small()[1]}.items():
            place = len(self.storages)
            self.members[f"data/{key}"] = Member(place, place + len(value), zlib.crc32(value))
            self.storages += value
        self.armed = False
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        if self.armed:
            raise Broken(f"{event} {args!r:.200}")

    def archive(self, raw: bytes) -> Archive:
        if raw[0] % 2:
            return torch_archive.parse_archive(raw[1:])
        start, whole = len(self.storages), self.storages + raw[1:]
        pickle = Member(start, len(whole), zlib.crc32(raw[1:]))
        return Archive(memoryview(whole), {"data.pkl": pickle, **self.members})

    def __call__(self, raw: bytes) -> None:
        if not raw:
            return
        self.armed = True
        try:
            read = reader.parse_checkpoint(self.archive(raw))
            total = sum(array.nbytes for array in read.state.values() if array.tobytes() is not None)
        except ModelError as error:
            if len(str(error)) > 2000:
                raise Broken(f"a message of {len(str(error))} characters") from error
            return
        finally:
            self.armed = False
        if total > 4 * (len(raw) + len(self.storages)):
            raise Broken(f"{total} bytes of tensors from a file of {len(raw)}")


def write_seeds(folder: Path) -> None:
    """Good and evil files, the small ones, for both doors."""
    folder.mkdir(parents=True, exist_ok=True)
    pickle, storages = asm.small()
    bodies = {"good-pickle": b"\0" + pickle, "good-archive": b"\1" + asm.checkpoint(pickle, storages)}
    for index, (label, raw, _) in enumerate(cases()):
        if not raw.startswith(b"PK") or label.startswith("billion"):  # those take milliseconds, as all made of them
            continue
        bodies[f"{index}-archive"] = b"\1" + raw
        try:
            bodies[f"{index}-pickle"] = b"\0" + torch_archive.parse_archive(raw).read("data.pkl", MAX_SEED)
        except ModelError:
            continue  # evil as an archive or too long, so there is no pickle to take out
    for name, body in bodies.items():
        if len(body) <= MAX_SEED:
            (folder / name).write_bytes(body)


def main() -> None:
    if sys.argv[1:2] == ["--seeds"]:
        write_seeds(Path(sys.argv[2]))
        return
    atheris.Setup(sys.argv, Door())
    atheris.Fuzz()


main()
