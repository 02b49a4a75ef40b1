from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_writer import ULTRALYTICS, field, model, value_info

from boxmill.errors import ModelError
from boxmill.models.onnx_metadata import TensorInfo, read_onnx

IMAGE = {"images": ["batch", 3, "height", "width"]}
HEAD = {"output0": [1, 84, None]}
ASSETS = os.environ.get("BOXMILL_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS is not set: no real models to read")


def write(folder: Path, data: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return path


def test_reads_what_the_file_says(tmp_path: Path) -> None:
    onnx = read_onnx(write(tmp_path, model(IMAGE, HEAD, ULTRALYTICS)))
    assert onnx.inputs == (TensorInfo("images", "float32", ("batch", 3, "height", "width")),)
    assert onnx.outputs == (TensorInfo("output0", "float32", (1, 84, None)),)
    assert dict(onnx.metadata) == ULTRALYTICS
    assert (onnx.ir_version, onnx.opset, onnx.producer) == (8, 18, "pytorch 2.15.0")


def test_initializers_are_no_inputs(tmp_path: Path) -> None:
    weight = field(5, field(1, 3) + field(2, 1) + field(8, "weight") + field(9, b"\0" * 12))
    onnx = read_onnx(write(tmp_path, model({**IMAGE, "weight": [3]}, HEAD, graph=weight)))
    assert [tensor.name for tensor in onnx.inputs] == ["images"]


def test_shapes_that_say_nothing(tmp_path: Path) -> None:
    minus_one = (1 << 64) - 1
    onnx = read_onnx(write(tmp_path, model({"images": [minus_one, 3, 0, ""]}, {"output0": None})))
    assert onnx.inputs[0].dims == (None, 3, None, None)
    assert onnx.outputs[0].dims is None


def test_element_types_and_other_domains(tmp_path: Path) -> None:
    graph = field(11, value_info("half", [1], 10)) + field(11, value_info("new", [1], 99))
    data = model({}, HEAD, graph=graph) + field(8, field(1, "ai.onnx.ml") + field(2, 2))
    onnx = read_onnx(write(tmp_path, data))
    assert [tensor.element for tensor in onnx.inputs] == ["float16", "type 99"]
    assert onnx.opset == 18


def test_a_gigabyte_of_tensors_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    size = 1 << 30
    raw = field(8, "w")
    with path.open("wb") as file:  # a sparse file: the tensor's bytes take no space
        tensor = raw + b"\x4a" + _length(size)
        graph = b"\x2a" + _length(len(tensor) + size) + tensor
        inside = field(11, value_info("images", [1, 3, 8, 8])) + field(12, value_info("out", [1, 84, 21]))
        file.write(field(1, 8) + b"\x3a" + _length(len(inside) + len(graph) + size) + inside + graph)
        file.seek(size, os.SEEK_CUR)
        file.write(field(2, "end"))
    tracemalloc.start()
    onnx = read_onnx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert onnx.producer == "end"
    assert peak < 1 << 20


def _length(value: int) -> bytes:
    return field(1, value)[1:]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\n<!DOCTYPE html><html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b'<?xml version="1.0"?><net name="m">', "OpenVINO"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b'\x10\x01\0\0\0\0\0\0{"__metadata__":', "safetensors"),
        (b"\x08\x08", "no network graph"),
        (b"\x1f\x8b\x08\x00 random", "not a readable ONNX"),
        (field(1, 8) + field(7, b"") * 2, "two network graphs"),
        (field(1, 8) + field(7, b""), "0 inputs and 0 outputs"),
        (field(1, 8) + field(2, b"\xff\xfe"), "not UTF-8"),
        (field(1, 8) + b"\x3a\xff\xff", "inside a number"),
        (field(1, 8) + b"\x08" + b"\xff" * 11, "too long"),
    ],
)
def test_other_files_are_named(tmp_path: Path, head: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_onnx(write(tmp_path, head))


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing is there"):
        read_onnx(tmp_path / "no.onnx")
    with pytest.raises(ModelError, match="a folder is there"):
        read_onnx(tmp_path)
    with pytest.raises(ModelError, match="empty"):
        read_onnx(write(tmp_path, b""))


def test_every_cut_is_an_error_or_harmless(tmp_path: Path) -> None:
    data = model(IMAGE, HEAD, {"names": "{0: 'person'}"})
    whole = read_onnx(write(tmp_path, data))
    for length in range(1, len(data)):
        try:
            onnx = read_onnx(write(tmp_path, data[:length]))
        except ModelError:
            continue
        assert (onnx.inputs, onnx.outputs) == (whole.inputs, whole.outputs)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=300), inside=st.sampled_from([None, 7, 11, 14]))
def test_arbitrary_bytes_raise_only_model_errors(tmp_path: Path, data: bytes, inside: int | None) -> None:
    if inside is not None:
        data = field(1, 8) + (field(7, field(11, data)) if inside == 11 else field(inside, data))
    try:
        onnx = read_onnx(write(tmp_path, data))
    except ModelError:
        return
    assert onnx.inputs
    assert onnx.outputs


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_raise_only_model_errors(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(model(IMAGE, HEAD, {"names": "{0: 'person'}"}))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        onnx = read_onnx(write(tmp_path, bytes(data)))
    except ModelError:
        return
    assert onnx.inputs
    assert onnx.outputs


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (field(1, 8) + field(7, b"\x08\x00" * 4_100_000), "parts"),
        (field(1, 8) + b"".join(field(14, field(1, str(n))) for n in range(10_001)), "metadata entries"),
        (field(1, 8) + field(7, b"".join(field(11, field(1, str(n))) for n in range(10_001))), "inputs or outputs"),
        (model({"images": [1] * 40}, HEAD), "dimensions"),
    ],
)
def test_hostile_amounts_end_soon(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_onnx(write(tmp_path, data))


def test_hostile_text_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    size = 65 << 20
    with path.open("wb") as file:
        file.write(field(1, 8) + b"\x12" + _length(size))
        file.seek(size, os.SEEK_CUR)
        file.write(b"\x08\x08")
    with pytest.raises(ModelError, match="bytes of names and metadata"):
        read_onnx(path)


@needs_assets
@pytest.mark.parametrize(
    ("name", "image", "head"),
    [
        ("yolox_nano_416", ("N", 3, 416, 416), ("N", 3549, 85)),
        ("yolov5n_640", ("N", 640, 640, 3), ("N", 25200, 85)),
        ("yolov9t_relu_320_3cls", ("N", 320, 320, 3), ("N", 7, 2100)),
        ("nanodet_320", (1, 3, 320, 320), (1600, 80)),
    ],
)
def test_real_models(name: str, image: tuple[object, ...], head: tuple[object, ...]) -> None:
    onnx = read_onnx(Path(ASSETS or "") / "models" / f"{name}.onnx")
    assert [tensor.dims for tensor in onnx.inputs] == [image]
    assert onnx.outputs[0].dims == head
    assert onnx.metadata == {}
