"""Weights beside an ONNX file: files that the onnx package writes are found; nothing outside the folder is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_writer import field, model

from boxmill.errors import ModelError
from boxmill.models import read_onnx
from boxmill.models.resolve import resolve

VALUES = np.arange(8, dtype=np.float32)


def external(name: str, location: str, offset: int = 0, length: int = 32) -> TensorProto:
    tensor = numpy_helper.from_array(VALUES, name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def value_info(name: str, *dims: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def write(path: Path, nodes: list[onnx.NodeProto], tensors: list[TensorProto], **more: object) -> Path:
    nodes = [*nodes, helper.make_node("Identity", ["images"], ["out"])]
    images, out = value_info("images", 1, 3, 32, 32), value_info("out", 1, 3, 32, 32)
    graph = helper.make_graph(nodes, "g", [images], [out], tensors)
    path.write_bytes(helper.make_model(graph, **more).SerializeToString())
    return path


def initializer(path: Path, location: str, length: int = 32) -> Path:
    return write(path, [], [external("w", location, length=length)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "model"
    inner.mkdir()
    (inner / "w.bin").write_bytes(VALUES.tobytes())
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    return inner


def test_what_the_onnx_package_saves(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros(1000, np.float32), "w")
    path = write(tmp_path / "model.onnx", [], [tensor, numpy_helper.from_array(np.ones(500, np.float32), "v")])
    loaded = onnx.load(path)
    onnx.save_model(loaded, path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    assert read_onnx(path).external == (tmp_path / "model.onnx_data",)
    data = tmp_path / "model.onnx_data"
    os.truncate(data, data.stat().st_size - 1)
    with pytest.raises(ModelError, match=r"has \d+ bytes of \d+; copy or download it again"):
        read_onnx(path)
    data.unlink()
    with pytest.raises(ModelError, match=r"'model\.onnx_data', which cannot be read .* under this name"):
        read_onnx(path)


def test_files_below_the_folder(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/v.bin").write_bytes(bytes(64))
    tensors = [external("w", "w.bin"), external("v", "./data/v.bin", 32), external("u", "w.bin", 0, 8)]
    summary = read_onnx(write(folder / "m.onnx", [], tensors))
    assert summary.external == (folder / "w.bin", folder / "data/v.bin")


def test_the_files_belong_to_the_model(folder: Path) -> None:
    path = folder / "m.onnx"
    images, head = {"images": [1, 3, 640, 640]}, {"out": [1, 5, 8400]}
    graph = field(5, external("w", "w.bin").SerializeToString())
    path.write_bytes(model(images, head, {"stride": "32", "names": "['a']"}, graph=graph))
    summary = read_onnx(path)
    assert resolve(path, None, summary, None, None, None).external == (folder / "w.bin",)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../secret", "leads out of the model's folder"),
        ("data/../../secret", "leads out"),
        ("..\\secret", "leads out"),
        ("/etc/hostname", "expected a name inside the model's folder"),
        ("C:\\secret", "expected a name inside"),
        ("\\\\host\\share", "expected a name inside"),
        ("", "expected a name inside"),
        ("w.bin\0x", "expected a name inside"),
        ("no.bin", "cannot be read"),
        ("w.bin/x", "cannot be read"),
        ("*/_ORT_MEM_ADDR_/*", "cannot be read"),
        ("x" * 5000, "cannot be read"),
        (".", "expected a name inside"),
        ("folder", "no regular file"),
        ("fifo", "no regular file"),
        ("link", "is a symbolic link"),
        ("linked/w.bin", "is a symbolic link"),
        ("hard", "is a hard link: the same file has 2 names"),
    ],
)
def test_everything_else_is_refused(folder: Path, location: str, words: str) -> None:
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "linked").symlink_to(folder)
    (folder / "hard").hardlink_to(folder.parent / "secret")
    os.mkfifo(folder / "fifo")
    path = initializer(folder / "m.onnx", location)
    with pytest.raises(ModelError, match=words) as caught:
        read_onnx(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400 + 2 * len(str(path))


def _branch(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "b", [], [value_info("y", 8)], [tensor])


def test_nested_places_are_searched_too(folder: Path) -> None:
    bad = external("w", "../secret")
    path = folder / "m.onnx"
    sparse = helper.make_sparse_tensor(bad, numpy_helper.from_array(np.arange(8)), [8])
    deep = helper.make_node("If", ["c"], ["z"], then_branch=_branch(bad), else_branch=_branch(VALUES_TENSOR))
    deeper = helper.make_graph([deep], "b", [], [value_info("z", 8)])
    function = helper.make_function("own", "f", [], ["y"], [helper.make_node("Constant", [], ["y"], value=bad)], [])
    nodes = {
        "constant": helper.make_node("Constant", [], ["k"], value=bad),
        "sparse": helper.make_node("Constant", [], ["k"], sparse_value=sparse),
        "branch": helper.make_node("If", ["c"], ["y"], then_branch=_branch(bad), else_branch=_branch(VALUES_TENSOR)),
        "deep": helper.make_node("If", ["c"], ["y"], then_branch=deeper, else_branch=deeper),
        "list": helper.make_node("Own", [], ["y"], domain="own", tensors=[bad]),
        "graphs": helper.make_node("Own", [], ["y"], domain="own", graphs=[_branch(bad)]),
    }
    for place, node in nodes.items():
        with pytest.raises(ModelError, match="leads out"):
            read_onnx(write(path, [node], []))
        assert place
    with pytest.raises(ModelError, match="leads out"):
        read_onnx(write(path, [], [], functions=[function]))


VALUES_TENSOR = numpy_helper.from_array(VALUES, "w")

IMAGES, OUT = {"images": [1, 3, 8, 8]}, {"out": [1, 84, 21]}
LOCATION = field(13, field(1, "location") + field(2, "../secret"))


@pytest.mark.parametrize(
    "tensor",
    [
        LOCATION + field(14, 1),
        field(14, 1) + LOCATION + field(14, 7),  # an unknown value of an enum does not replace the known one
        LOCATION + field(14, 1 << 32 | 1),  # an enum has 32 bits
        field(13, field(1, "location") + field(2, "w.bin")) + LOCATION + field(14, 1),
    ],
)
def test_encodings_that_protobuf_reads_the_same(folder: Path, tensor: bytes) -> None:
    path = folder / "m.onnx"
    path.write_bytes(model(IMAGES, OUT, graph=field(5, tensor)))
    with pytest.raises(ModelError, match="leads out"):
        read_onnx(path)


def test_field_numbers_beyond_32_bits_are_no_onnx(folder: Path) -> None:
    path = folder / "m.onnx"
    path.write_bytes(model(IMAGES, OUT, graph=field(5 | 1 << 29, LOCATION + field(14, 1))))
    with pytest.raises(ModelError, match="starts no protobuf field"):
        read_onnx(path)


def test_tensors_in_the_file_need_no_location(folder: Path) -> None:
    path = folder / "m.onnx"
    path.write_bytes(model(IMAGES, OUT, graph=field(5, LOCATION)))  # data_location is not external
    assert read_onnx(path).external == ()
    path.write_bytes(model(IMAGES, OUT, graph=field(5, field(14, 1))))
    with pytest.raises(ModelError, match="expected a name inside"):
        read_onnx(path)


def test_graphs_in_graphs_end_somewhere(folder: Path) -> None:
    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    path = folder / "m.onnx"
    path.write_bytes(model(IMAGES, OUT, graph=graph))
    with pytest.raises(ModelError, match="nested more than 64 deep"):
        read_onnx(path)
