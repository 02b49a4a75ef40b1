"""The structure of a checkpoint is untrusted: every malformed one is refused by name, and nothing in it is run."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch: install 'boxmill[torch]'")

from yolov9_cases import SMALL  # noqa: E402  # after torch is known to be there

from boxmill.errors import ModelError  # noqa: E402
from boxmill.models.yolov9 import build  # noqa: E402


def changed(part: str, index: int, layer: Any) -> dict[str, Any]:
    structure = copy.deepcopy(SMALL)
    structure[part][index] = layer
    return structure


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ([-1, 1, "C3", [16]], r"layer 2 .*C3.*not supported.*ADown, .*RepNCSPELAN4"),
        ([-1, 1, "__import__('os').system", []], "not supported"),
        ([-1, 1, "Conv", ["__import__('os').getpid()", 3, 2]], "expected a whole number"),
        ([-1, 1, "DDetect", ["nc"]], "not supported before the head"),
        ([-1, 1, "Conv", [16, 2, 2]], "odd kernel"),
        ([-1, 1, "Conv", [16, 3, 9]], "stride up to 4"),
        ([-1, 1, "Conv", []], "expected 1 to 3 arguments, got 0"),
        ([-1, 1, "Conv", [16, 3, 2, 1]], "expected 1 to 3 arguments, got 4"),
        ([-1, 1, "Conv", [0]], "from 1 to 8192"),
        ([-1, 1, "Conv", [True]], "from 1 to 8192"),
        ([-1, 1, "Conv", [1 << 40]], "from 1 to 8192"),
        ([-1, 1, "Conv", 16], "arguments must be a list"),
        ([-1, 33, "Conv", [16]], "repeats of layer 2"),
        ([-1, 2, "Conv", [32]], "must give what it takes"),
        ([2, 1, "Conv", [16]], "not an earlier layer"),
        ([-4, 1, "Conv", [16]], "not an earlier layer"),
        (["1", 1, "Conv", [16]], "number of a layer"),
        ([[], 1, "Conv", [16]], "takes input from 1 to 16 layers, not 0"),
        ([[0, 1], 1, "Conv", [16]], "takes one input, not 2"),
        ([[0, 1], 1, "Concat", [1]], "different strides"),
        ([-1, 1, "Concat", [2]], "along the channels"),
        ([-1, 1, "ELAN1", [16, 15, 8]], "even number"),
        ([-1, 1, "RepNCSPELAN4", [16, 16, 8, 33]], "at most 32 bottlenecks"),
        ([-1, 1, "RepConvN", [16, 5]], "expected kernel 3"),
        ([-1, 1, "SP", [4]], "odd kernel"),
        ([-1, 1, "nn.Upsample", ["None", 3, "nearest"]], "only"),
        ([0, 1, "nn.Upsample", ["None", 2, "nearest"]], "even stride"),
        ([-1, 1, "CBLinear", [16]], "one list"),
        ([[0, 1], 1, "CBFuse", [[0, 0]]], "one list with a pick"),
        ([[0, 1], 1, "CBFuse", [[1]]], "picks map 1"),
        ([[0, 1], 1, "CBFuse", [[0]]], "cannot add"),
        ([-1, 1, "Conv"], r"must be \[from, repeats, block, \[arguments\]\]"),
        ([-1, 1, 7, [16]], "by a string"),
        ("Conv", "must be"),
    ],
)
def test_a_malformed_layer_is_named(layer: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build(changed("backbone", 2, layer))
    assert "layer 2" in str(caught.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ([[3, 5], 1, "TripleDDetect", ["nc"]], "supported there are DDetect, DualDDetect"),
        ([-1, 1, "Conv", [16]], "not supported as the last layer"),
        ([[3, 5, 16], 1, "DualDDetect", ["nc"]], "as many auxiliary maps"),
        ([[9, 10], 1, "DDetect", ["nc"]], "only CBFuse"),
        ([[3, 5], 1, "DDetect", []], "number of classes"),
        ([[3, 5], 2, "DDetect", ["nc"]], "one repeat"),
    ],
)
def test_a_malformed_head_is_named(head: list[Any], message: str) -> None:
    structure = changed("head", -1, head)
    if head[2] == "DDetect" and head[0] == [9, 10]:
        structure["head"][1][3] = [[16, 24]]
    with pytest.raises(ModelError, match=message):
        build(structure)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nc", 0, "number of classes"),
        ("nc", "80", "number of classes"),
        ("nc", 10**9, "number of classes"),
        ("backbone", "Conv", "must be a list"),
        ("backbone", None, "must be a list"),
        ("backbone", [[-1, 1, "Conv", [16]]] * 300, "more than 256 layers"),
        ("width_multiple", 0.5, "only 1.0"),
        ("depth_multiple", 0.33, "only 1.0"),
        ("ch", 4, "image channels"),
        ("activation", "nn.ReLU()", "SiLU"),
    ],
)
def test_a_malformed_structure_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(SMALL | {key: value})
    with pytest.raises(ModelError, match="mapping"):
        build([])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no layers"):
        build({"nc": 1, "backbone": [], "head": []})


def test_a_network_too_large_is_refused_before_it_takes_memory() -> None:
    structure = changed("backbone", 2, [-1, 1, "Conv", [8192, 15, 2]])
    structure["backbone"][1] = [-1, 1, "Conv", [8192, 3, 2]]  # 15 billion weights from these to those
    with pytest.raises(ModelError, match=r"layer 2 .*500,000,000 parameters"):
        build(structure)


def test_widths_are_rounded_up_to_eight_as_in_the_published_size_m() -> None:
    structure = changed("backbone", 1, [-1, 1, "Conv", [12, 3, 2]])
    assert build(structure).state_dict()["model.1.conv.weight"].shape[0] == 16
