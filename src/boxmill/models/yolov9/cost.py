"""What the main branch costs, and what dropping the auxiliary branch saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from boxmill.models.yolov9.blocks import Conv
from boxmill.models.yolov9.network import Network, assemble

__all__ = ["Cost", "auxiliary_cost"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters, and multiply-adds of the convolutions for one image; of the main branch and of the rest."""

    main_parameters: int
    main_multiply_adds: int
    auxiliary_parameters: int  # saved by dropping the auxiliary branch; 0 where there is none
    auxiliary_multiply_adds: int


def auxiliary_cost(structure: Mapping[str, Any], height: int = 640, width: int = 640) -> Cost:
    """Count, without allocating weights, what a (height, width) image costs in each branch before fusion.

    Layers that both branches use count as the main branch's. Of the published structures at 640 × 640, main branch and
    what dropping the auxiliary one saves, in millions of parameters and 10^9 multiply-adds: t 2.4 + 1.3, 4.9 + 3.2;
    s 7.2 + 2.6, 13.4 + 6.4; m 20.1 + 12.8, 38.4 + 27.6; c 25.5 + 25.7, 51.4 + 67.9; e 58.1 + 11.4, 95.6 + 26.4.

    Raises ModelError as `build` does.
    """
    with torch.device("meta"):
        network = assemble(structure)
        image = torch.empty(1, 3, height, width)
    main, auxiliary = network.without_auxiliary(), network.auxiliary()
    main_parameters, parameters = _parameters(main), _parameters(network)
    for module in list(network.modules()):
        if isinstance(module, Conv):  # neither is counted, and both are slow without data
            module.bn = module.act = nn.Identity()  # type: ignore[assignment]
    main_work = _multiply_adds(main, image)
    all_work = main_work | (_multiply_adds(auxiliary, image) if auxiliary else {})
    operations = sum(main_work.values())
    return Cost(main_parameters, operations, parameters - main_parameters, sum(all_work.values()) - operations)


def _parameters(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _multiply_adds(network: Network, image: Tensor) -> dict[nn.Module, int]:
    """Per convolution that runs on `image` (1, 3, h, w): multiplications of its weights."""
    work: dict[nn.Module, int] = {}

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        work[module] = module.weight[0].numel() * output.numel()

    handles = [one.register_forward_hook(count) for one in network.modules() if isinstance(one, nn.Conv2d)]
    try:
        with torch.no_grad():
            network.eval()(image)
    finally:
        for handle in handles:
            handle.remove()
    return work
