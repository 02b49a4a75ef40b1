"""Run in a process of its own: reads files under an audit hook and a memory limit, and tells what happened.

    python guard.py FOLDER [--unsafe]

The names of the files come from standard input as JSON; the answer goes to standard output: for each, the error (or
null) and the audit events that reading a checkpoint does not need. With --unsafe Python's own pickle reads them, which
shows that the hook would have seen an attack; it stops the event before anything happens.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import subprocess  # noqa: F401 - loaded already where Python's own pickle looks it up
import sys
import zipfile
from pathlib import Path

from boxmill.errors import ModelError
from boxmill.models.checkpoint import read_checkpoint

HEADROOM = 400 << 20  # bytes of address space beside what the interpreter and numpy have taken


class Stopped(BaseException):
    """Raised in place of an event when Python's own pickle is run."""


def read_unsafely(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        raw = archive.read("best/data.pkl")
    pickle.Unpickler(io.BytesIO(raw)).load()


def main() -> None:
    folder, unsafe = Path(sys.argv[1]), "--unsafe" in sys.argv
    names = json.load(sys.stdin)
    read = read_unsafely if unsafe else read_checkpoint
    read(folder / "warm")  # the imports and caches of a good file
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + HEADROOM, taken + HEADROOM))
    events: list[str] = []
    watched: list[str] = []  # the path that may be opened, while the hook is on

    def hook(event: str, args: tuple[object, ...]) -> None:
        if not watched or (event == "open" and str(args[0]) == watched[0] and args[1] in ("r", "rb")):
            return
        events.append(f"{event} {args[:1]!r:.80}")
        if unsafe and event != "pickle.find_class":
            raise Stopped(event)

    sys.addaudithook(hook)
    report: dict[str, object] = {}
    for name in names:
        error, path = None, folder / name
        events.clear()
        watched[:] = [str(path)]
        try:
            read(path)
        except ModelError as caught:
            error = f"ModelError: {caught}"
        except (Exception, Stopped) as caught:
            error = f"{type(caught).__name__}: {caught!s:.200}"
        watched.clear()
        report[name] = [error, list(events)]
    json.dump(report, sys.stdout)


main()
