"""Checkpoints that were run directly: each converted once, kept under the hash of its bytes.

`$XDG_CACHE_HOME/boxmill/converted` or `~/.cache/boxmill/converted`. The name of a file says what it was made from and
by which version of the converter, so nothing in it can be out of date; it may be deleted at any time.

The conversion is a process of its own: PyTorch and the network in three runtimes take hundreds of megabytes, which a
supervisor would keep for as long as its run lasts.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from boxmill.convert.conversion import VERSION, ConvertOptions, convert
from boxmill.convert.graph import check_exporter
from boxmill.errors import BoxmillError, ModelError, OutputError, UsageError
from boxmill.store import file_sha256
from boxmill.store.durable import output_error

__all__ = ["alone", "cache_folder", "cached_network", "keep"]

_HALF = "-fp16"  # at the end of a name
_ERRORS: dict[int, type[BoxmillError]] = {kind.exit_code: kind for kind in (UsageError, ModelError, OutputError)}


def cached_network(weights: Path, tell: Callable[[str], None], precision: Literal["fp32", "fp16"] = "fp32") -> Path:
    """The ONNX file of a checkpoint; converted and checked if it is not there yet.

    Several processes may ask at once: one converts, the others wait for it.

    Args:
        weights: a checkpoint that `read_checkpoint` accepts.
        tell: gets one line when a conversion begins.
        precision: of the file's weights and feature maps.

    Raises:
        UsageError: a package that a conversion needs is missing.
        ModelError: the network cannot be built, or the file would not give the checkpoint's results.
        OutputError: the cache cannot be written.
    """
    target = cache_folder("converted") / f"{file_sha256(weights)}-{VERSION}{_HALF * (precision == 'fp16')}.onnx"
    if target.is_file():
        return target
    check_exporter()
    tell(f"converting {weights} to ONNX, once; it is kept as {target}")
    command = (sys.executable, "-P", "-m", "boxmill.convert", os.fspath(weights), os.fspath(target))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raised = _ERRORS.get(done.returncode, BoxmillError)
        raise raised(done.stderr.strip() or f"the process that converts {weights} died (code {done.returncode})")
    return target


def keep(weights: Path, target: Path) -> None:
    """Converts into the cache, unless another process has meanwhile; the target's name says into which precision.

    Raises what `cached_network` raises.
    """
    half = target.stem.endswith(_HALF)
    with alone(target.with_suffix(".lock")):
        if not target.is_file():
            convert(weights, target, ConvertOptions("fp16" if half else "fp32"))


def cache_folder(kind: str) -> Path:
    """Where the specification of base directories puts it: in an absolute XDG_CACHE_HOME, or ~/.cache.

    Raises:
        UsageError: there is neither.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
    except RuntimeError as error:
        raise UsageError("there is no home directory to keep the converted network in; set XDG_CACHE_HOME") from error
    return root / "boxmill" / kind


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits for other processes that make the same thing for a cache. The lock ends with the process that holds it.

    Args:
        path: of the lock; its folder is made.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
