"""Our YOLOv9 and GELAN against the published keys, shapes and float64 outputs."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch: install 'boxmill[torch]'")

from yolov9_cases import (  # noqa: E402  # after torch is known to be there
    PUBLISHED,
    SMALL,
    WITH_OUTPUTS,
    answers,
    checkpoint,
    error,
    loaded,
    small,
)

from boxmill.errors import ModelError  # noqa: E402
from boxmill.models.yolov9 import auxiliary_cost, build, fuse, load  # noqa: E402

TOLERANCE = 1e-6


@pytest.fixture
def folder(assets: Path) -> Path:
    return assets / "yolov9"


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_shapes_are_those_of_the_published_checkpoint(folder: Path, name: str) -> None:
    with torch.device("meta"):
        network = build(json.loads((folder / f"{name}.structure.json").read_text()))
    found = [(key, list(value.shape)) for key, value in network.state_dict().items()]
    assert found == list(json.loads((folder / f"{name}.keys.json").read_text()).items())
    assert network.strides == (8, 16, 32)


@pytest.mark.parametrize("name", WITH_OUTPUTS)
def test_outputs_are_the_official_ones_on_both_images(folder: Path, name: str) -> None:
    images, expected = answers(folder, name)
    network = loaded(folder, name)
    with torch.inference_mode():
        found = network(images)
        fused = fuse(network)(images)
    assert found.shape == expected.shape
    assert found.dtype == torch.float64
    assert error(found, expected) <= TOLERANCE
    assert error(fused, found) <= TOLERANCE
    assert error(found.flip(0), expected) > 0.01  # the two images exchanged


@pytest.mark.parametrize("name", ["yolov9-m-quarter", "yolov9-e-quarter"])
def test_the_auxiliary_branch_is_dropped_before_running(folder: Path, name: str) -> None:
    saved = checkpoint(folder, name)
    cost = auxiliary_cost(saved.structure)
    network = load(saved)
    assert sum(parameter.numel() for parameter in network.parameters()) == cost.main_parameters
    assert cost.auxiliary_parameters > 0.1 * cost.main_parameters
    assert cost.auxiliary_multiply_adds > 0.1 * cost.main_multiply_adds
    assert network.auxiliary() is None
    assert not network.training
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert not any(value.requires_grad for value in network.parameters())


def test_what_the_auxiliary_branch_costs_is_counted_from_the_structure_alone(folder: Path) -> None:
    """The figures that the documentation of `auxiliary_cost` gives: millions of parameters, 10^9 multiply-adds."""
    found = {}
    for size in "tsmce":
        cost = auxiliary_cost(json.loads((folder / f"yolov9-{size}.structure.json").read_text()))
        parts = (cost.main_parameters, cost.auxiliary_parameters, cost.main_multiply_adds, cost.auxiliary_multiply_adds)
        found[size] = tuple(round(part / unit, 1) for part, unit in zip(parts, (1e6, 1e6, 1e9, 1e9), strict=True))
    assert found == {
        "t": (2.4, 1.3, 4.9, 3.2),
        "s": (7.2, 2.6, 13.4, 6.4),
        "m": (20.1, 12.8, 38.4, 27.6),
        "c": (25.5, 25.7, 51.4, 67.9),
        "e": (58.1, 11.4, 95.6, 26.4),
    }
    cost = auxiliary_cost(json.loads((folder / "gelan-c.structure.json").read_text()))
    assert (cost.auxiliary_parameters, cost.auxiliary_multiply_adds) == (0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.0.conv.weight"), "1 keys are missing"),
        (lambda state: state.update(extra=state["model.0.bn.bias"]), "1 unexpected"),
        (lambda state: state.update({"model.0.bn.bias": state["model.0.bn.bias"][:-1]}), "model.0.bn.bias has shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, change: Any, message: str) -> None:
    saved = checkpoint(folder, "gelan-t")
    state = dict(saved.state)
    change(state)
    with pytest.raises(ModelError, match=message):
        load(dataclasses.replace(saved, state=state))


def test_other_strides_or_names_than_the_structures_are_refused(folder: Path) -> None:
    saved = checkpoint(folder, "gelan-t")
    with pytest.raises(ModelError, match="strides"):
        load(dataclasses.replace(saved, stride=(16, 8, 32)))
    with pytest.raises(ModelError, match="names 2 classes"):
        load(dataclasses.replace(saved, names=("cat", "dog")))


def test_fused_equals_unfused_and_leaves_the_original_alone() -> None:
    network, image = small(), torch.rand(2, 3, 48, 64, dtype=torch.float64)
    before = copy.deepcopy(network.state_dict())
    fused = fuse(network)
    with torch.inference_mode():
        assert error(fused(image), network(image)) <= TOLERANCE
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert error(fuse(network.without_auxiliary())(image), fused(image)) <= TOLERANCE


def test_an_image_does_not_depend_on_its_neighbours_or_on_the_memory_layout() -> None:
    network, images = small(), torch.rand(3, 3, 48, 64, dtype=torch.float64)
    with torch.inference_mode():
        together = network(images)
        assert error(torch.cat([network(image[None]) for image in images]), together) <= TOLERANCE
        last = network.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert error(last, together) <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_boxes_are_never_rounded_to_half_precision(dtype: torch.dtype) -> None:
    network = small().to(dtype)
    with torch.inference_mode():
        found = network(torch.zeros(1, 3, 8, 1024, dtype=dtype))
    assert found.dtype == torch.float32
    assert found.shape == (1, 7, 2 * 256 + 128)
    assert len(found[0, 0, 128:256].unique()) == 128  # centres near pixel 1000, all different


def test_an_exported_network_takes_other_batches_and_shapes() -> None:
    network = fuse(small().without_auxiliary())
    batch, rows, columns = (torch.export.Dim(name, min=2, max=64) for name in ("batch", "rows", "columns"))
    example, other = (torch.rand(*shape, dtype=torch.float64) for shape in ((2, 3, 32, 48), (3, 3, 64, 32)))
    exported = torch.export.export(network, (example,), dynamic_shapes=({0: batch, 2: 8 * rows, 3: 8 * columns},))
    assert error(exported.module()(other), network(other)) <= TOLERANCE


def test_build_gives_every_branch_and_a_float32_network_to_train() -> None:
    network = build(SMALL)
    assert network.training
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert {"model.17.cv2.0.2.bias", "model.17.cv5.1.2.bias", "model.3.1.cv4.bn.weight"} <= network.state_dict().keys()
    assert network.strides == (4, 8)
    assert network.state_dict()["model.17.dfl2.conv.weight"].flatten().tolist() == list(range(16))


def test_a_layer_that_the_main_branch_does_not_need_is_not_run() -> None:
    network = small()
    kept = network.without_auxiliary()
    assert "12" in kept.model  # feeds CBFuse
    structure = copy.deepcopy(SMALL)
    structure["head"][7][0] = [-1, 3]  # past CBFuse, which nothing else reads
    pruned = build(structure).without_auxiliary()
    assert not {"9", "10", "11", "12", "13"} & set(pruned.model)
    assert pruned.eval()(torch.rand(1, 3, 16, 16)).shape == (1, 7, 20)
