"""The parity test bites: each single fault in a block, a link or the head takes the output off the official one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch: install 'boxmill[torch]'")

from yolov9_cases import answers, checkpoint, error, loaded  # noqa: E402  # after torch is known to be there

from boxmill.models.yolov9 import Network, blocks, build, heads  # noqa: E402

TOLERANCE = 1e-6
Change = Callable[[Any], None]


@pytest.fixture
def folder(assets: Path) -> Path:
    return assets / "yolov9"


def matches(folder: Path, name: str, network: Network) -> bool:
    """Whether the first image's output is the official one; a network that cannot run does not match."""
    images, expected = answers(folder, name)
    try:
        with torch.inference_mode():
            found = network(images[:1])
    except RuntimeError:
        return False
    return found.shape == expected[:1].shape and error(found, expected[:1]) <= TOLERANCE


def one_changed(folder: Path, name: str, kind: type, change: Change) -> Network:
    """A copy of the network in which the first block of this kind is changed, and no other."""
    network = copy.deepcopy(loaded(folder, name))
    change(next(module for module in network.modules() if type(module) is kind))
    return network


# the 3×3 convolution of each block type, in a small network that has the block
CONVOLUTIONS: dict[str, tuple[str, type, Callable[[Any], Any]]] = {
    "Conv": ("yolov9-m-quarter", blocks.Conv, lambda block: block.conv),
    "RepConvN": ("yolov9-m-quarter", blocks.RepConvN, lambda block: block.conv1.conv),
    "RepNBottleneck": ("yolov9-m-quarter", blocks.RepNBottleneck, lambda block: block.cv2.conv),
    "RepNCSPELAN4": ("yolov9-m-quarter", blocks.RepNCSPELAN4, lambda block: block.cv3[1].conv),
    "ELAN1": ("gelan-t", blocks.ELAN1, lambda block: block.cv3.conv),
    "AConv": ("yolov9-m-quarter", blocks.AConv, lambda block: block.cv1.conv),
    "ADown": ("yolov9-c-quarter", blocks.ADown, lambda block: block.cv1.conv),
    "DDetect boxes": ("yolov9-m-quarter", heads.DDetect, lambda head: head.cv2[0][1].conv),
    "DDetect scores": ("yolov9-m-quarter", heads.DDetect, lambda head: head.cv3[2][0].conv),
}


def kernel(convolution: Any) -> None:
    """As a 1×1 kernel: only the middle weight of each 3×3 is left."""
    middle = torch.zeros_like(convolution.weight)
    middle[..., 1, 1] = convolution.weight[..., 1, 1]
    convolution.weight = torch.nn.Parameter(middle, requires_grad=False)


def padding(convolution: Any) -> None:
    """The border repeated instead of zeros, which leaves all shapes."""
    convolution.padding = (0, 0)
    convolution.register_forward_pre_hook(
        lambda _, inputs: (torch.nn.functional.pad(inputs[0], (1, 1, 1, 1), mode="replicate"),)
    )


def stride(convolution: Any) -> None:
    """Stride 1 for 2 and 2 for 1, brought back to the right size."""
    wrong = 3 - convolution.stride[0]
    convolution.stride = (wrong, wrong)
    convolution.register_forward_hook(
        lambda _, __, y: (
            y.roll((1, 1), (2, 3))[..., ::2, ::2]
            if wrong == 1
            else torch.nn.functional.interpolate(y, scale_factor=2.0)
        )
    )


@pytest.mark.parametrize("fault", [kernel, padding, stride], ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("block", CONVOLUTIONS)
def test_a_wrong_convolution_in_one_block(folder: Path, block: str, fault: Change) -> None:
    name, kind, convolution = CONVOLUTIONS[block]
    assert not matches(folder, name, one_changed(folder, name, kind, lambda module: fault(convolution(module))))


def setting(attribute: str, value: Any) -> Change:
    return lambda module: setattr(module, attribute, value)


def silent_1x1(block: Any) -> None:
    block.conv2 = torch.nn.Module()
    block.conv2.forward = lambda x: 0.0


def swapped_joint(block: Any) -> None:
    block.cv3.register_forward_pre_hook(lambda _, inputs: (inputs[0].roll(inputs[0].shape[1] // 2, 1),))


def swapped_halves(block: Any) -> None:
    block.cv1.register_forward_hook(lambda _, __, y: y.roll(y.shape[1] // 2, 1))


def without_average(block: Any) -> None:
    block.forward = lambda x: block.cv1(x)


def wide_maximum(block: Any) -> None:
    def forward(x: Any) -> Any:
        first, second = torch.nn.functional.avg_pool2d(x, 2, 1).split((block.part, block.part), 1)
        return torch.cat((block.cv1(first), block.cv2(torch.nn.functional.max_pool2d(second, 5, 2, 2))), 1)

    block.forward = forward


def swapped_inputs(block: Any) -> None:
    block.forward = lambda inputs: torch.cat(list(inputs)[::-1], 1)


def smooth(block: Any) -> None:
    block.forward = lambda x: torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")


def without_bias(block: Any) -> None:
    block.conv.bias = None


def reversed_bins(block: Any) -> None:
    block.dfl.conv.weight = torch.nn.Parameter(block.dfl.conv.weight.flip(1), requires_grad=False)


@pytest.mark.parametrize(
    ("name", "kind", "change"),
    [
        pytest.param("yolov9-m-quarter", blocks.RepNBottleneck, setting("add", False), id="shortcut missing"),
        pytest.param("yolov9-m-quarter", blocks.RepConvN, silent_1x1, id="1×1 branch missing"),
        pytest.param("yolov9-m-quarter", blocks.RepNCSP, swapped_joint, id="CSP joined in the other order"),
        pytest.param("yolov9-m-quarter", blocks.RepNCSPELAN4, swapped_halves, id="halves of RepNCSPELAN4 exchanged"),
        pytest.param("gelan-t", blocks.ELAN1, swapped_halves, id="halves of ELAN1 exchanged"),
        pytest.param("yolov9-m-quarter", blocks.AConv, without_average, id="AConv without its average"),
        pytest.param("yolov9-c-quarter", blocks.ADown, wide_maximum, id="ADown with a 5×5 maximum"),
        pytest.param("yolov9-m-quarter", blocks.SP, setting("kernel", 3), id="SPPELAN with a 3×3 maximum"),
        pytest.param("yolov9-m-quarter", blocks.Concat, swapped_inputs, id="Concat in the other order"),
        pytest.param("yolov9-m-quarter", blocks.Upsample, smooth, id="Upsample not nearest"),
        pytest.param("yolov9-e-quarter", blocks.CBLinear, without_bias, id="CBLinear without its bias"),
        pytest.param("yolov9-m-quarter", torch.nn.BatchNorm2d, setting("eps", 1e-5), id="another epsilon"),
        pytest.param("yolov9-m-quarter", torch.nn.SiLU, setting("forward", torch.relu), id="another activation"),
        pytest.param("yolov9-m-quarter", heads.DDetect, reversed_bins, id="bins in the other order"),
        pytest.param("yolov9-m-quarter", heads.DDetect, setting("strides", (8, 16, 16)), id="another stride"),
    ],
)
def test_one_wrong_block(folder: Path, name: str, kind: type, change: Change) -> None:
    assert not matches(folder, name, one_changed(folder, name, kind, change))


LINKS = [(fuse, link) for fuse, links in ((16, 5), (18, 4), (21, 3), (24, 2), (27, 1)) for link in range(links)]


@pytest.mark.parametrize(("fuse", "link"), LINKS)
def test_a_skipped_link_between_the_backbones(folder: Path, fuse: int, link: int) -> None:
    """Every link of CBLinear to CBFuse in the structure whose main branch has them."""
    network = copy.deepcopy(loaded(folder, "yolov9-e-quarter"))
    network.model[str(fuse)].register_forward_pre_hook(
        lambda module, inputs: ([*inputs[0][:link], skipped(inputs[0][link]), *inputs[0][link + 1 :]],)
    )
    assert not matches(folder, "yolov9-e-quarter", network)


def skipped(maps: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(torch.zeros_like(one) for one in maps)


def test_the_auxiliary_heads_output(folder: Path) -> None:
    name = "yolov9-m-quarter"
    saved = checkpoint(folder, name)
    network = build(saved.structure)
    network.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in saved.state.items()})
    network.double().eval()
    auxiliary = network.auxiliary()
    assert auxiliary is not None
    assert matches(folder, name, network)
    assert not matches(folder, name, auxiliary)


@pytest.mark.parametrize("name", ["yolov9-m-quarter", "yolov9-c-quarter", "yolov9-e-quarter", "gelan-t"])
def test_unchanged_copies_match(folder: Path, name: str) -> None:
    assert matches(folder, name, copy.deepcopy(loaded(folder, name)))
