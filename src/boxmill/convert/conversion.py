"""`boxmill convert`: checkpoint to ONNX file, which takes its place only after every runtime here has agreed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from boxmill.convert.graph import check_exporter, export
from boxmill.convert.metadata import describe
from boxmill.convert.verify import Verdict, verify
from boxmill.errors import ModelError, UsageError
from boxmill.models import recognize
from boxmill.models.checkpoint import Checkpoint, read_checkpoint
from boxmill.store import file_sha256
from boxmill.store.durable import WholeFile, output_error

__all__ = ["VERSION", "Conversion", "ConvertOptions", "convert", "is_checkpoint", "read_network_file"]

VERSION = 1  # of what a conversion writes; part of the names in the cache
_HINT = "; an ONNX file runs as it is, with --runtime openvino or onnxruntime"
_OURS = "a YOLOv9 checkpoint"  # as `recognize` calls them


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How a checkpoint is written."""

    precision: Literal["fp32", "fp16"] = "fp32"  # of weights and feature maps; images and boxes are always float32
    size: tuple[int, int] = (640, 640)  # default input, height and width in pixels


@dataclass(frozen=True, slots=True)
class Conversion:
    """A file that has been written, and what was compared before."""

    path: Path
    size: int  # bytes
    parameters: int  # of the network in it
    verdict: Verdict


def convert(weights: Path, target: Path, options: ConvertOptions) -> Conversion:
    """Writes the main branch of a YOLOv9 checkpoint as an ONNX file: fused, batch, height and width open.

    The file is compared with the checkpoint's network on the same pictures (`verify`) before it takes its place.

    Raises:
        UsageError: a package is missing, the size is no multiple of the stride, or the target is no name for it.
        ModelError: the checkpoint cannot be read, its network cannot be built, or the file would give other results:
            then nothing is left at `target` that was not there before.
        OutputError: the file cannot be written.
    """
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"expected a file to write that ends in .onnx, got {str(target)!r}")
    check_exporter()
    checkpoint = read_network_file(weights)
    _check_size(options.size, max(checkpoint.stride))
    from boxmill.models.yolov9 import fuse, load
    from boxmill.runtimes.torch import mixed_precision

    network = fuse(load(checkpoint))
    parameters = sum(one.numel() for one in network.parameters())
    if options.precision == "fp16":
        import torch

        network = mixed_precision(network, torch.float16)
    metadata = {
        **describe(checkpoint, options.size, options.precision),
        "source_sha256": file_sha256(weights),
        "converter": str(VERSION),
    }
    data = export(network, 4 + len(checkpoint.names), metadata)
    verdict = _verified(data, target, checkpoint, options)
    with WholeFile(target, durable=True) as file:
        file.write(data)
    return Conversion(target, len(data), parameters, verdict)


def is_checkpoint(path: Path) -> bool:
    """Whether a file looks like a checkpoint that can be converted; it may still turn out to be damaged."""
    try:
        kind = recognize(path)
    except OSError:
        return False
    return kind is not None and kind.name == _OURS


def read_network_file(path: Path) -> Checkpoint:
    """The checkpoint in a file that somebody gave as weights.

    Raises:
        ModelError: it is none; the message says what it is and what to do.
    """
    try:
        try:
            return read_checkpoint(path)
        except ModelError:
            kind = recognize(path)
            if kind is None:
                raise ModelError(f"{path}: expected a YOLOv9 checkpoint (.pt), this is none{_HINT}") from None
            if kind.name == _OURS:
                raise
            raise ModelError(f"{path}: expected a YOLOv9 checkpoint, this is {kind.name}; {kind.advice}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_size(size: tuple[int, int], stride: int) -> None:
    if any(side < stride or side % stride or side > 65536 for side in size):
        raise UsageError(f"--imgsz {size[0]} {size[1]}: expected multiples of the stride {stride}, such as 640")


def _verified(data: bytes, target: Path, checkpoint: Checkpoint, options: ConvertOptions) -> Verdict:
    """Raises ModelError where a runtime disagrees."""
    try:
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            trial = Path(folder) / "trial.onnx"
            trial.write_bytes(data)
            verdict = verify(trial, checkpoint, options.size, options.precision)
    except OSError as error:
        raise output_error(target, error) from error
    if verdict.problems:
        raise ModelError(
            f"{target} is not written, because its results would not be the checkpoint's: "
            f"{'; '.join(verdict.problems)}\n{verdict.table()}"
        )
    return verdict
