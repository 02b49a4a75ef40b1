"""Files that are no ONNX: named from their bytes, with what to do, and never executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boxmill.errors import ModelError
from boxmill.models import Kind, pickles, read_onnx, recognize, recognize_folder
from boxmill.models.pickles import scan_pickle

ASSETS = os.environ.get("BOXMILL_ASSETS")
MAGIC = 0x1950A86A20F9469CFC6C

TORCH = ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.FloatStorage")
MODULES = (*TORCH, "torch.nn.modules.conv.Conv2d")
ULTRALYTICS = (*MODULES, "ultralytics.nn.modules.block.C2f", "ultralytics.nn.tasks.DetectionModel")
YOLOV5 = (*MODULES, "models.yolo.Model", "models.yolo.Detect", "models.common.C3")


def pickled(*names: str) -> bytes:
    """A pickle that names these classes, as protocol 2 writes them."""
    marks = b"".join(b"c" + "\n".join(name.rsplit(".", 1)).encode() + b"\n" for name in names)
    return b"\x80\x02(" + marks + b"t."


def checkpoint(path: Path, *names: str, more: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best/data.pkl", pickled(*names))
        archive.writestr("best/version", b"3\n")
        for name in more:
            archive.writestr(name, b"")
    return path


def sentence(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_onnx(path)
    return str(caught.value)


def known(path: Path) -> Kind:
    kind = recognize(path)
    assert kind is not None
    return kind


@pytest.mark.parametrize(
    ("names", "kind", "command"),
    [
        (
            ULTRALYTICS,
            "an Ultralytics checkpoint (DetectionModel)",
            "yolo export model={path} format=onnx dynamic=True",
        ),
        (
            (*MODULES, "ultralytics.nn.tasks.RTDETRDetectionModel"),
            "an Ultralytics checkpoint (RTDETRDetectionModel)",
            "yolo export model={path} format=onnx",
        ),
        (YOLOV5, "a YOLOv5 checkpoint", "python export.py --weights {path} --include onnx --dynamic"),
        ((*YOLOV5, "models.common.SPPCSPC"), "a YOLOv7 checkpoint", "python export.py --weights {path} --grid"),
        (
            (*MODULES, "yolov6.models.yolo.Model"),
            "a YOLOv6 checkpoint",
            "python deploy/ONNX/export_onnx.py --img-size 640 --batch-size 1 --weights {path}",
        ),
    ],
)
def test_checkpoints_with_an_export_command(tmp_path: Path, names: tuple[str, ...], kind: str, command: str) -> None:
    path = checkpoint(tmp_path / "best.pt", *names)
    found = sentence(path)
    assert f"this is {kind}; export it to ONNX" in found
    assert found.endswith(f"with\n{command.format(path=path)}")


def test_the_command_can_be_pasted(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "my best; rm -rf x.pt", *ULTRALYTICS)
    assert f"yolo export 'model={path}' format=onnx dynamic=True" in sentence(path)
    path = checkpoint(tmp_path / "my v5.pt", *YOLOV5)
    assert f"--weights '{path}' --include" in sentence(path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((*MODULES, "ultralytics.nn.tasks.SegmentationModel"), "boxmill runs detectors and taggers"),
        (TORCH, "holds weights and no network (a state dict); load it in the code that made it"),
        ((*MODULES, "torchvision.models.resnet.ResNet"), "a PyTorch checkpoint of torchvision.models.resnet.ResNet"),
        (MODULES, "a PyTorch checkpoint of torch.nn modules"),
    ],
)
def test_other_checkpoints(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    assert words in sentence(checkpoint(tmp_path / "best.pt", *names))


def test_files_of_old_torch(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(
        pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + pickled(*YOLOV5) + b"\0" * 99
    )
    assert "a YOLOv5 checkpoint" in sentence(path)
    assert ("stored as", "pickle of torch.save before 1.6") in known(path).facts
    path.write_bytes(pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + pickled(*TORCH))
    assert "holds weights and no network" in sentence(path)
    path.write_bytes(pickle.dumps({"a": [1, 2]}))
    assert "this is a Python pickle" in sentence(path)


class Harm:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_a_pickle_would_do_is_told_and_not_done(tmp_path: Path, protocol: int) -> None:
    harm = pickle.dumps([Harm(f"touch {tmp_path / 'harmed'}"), Harm("again")], protocol)
    path = tmp_path / "best.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best/data.pkl", harm)
    found = sentence(path)
    assert f"a PyTorch checkpoint that calls {os.system.__module__}.system" in found
    assert "a source that you trust" in found
    assert not (tmp_path / "harmed").exists()
    assert scan_pickle(pickled("builtins.eval", "builtins.set")).dangerous() == ["builtins.eval"]


def test_names_of_every_protocol() -> None:
    value = [Path, io.BytesIO, Path, zipfile.ZipFile, "no name", io.BytesIO]
    expected = {f"{one.__module__}.{one.__qualname__}" for one in (Path, io.BytesIO, zipfile.ZipFile)}
    for protocol in range(6):
        data = pickle.dumps(value, protocol)
        assert scan_pickle(data).names == expected, protocol
        assert scan_pickle(pickletools.optimize(data)).names == expected, protocol


def test_zip_archives(tmp_path: Path) -> None:
    for members, words in (
        (("m/data.pkl", "m/code/__torch__.py"), "a TorchScript program"),
        (("a.npy", "b.npy"), "NumPy archive"),
        (("config.json", "model.weights.h5"), "a Keras model"),
        (("archive_format", "models/model.json"), "torch.export program"),
        (("readme.txt",), "this is a zip archive; unpack it"),
    ):
        path = tmp_path / "model.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in members:
                archive.writestr(name, b"")
        assert words in sentence(path)
    path.write_bytes(path.read_bytes()[:-30])
    assert "damaged or cut short; copy or download it again" in sentence(path)


def safetensors(path: Path, header: object, size: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + b"\0" * 24)
    return path


def test_safetensors(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt", "arch": "resnet"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
    }
    kind = known(safetensors(tmp_path / "m.safetensors", header))
    assert kind.name == "safetensors weights"
    assert kind.facts == (
        ("tensors", "2, 10 numbers"),
        ("types", "1 F32, 1 F16"),
        ("metadata", "format pt, arch resnet"),
    )
    assert "holds weights and no network" in sentence(tmp_path / "m.safetensors")
    assert "damaged header" in known(safetensors(tmp_path / "m", b"{]")).name
    assert "damaged header" in known(safetensors(tmp_path / "m", b"{" * 100_000)).name
    assert recognize(safetensors(tmp_path / "m", b"{}", size=1 << 40)) is None


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("m.engine", b"\0" * 64, "a TensorRT engine"),
        ("m.x", b"\x20\x03\0\0" + b'{"description": "Ultralytics"}', "a TensorRT engine"),
        ("m.x", b"ftrt\0\0\0\0", "a TensorRT engine"),
        ("m.xml", b'<?xml version="1.0"?><net name="m">', "an OpenVINO model"),
        ("m.tflite", b"\x1c\0\0\0TFL3", "tf2onnx.convert --tflite"),
        ("saved_model.pb", b"\x08\x01\x12\x05hello", "tf2onnx.convert --saved-model"),
        ("m.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("m.param", b"7767517\n75 83\n", "an ncnn model"),
        ("m.ort", b"\x10\0\0\0ORTM", "an ONNX Runtime model"),
        ("m.weights", b"\0\0\0\0\2\0\0\0", "a Darknet model"),
        ("m.mlmodel", b"\0garbage", "a Core ML model"),
        ("m.pdmodel", b"\0garbage", "a PaddlePaddle model"),
        ("m.bin", b"\0\1\2", "a file of bare weights"),
        ("m.pth", b"garbage", "no PyTorch checkpoint that can be read"),
        ("m.onnx", b"\xef\xbb\xbf<!DOCTYPE html>", "an HTML page"),
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_other_files(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert words in sentence(path)


def test_folders(tmp_path: Path) -> None:
    assert recognize_folder(tmp_path) is None
    assert sentence(tmp_path) == f"{tmp_path}: expected an ONNX file, a folder is there"
    (tmp_path / "model.xml").touch()
    assert "a folder with an OpenVINO model" in sentence(tmp_path)
    (tmp_path / "model.ncnn.param").touch()
    assert "an ncnn model" in sentence(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    assert f"tf2onnx.convert --saved-model {tmp_path}" in sentence(tmp_path)
    (tmp_path / "m.mlpackage").mkdir()
    assert "a Core ML model" in sentence(tmp_path / "m.mlpackage")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(
        [b"\x80\x02", b"\x80\x04\x95", b"PK\x03\x04", struct.pack("<Q", 40) + b"{", pickled(*YOLOV5)]
    ),
    data=st.binary(max_size=200),
    cut=st.integers(0, 400),
)
def test_any_bytes_get_a_name(tmp_path: Path, start: bytes, data: bytes, cut: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(start + data)
    assert known(path).advice
    whole = checkpoint(tmp_path / "whole", *YOLOV5).read_bytes()
    at = cut % len(whole)
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    if path.read_bytes().startswith(b"PK\x03\x04"):
        assert known(path).advice


def test_a_pickle_that_claims_much_takes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scan_pickle(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60)).names == frozenset()
    late = b"\x80\x02" + b"N0" * 600 + pickled(*TORCH)[2:]
    assert scan_pickle(late).names == frozenset(TORCH)
    monkeypatch.setattr(pickles, "_MAX_OPCODES", 1000)
    assert scan_pickle(late).names == frozenset()


@pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS is not set: no real checkpoint to recognise")
def test_real_checkpoints() -> None:
    for path in sorted((Path(ASSETS or "") / "yolov9").glob("*.pt")):
        assert "a YOLOv9 checkpoint" in sentence(path)
