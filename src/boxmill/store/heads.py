"""`--dump-heads`: what the network said of each image, bit for bit, for `boxmill lab` and for anybody's own decoder.

`heads/<key>.npz` holds one image: `output0`, `output1`, … as the runtime gave them, and `network`, `scale`, `pad`,
`resized`, `source` as in `boxmill.types.Geometry`. `heads.json` beside the folder says how they are decoded. Written
while the run goes on, one image at a time for each worker; not in the journal, so a resume does not make those of
finished images again.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from boxmill.errors import SourceError
from boxmill.store.documents import pretty
from boxmill.store.durable import FileTree, write_file
from boxmill.types import Geometry, HeadSpec

__all__ = ["DumpHeader", "HeadDump", "HeadFiles", "read_dump", "read_dump_header", "walk_dumps"]

_FORMAT: Literal[1] = 1
_FIELDS = ("scale", "pad", "resized", "network", "source")  # of Geometry


@dataclass(frozen=True, slots=True)
class DumpHeader:
    """What all dumps of a run have in common: `heads.json`."""

    head: HeadSpec
    names: tuple[str, ...]  # by class id
    weights: str  # file name
    runtime: str
    precision: str
    format: Literal[1] = _FORMAT


@dataclass(frozen=True, slots=True, eq=False)
class HeadDump:
    """One image's raw head."""

    key: str
    raw: tuple[npt.NDArray[Any], ...]  # in the order of `HeadSpec.outputs`, each (1, ...) or, without a batch, (...)
    geometry: Geometry


class HeadFiles:
    """Writes the dumps of one run; usable from several threads at once."""

    def __init__(self, directory: str | os.PathLike[str], header: DumpHeader) -> None:
        """`directory` is the run's. Raises OutputError."""
        write_file(os.path.join(directory, "heads.json"), pretty(asdict(header)))
        self._tree = FileTree(os.path.join(directory, "heads"))

    def add(self, key: str, raw: Sequence[npt.NDArray[Any]], geometry: Geometry) -> None:
        """Writes one image; see engine.HeadSink. Raises OutputError."""
        arrays = {f"output{number}": array for number, array in enumerate(raw)}
        # float64 holds every scale, which is a float32, exactly
        places = {name: np.array(getattr(geometry, name)) for name in _FIELDS}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays, **places)
        self._tree.write(self._tree.path(f"{key}.npz"), buffer.getvalue())


def read_dump_header(run: Path) -> DumpHeader:
    """How the dumps of a run are decoded.

    Raises:
        SourceError: the folder holds none, or its `heads.json` is not one.
    """
    path = run / "heads.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=DumpHeader)
    except FileNotFoundError as error:
        raise SourceError(
            f"{str(run)!r} holds no dumps: expected heads.json there; `boxmill run … --dump-heads` writes them"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise SourceError(f"{str(path)!r} cannot be read: {error}; run again with --dump-heads") from error


def walk_dumps(run: Path) -> Iterator[Path]:
    """The files of a run's dumps in the order of their keys; each is read by `read_dump`."""
    yield from sorted((run / "heads").rglob("*.npz"))


def read_dump(run: Path, path: Path) -> HeadDump:
    """One image of a run.

    Raises:
        SourceError: the file is not a whole dump.
    """
    key = path.relative_to(run / "heads").as_posix().removesuffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            outputs = sum(name.startswith("output") for name in stored.files)
            raw = tuple(stored[f"output{number}"] for number in range(outputs))
            geometry = Geometry(**{name: tuple(stored[name].tolist()) for name in _FIELDS})
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SourceError(f"{str(path)!r} is no dump of a head: {error}; run again with --dump-heads") from error
    return HeadDump(key, raw, geometry)
