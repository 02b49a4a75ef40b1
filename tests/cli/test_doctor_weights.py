"""`boxmill doctor WEIGHTS`: what a weights file is, how it would be run, and what to do when it cannot be."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from attacks import assembler as asm
from models.onnx_writer import ULTRALYTICS, field, model

from boxmill.cli import run_command

IMAGE, HEAD = {"images": ["batch", 3, "height", "width"]}, {"output0": ["batch", 84, "anchors"]}


def lines(capfd) -> dict[str, str]:
    """The report by its headings; nothing may be on stderr."""
    out, err = capfd.readouterr()
    assert err == ""
    return {line[:10].strip(): line[10:] for line in out.splitlines() if not line.startswith(" ")}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "best.onnx"
    path.write_bytes(model(IMAGE, HEAD, ULTRALYTICS))
    return path


def test_an_exported_detector(weights: Path, capfd) -> None:
    assert run_command(["doctor", str(weights)]) == 0
    said = lines(capfd)
    size = f"{weights.stat().st_size / 1024:.1f} KiB"
    assert said["file"] == f"{weights}: ONNX, {size}, opset 18, IR version 8, by pytorch 2.15.0"
    assert said["inputs"] == "images float32 (batch, 3, height, width)"
    assert said["outputs"] == "output0 float32 (batch, 84, anchors)"
    assert said["labels"] == "80: thing 0, thing 1, thing 2, thing 3, thing 4, thing 5, thing 6, thing 7, …"
    assert said["card"] == "none beside the weights"
    assert said["task"] == "boxes"
    assert "input.color RGB" in said["metadata"]
    assert "head.type yolo" in said["shapes"]


def test_operators_and_numbers_of_every_graph(tmp_path: Path, capfd) -> None:
    def tensor(element: int, *dims: int, packed: bool = False) -> bytes:
        sizes = field(1, bytes(dims)) if packed else b"".join(field(1, size) for size in dims)
        return sizes + field(2, element)

    inner = field(1, field(4, "Mul")) + field(5, tensor(1, 5))
    constant = field(4, "Constant") + field(5, field(5, tensor(10, 4)))
    loop = field(4, "Loop") + field(5, field(6, inner))
    nodes = b"".join(field(1, node) for node in (field(4, "Mul"), constant, loop))
    path = tmp_path / "net.onnx"
    path.write_bytes(model(IMAGE, HEAD, ULTRALYTICS, graph=nodes + field(5, tensor(1, 100, 20, packed=True))))
    assert run_command(["doctor", str(path)]) == 0
    said = lines(capfd)
    assert said["operators"] == "2 Mul, 1 Constant, 1 Loop"
    assert said["numbers"] == "2,005 float32, 4 float16"
    path.write_bytes(model(IMAGE, HEAD, ULTRALYTICS, graph=field(5, tensor(1, *[1] * 99, packed=True))))
    assert run_command(["doctor", str(path)]) == 4
    assert "more than 32 dimensions" in capfd.readouterr().err


def test_card_and_labels(weights: Path, tmp_path: Path, capfd) -> None:
    card = tmp_path / "best.yaml"
    card.write_text("version: 1\ninput: {color: BGR}\nlabels: coco80\n", encoding="utf-8")
    assert run_command(["doctor", str(weights)]) == 0
    said = lines(capfd)
    assert said["card"] == "labels 80 names, input.color BGR"
    names = tmp_path / "names.json"
    names.write_text(json.dumps([f"物{index}" for index in range(80)], ensure_ascii=False), encoding="utf-8")
    card = card.rename(tmp_path / "other.yaml")
    assert run_command(["doctor", str(weights), "--card", str(card), "--labels", str(names)]) == 0
    assert lines(capfd)["labels"].startswith("80: 物0, 物1")


def test_open_questions_end_with_a_card(tmp_path: Path, capfd) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model({"x": [1, 3, 640, 640]}, {"y": [1, 84, 8400]}))
    assert run_command(["doctor", str(path)]) == 4
    out, err = capfd.readouterr()
    assert "outputs   y float32 (1, 84, 8400)" in out
    assert "metadata  none" in out
    assert "color: RGB  # CONFIRM: RGB or BGR" in err
    (tmp_path / "net.onnx.yaml").write_text(err.split("\n\n", 1)[1], encoding="utf-8")
    assert run_command(["doctor", str(path)]) == 0
    assert capfd.readouterr().err.count("CONFIRM") == 0


def test_weights_in_other_files(tmp_path: Path, capfd) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(2048))
    tensor = field(8, "w") + field(13, field(1, "location") + field(2, "w.bin")) + field(14, 1)
    path = tmp_path / "net.onnx"
    path.write_bytes(model(IMAGE, HEAD, ULTRALYTICS, graph=field(5, tensor)))
    assert run_command(["doctor", str(path)]) == 0
    assert lines(capfd)["weights"] == "w.bin, 2.0 KiB"
    (tmp_path / "w.bin").unlink()
    assert run_command(["doctor", str(path)]) == 4
    assert "copy it into" in capfd.readouterr().err


def test_a_terminal_is_safe(tmp_path: Path, capfd) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model(IMAGE, HEAD, {**ULTRALYTICS, "docs": "\x1b[2Jgone" + "x" * 200}))
    assert run_command(["doctor", str(path)]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert "docs �[2Jgone" in out
    assert "… (208 characters)" in out


def checkpoint(path: Path) -> Path:
    names = (b"ultralytics.nn.tasks\nDetectionModel\n", b"torch.nn.modules.conv\nConv2d\n")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best/data.pkl", b"\x80\x02(" + b"".join(b"c" + name for name in names) + b"t.")
    return path


@pytest.mark.parametrize("command", [["doctor"], ["run", "photos", "-w"]])
def test_a_checkpoint_gives_the_command_to_type(tmp_path: Path, capfd, command: list[str]) -> None:
    path = checkpoint(tmp_path / "best.pt")
    assert run_command([*command, str(path)]) == 4
    out, err = capfd.readouterr()
    assert err == (
        f"boxmill: {path}: expected an ONNX file, this is an Ultralytics checkpoint (DetectionModel); "
        f"export it to ONNX with\nyolo export model={path} format=onnx dynamic=True\n"
    )
    if command == ["doctor"]:
        assert out.startswith(f"file      {path}: an Ultralytics checkpoint (DetectionModel), ")
        assert "ultralytics.nn.tasks.DetectionModel" in out


def test_folders_and_nothing(tmp_path: Path, capfd) -> None:
    assert run_command(["doctor", str(tmp_path / "no.onnx")]) == 2
    assert "nothing is there; expected weights, or a folder such as runs/photos" in capfd.readouterr().err
    (tmp_path / "saved_model.pb").touch()
    for command in (["doctor"], ["run", "photos", "-w"]):
        assert run_command([*command, str(tmp_path)]) == 4
        assert "this is a TensorFlow SavedModel; convert it with" in capfd.readouterr().err


def test_a_broken_file(tmp_path: Path, capfd) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(model(IMAGE, HEAD, ULTRALYTICS)[:100])
    assert run_command(["doctor", str(path)]) == 4
    assert "not a readable ONNX file: cut short" in capfd.readouterr().err


def yolov9(path: Path, **changed: object) -> Path:
    """A checkpoint of one layer before a head that YOLOv9 alone has."""
    pool = asm.Pool()
    structure = {**asm.STRUCTURE, **changed}
    state = {**asm.small_state(), "model.1.dfl.conv.weight": np.zeros((1, 16, 1, 1), np.float16)}
    network = asm.network(pool, state, structure, asm.STRIDE)
    path.write_bytes(asm.checkpoint(asm.program(asm.dict_({"model": network})), pool.members))
    return path


def test_a_yolov9_checkpoint(tmp_path: Path, capfd) -> None:
    path = yolov9(tmp_path / "my best.pt")
    assert run_command(["doctor", str(path)]) == 0
    out, err = capfd.readouterr()
    assert not err
    said = {line[:10].strip(): line[10:].strip() for line in out.splitlines()}
    assert said["file"].startswith(f"{path}: a YOLOv9 checkpoint, ")
    assert said["network"] == "a structure of its own, stored as 'model'"
    assert said["layers"] == "2: 1 Conv, 1 DDetect"
    assert said["classes"] == "2: person, car"
    assert said["input"] == "3 channels, sides that are multiples of 32"
    assert said["head"] == "DDetect, strides 8, 16, 32, 16 bins a side"
    assert said["types"] == "136 float16, 4 float32, 1 int64"
    assert said["parameters"] == "136 in 6 tensors with those of batch normalisation"
    assert "unpickling would call models.yolo.DetectionModel, " in out
    assert said["labels"] == "2: person, car"
    assert said["to run"] == f"boxmill run photos/ --weights '{path}'"
    assert f"boxmill convert '{path}' '{path.with_suffix('.onnx')}'" in out


def test_a_yolov9_checkpoint_that_cannot_be_read(tmp_path: Path, capfd) -> None:
    path = yolov9(tmp_path / "best.pt", nc=5)
    assert run_command(["doctor", str(path)]) == 4
    said = capfd.readouterr().err
    assert f"{path}: the network has no list of 5 class names" in said
    path.write_bytes(asm.program(asm.tuple_(asm.name("models.yolo.DDetect"), asm.name("torch.Size"))))
    assert run_command(["doctor", str(path)]) == 4
    said = capfd.readouterr().err
    assert "it was written by torch.save before version 1.6" in said
    assert "save it again" in said
