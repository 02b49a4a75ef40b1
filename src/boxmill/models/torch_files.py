"""PyTorch's files: whose checkpoint it is, and how its owner exports it to ONNX. Nothing in them is executed."""

from __future__ import annotations

import errno
import shlex
import struct
import zipfile
import zlib
from pathlib import Path

from boxmill.errors import ModelError
from boxmill.models.checkpoint import read_checkpoint
from boxmill.models.checkpoint_facts import checkpoint_facts
from boxmill.models.kind import Kind
from boxmill.models.pickles import Pickle, scan_pickle

__all__ = ["describe_pickle", "describe_zip"]

_MAX_PICKLE = 16 << 20
_RUNNABLE = frozenset({"DetectionModel", "ClassificationModel", "RTDETRDetectionModel", "WorldModel", "YOLOEModel"})
_YOLOV9 = frozenset({"DDetect", "DualDDetect", "TripleDDetect", "RepNCSPELAN4", "ELAN1", "SPPELAN", "ADown", "CBFuse"})
_YOLOV7 = frozenset({"IDetect", "IAuxDetect", "SPPCSPC", "ReOrg"})
_DAMAGED_ZIP = Kind("a zip archive that is damaged or cut short", "copy or download it again")
_WEIGHTS_ONLY = ("torch.", "torch._utils.", "torch.storage.", "collections.", "numpy", "_codecs.", "builtins.")
_OWN_CODE = "load it in the code that made it and export it with torch.onnx.export"


def describe_zip(path: Path) -> Kind:
    """A file that begins as a zip archive does: torch.save since 1.6, TorchScript, or something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            pickle = next((name for name in members if name.endswith("/data.pkl") or name == "data.pkl"), None)
            if pickle is None:
                return _other_zip(members)
            if any("/code/" in name for name in members):
                return Kind(
                    "a TorchScript program",
                    "boxmill runs ONNX files; export the checkpoint that it was made from to ONNX (with Ultralytics: "
                    "yolo export model=best.pt format=onnx dynamic=True)",
                )
            with archive.open(pickle) as file:
                scanned = scan_pickle(file.read(_MAX_PICKLE))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, zlib.error, struct.error):
        return _DAMAGED_ZIP
    except OSError as error:
        if error.errno != errno.EINVAL:  # zipfile seeks wherever a damaged directory points
            raise
        return _DAMAGED_ZIP
    return _describe(path, scanned, "zip archive of torch.save")


def describe_pickle(path: Path) -> Kind:
    """A file that begins as a pickle does: torch.save before 1.6, or any other."""
    with path.open("rb") as file:
        scanned = scan_pickle(file.read(_MAX_PICKLE))
    if not scanned.torch_legacy and not any(name.startswith("torch") for name in scanned.names):
        return Kind("a Python pickle", "give the ONNX file of the model instead", _facts(scanned, "pickle"))
    return _describe(path, scanned, "pickle of torch.save before 1.6")


def _other_zip(members: list[str]) -> Kind:
    if members and all(name.endswith(".npy") for name in members):
        return Kind("a NumPy archive (.npz)", "it holds arrays and no network; give the ONNX file of the model")
    if any(name.endswith("model.weights.h5") for name in members):
        return Kind("a Keras model (.keras)", "export it in Python with model.export('model.onnx', format='onnx')")
    if any(name.endswith("archive_format") or name.endswith("models/model.json") for name in members):
        return Kind("a torch.export program (.pt2)", f"boxmill runs ONNX files; {_OWN_CODE}")
    return Kind("a zip archive", "unpack it, and give the ONNX file in it")


def _describe(path: Path, scanned: Pickle, form: str) -> Kind:
    facts = _facts(scanned, form)
    dangerous = scanned.dangerous()
    if dangerous:
        return Kind(
            f"a PyTorch checkpoint that calls {', '.join(dangerous[:3])}",
            "loading it would run that, which no checkpoint needs; get the model from a source that you trust",
            facts,
        )
    modules = {name.rpartition(".")[0] for name in scanned.names}
    classes = {name.rpartition(".")[2] for name in scanned.names}
    if any(module.startswith("ultralytics.") for module in modules):
        return _ultralytics(path, scanned, facts)
    if any(module.startswith("yolov6.") for module in modules):
        return _repository(
            "YOLOv6", "python deploy/ONNX/export_onnx.py --img-size 640 --batch-size 1 --weights", path, "", facts
        )
    if modules & {"models.yolo", "models.common"}:
        if classes & _YOLOV9:
            return _yolov9(path, facts)
        if classes & _YOLOV7:
            return _repository("YOLOv7", "python export.py --weights", path, " --grid", facts)
        return _repository("YOLOv5", "python export.py --weights", path, " --include onnx --dynamic", facts)
    if all(name.startswith(_WEIGHTS_ONLY) and not name.startswith("torch.nn.modules") for name in scanned.names):
        return Kind("a PyTorch checkpoint that holds weights and no network (a state dict)", _OWN_CODE, facts)
    return Kind(f"a PyTorch checkpoint of {_owner(scanned)}", _OWN_CODE, facts)


def _ultralytics(path: Path, scanned: Pickle, facts: tuple[tuple[str, str], ...]) -> Kind:
    tasks = sorted(
        name.rpartition(".")[2]
        for name in scanned.names
        if name.startswith("ultralytics.nn.tasks.") and "Model" in name
    )
    task = tasks[0] if tasks else "model"
    if tasks and task not in _RUNNABLE:
        return Kind(
            f"an Ultralytics checkpoint ({task})", "boxmill runs detectors and taggers; give one of those", facts
        )
    # An RT-DETR with open dims does not show which of its two forms it has.
    dynamic = "" if task.startswith("RTDETR") else " dynamic=True"
    command = f"yolo export {shlex.quote(f'model={path}')} format=onnx{dynamic}"
    return Kind(f"an Ultralytics checkpoint ({task})", f"export it to ONNX with\n{command}", facts)


def _yolov9(path: Path, facts: tuple[tuple[str, str], ...]) -> Kind:
    name = "a YOLOv9 checkpoint"
    try:
        checkpoint = read_checkpoint(path)
    except ModelError as error:
        return Kind(name, str(error).removeprefix(f"{path}: "), facts)
    command = f"boxmill convert {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.onnx')))}"
    return Kind(name, f"convert it to ONNX with\n{command}", (facts[0], *checkpoint_facts(checkpoint)))


def _repository(name: str, before: str, path: Path, after: str, facts: tuple[tuple[str, str], ...]) -> Kind:
    command = f"{before} {shlex.quote(str(path.absolute()))}{after}"
    return Kind(f"a {name} checkpoint", f"export it to ONNX in the {name} repository with\n{command}", facts)


def _owner(scanned: Pickle) -> str:
    foreign = sorted(name for name in scanned.names if not name.startswith((*_WEIGHTS_ONLY, "__builtin__.")))
    return foreign[0] if foreign else "torch.nn modules"


def _facts(scanned: Pickle, form: str) -> tuple[tuple[str, str], ...]:
    names = sorted(scanned.names)
    more = f", … ({len(names)} in all)" if len(names) > 12 else ""
    return ("stored as", form), ("it names", ", ".join(names[:12]) + more)
