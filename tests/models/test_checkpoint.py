"""Checkpoints of YOLOv9 read without executing them, compared with what made them: published keys, torch, our bytes."""

from __future__ import annotations

import json
import os
import shlex
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from attacks import assembler as asm

from boxmill.errors import ModelError
from boxmill.models import Checkpoint, read_checkpoint
from boxmill.models.checkpoint_facts import checkpoint_facts, variant

ASSETS = os.environ.get("BOXMILL_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS names no folder with the test weights")
RANDOM = ("yolov9-t", "gelan-t", "yolov9-c-quarter", "yolov9-m-quarter", "yolov9-e-quarter")


def read(tmp_path: Path, body: bytes, storages: dict[str, bytes]) -> Checkpoint:
    path = tmp_path / "best.pt"
    path.write_bytes(asm.checkpoint(asm.program(body), storages))
    return read_checkpoint(path)


def equal(left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())


@needs_assets
@pytest.mark.parametrize("name", RANDOM)
def test_the_state_has_the_published_keys_in_their_order(name: str) -> None:
    folder = Path(ASSETS or "") / "yolov9"
    found = read_checkpoint(folder / f"{name}.random.pt")
    keys = json.loads((folder / f"{name}.keys.json").read_text())
    assert [(key, list(array.shape)) for key, array in found.state.items()] == list(keys.items())
    assert {str(array.dtype) for array in found.state.values()} == {"float16", "int64"}
    assert found.stride == (8, 16, 32)
    assert len(found.names) == found.structure["nc"] == 80
    assert "models.yolo.DetectionModel" in found.objects
    if not name.endswith("quarter"):
        structure = json.loads((folder / f"{name}.structure.json").read_text())
        assert dict(found.structure) == {"ch": 3, **structure}


@needs_assets
@pytest.mark.parametrize("name", RANDOM)
def test_the_numbers_are_those_of_the_archive(name: str) -> None:
    path = Path(ASSETS or "") / "yolov9" / f"{name}.random.pt"
    found = read_checkpoint(path)
    variances = [array for key, array in found.state.items() if key.endswith("running_var")]
    assert all((array.astype(np.float32) > 0).all() for array in variances)
    bins = [array for key, array in found.state.items() if key.endswith("dfl.conv.weight")]
    assert bins
    assert all((array.ravel() == np.arange(16)).all() for array in bins)


@needs_assets
@pytest.mark.parametrize("family", ["yolov9", "gelan"])
@pytest.mark.parametrize("size", "tsmce")
def test_published_structures_have_names(family: str, size: str) -> None:
    path = Path(ASSETS or "") / "yolov9" / f"{family}-{size}.structure.json"
    structure = json.loads(path.read_text())
    assert variant({**structure, "nc": 3, "ch": 3}) == f"{'YOLOv9' if family == 'yolov9' else 'GELAN'}-{size}"
    assert variant({**structure, "width_multiple": 0.5}) is None
    structure["head"][0][1] += 1
    assert variant(structure) is None


def test_facts_of_structures_that_nobody_wrote(tmp_path: Path) -> None:
    pool = asm.Pool()
    structure = {"nc": 2, "ch": ["x"], "depth_multiple": 10**30, "backbone": [1, [2], [0, 0, 3], None], "head": "?"}
    network = asm.network(pool, asm.small_state(), structure, asm.STRIDE)
    facts = dict(checkpoint_facts(read(tmp_path, network, pool.members)))
    assert facts["layers"] == "4: 4 ?"
    assert facts["head"].startswith("?, strides")
    assert facts["input"].startswith("3 channels")


def test_a_small_network(tmp_path: Path) -> None:
    pool = asm.Pool()
    body = asm.dict_({"model": asm.network(pool, asm.small_state(), asm.STRUCTURE, asm.STRIDE), "ema": asm.NONE})
    found = read(tmp_path, body, pool.members)
    expected = asm.small_state()
    assert list(found.state) == list(expected)
    assert all(equal(array, expected[key]) for key, array in found.state.items())
    assert not any(array.flags.writeable for array in found.state.values())
    assert (found.structure, found.names, found.stride) == (asm.STRUCTURE, ("person", "car"), (8, 16, 32))
    assert found.source == "model"
    assert {"models.yolo.DetectionModel", "models.common.Conv", "torch._utils._rebuild_tensor_v2"} < set(found.objects)


def test_ema_is_preferred(tmp_path: Path) -> None:
    pool = asm.Pool()
    names = asm.EMPTY_DICT + asm.MARK + asm.plain(1) + asm.text("b") + asm.plain(0) + asm.text("a") + b"u"
    networks = {
        "model": asm.network(pool, asm.small_state(1), asm.STRUCTURE, asm.STRIDE),
        "ema": asm.network(pool, asm.small_state(2), asm.STRUCTURE, asm.STRIDE, names=names),
        "opt": asm.dict_({"project": asm.call("pathlib.PosixPath", asm.text("runs"))}),
        "best_fitness": asm.call("numpy.core.multiarray.scalar", asm.call("numpy.dtype", asm.text("f8")), b"C\1a"),
    }
    found = read(tmp_path, asm.dict_(networks), pool.members)
    assert found.source == "ema"
    assert found.names == ("a", "b")
    assert (found.state["model.0.conv.weight"] == 2).all()
    alone = read(tmp_path, networks["model"], pool.members)
    assert alone.source == "model"
    assert (alone.state["model.0.conv.weight"] == 1).all()


def test_a_file_of_the_size_of_yolov9_s_takes_less_than_three_times_its_size(tmp_path: Path) -> None:
    pool = asm.Pool()
    generator = np.random.default_rng(0)
    weights = generator.integers(0, 1 << 15, (800, 64, 64, 3), np.uint16).view(np.float16)
    state = {f"model.{index}.conv.weight": weight for index, weight in enumerate(weights)}
    body = asm.dict_({"model": asm.network(pool, state, asm.STRUCTURE, asm.STRIDE)})
    path = tmp_path / "best.pt"
    path.write_bytes(asm.checkpoint(asm.program(body), pool.members))
    del body, pool
    size = path.stat().st_size
    assert size > 18 << 20
    tracemalloc.start()
    try:
        found = read_checkpoint(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * size
    assert all((found.state[key].view(np.uint16) == array.view(np.uint16)).all() for key, array in state.items())


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    pool = asm.Pool()
    numbers = np.array([1, -2.5, 0, 3.0e38, np.inf, 1e-40], np.float32).view(np.uint32) >> 16
    expected = (numbers << 16).view(np.float32)
    pool.members["7"] = numbers.astype("<u2").tobytes()
    half = asm.tensor(asm.storage("7", 6, "BFloat16Storage"), [2, 2], [2, 1], 1)
    network = asm.network(
        pool, asm.small_state(), asm.STRUCTURE, asm.STRIDE, _parameters=asm.dict_({"weight": half}), model=asm.NONE
    )
    found = read(tmp_path, network, pool.members)
    assert equal(found.state["weight"], expected[1:5].reshape(2, 2))


def test_what_a_state_dict_leaves_out(tmp_path: Path) -> None:
    pool = asm.Pool()
    whole = pool.tensor(np.arange(12, dtype=np.float32))
    flags = pool.tensor(np.array([True, False]))
    turned = asm.tensor(asm.storage("10", 12), [3, 4], [1, 3])
    network = asm.network(
        pool,
        asm.small_state(),
        asm.STRUCTURE,
        asm.STRIDE,
        _parameters=asm.dict_({"turned": turned, "none": asm.NONE}),
        _buffers=asm.dict_({"kept": flags, "grid": whole, "no": asm.NONE}),
        _non_persistent_buffers_set=asm.call("builtins.set", asm.list_(asm.text("grid"))),
    )
    found = read(tmp_path, network, pool.members)
    assert list(found.state)[:2] == ["turned", "kept"]
    assert list(found.state)[2:] == list(asm.small_state())
    assert equal(found.state["turned"], np.arange(12, dtype=np.float32).reshape(4, 3).T)
    assert equal(found.state["kept"], np.array([True, False]))


def test_the_command_that_saves_an_old_file_again(tmp_path: Path) -> None:
    path = tmp_path / "my 'best' $(x).pt"
    path.write_bytes(b"\x80\x02N.")
    with pytest.raises(ModelError, match=r"before version 1\.6") as caught:
        read_checkpoint(path)
    assert "loading it executes what is in it" in str(caught.value)
    python, flag, code = shlex.split(str(caught.value).splitlines()[1])
    assert (python, flag) == ("python", "-c")
    load = f'torch.load("{path}", map_location="cpu", weights_only=False)'
    new = path.with_suffix(".new.pt")
    assert code == f'import torch; torch.save({load}, "{new}")'


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="best"):
        read_checkpoint(tmp_path / "best.pt")
    with pytest.raises(ModelError, match="something else is there"):
        read_checkpoint(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="something else is there"):
        read_checkpoint(tmp_path / "pipe")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_as_torch_itself_saves_and_loads(tmp_path: Path, protocol: int) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 8, 3, bias=False).to(memory_format=torch.channels_last),
        torch.nn.BatchNorm2d(8),
        torch.nn.Linear(4, 4).to(torch.bfloat16),
        torch.nn.Linear(3, 2).double(),
    ]
    layers[3].bias = layers[2].bias  # tied
    layers[1].register_buffer("passing", torch.zeros(3), persistent=False)
    layers[1].register_buffer("flags", torch.tensor([True, False]))
    layers[0].register_buffer("empty", torch.empty(0, 5))
    layers[3].stride = torch.tensor([8.0, 16.0])
    network = torch.nn.Module()
    network.model = torch.nn.Sequential(*layers)
    network.yaml, network.names = {"nc": 1, "text": "é人"}, {0: "人"}
    path = tmp_path / "best.pt"
    torch.save({"model": network, "size": torch.Size([1]), "dtype": torch.float16}, path, pickle_protocol=protocol)
    found = read_checkpoint(path)
    expected = network.state_dict()
    assert list(found.state) == list(expected)
    for key, tensor in expected.items():
        assert equal(found.state[key], (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()), key
    assert (found.names, found.stride, found.structure) == (("人",), (8, 16), {"nc": 1, "text": "é人"})
