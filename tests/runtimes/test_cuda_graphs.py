"""When CUDA graphs are captured, replayed and given up: with PyTorch's graphs replaced by ones that record calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch

from boxmill.runtimes.cuda import CudaLanes, GraphedForward


class Graph:
    """What a capture stands for: the forward on one input, done again at each replay."""

    made: ClassVar[list[Graph]] = []

    def __init__(self) -> None:
        self.replays = 0
        Graph.made.append(self)

    def replay(self) -> None:
        self.replays += 1


@pytest.fixture
def graphed(monkeypatch: pytest.MonkeyPatch) -> GraphedForward:
    @contextmanager
    def capture(graph: Graph, **_: Any) -> Iterator[None]:
        if problems:
            raise RuntimeError(problems[0])
        yield

    problems: list[str] = []
    Graph.made.clear()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    made = GraphedForward(lambda images: [images + 1], CudaLanes.__new__(CudaLanes))
    made.problems = problems  # type: ignore[attr-defined]
    return made


def run(graphed: GraphedForward, times: int, count: int = 2) -> torch.Tensor:
    for _ in range(times):
        images = graphed.input((count, 3, 4, 4), torch.ones)
        (output,) = graphed(images)
    return output


def test_a_size_that_comes_again_and_again_is_captured_once_and_replayed(graphed: GraphedForward) -> None:
    run(graphed, 7)
    assert not Graph.made
    output = run(graphed, 1)  # this one is captured, and computed all the same
    assert torch.equal(output, torch.full((2, 3, 4, 4), 2.0))
    assert [graph.replays for graph in Graph.made] == [0]
    first, second = graphed.input((2, 3, 4, 4), torch.ones), graphed.input((2, 3, 4, 4), torch.ones)
    assert first is second
    run(graphed, 5)
    assert [graph.replays for graph in Graph.made] == [5]


def test_graphs_are_few_and_can_be_forgotten(graphed: GraphedForward) -> None:
    for count in range(1, 9):
        run(graphed, 20, count)
    assert len(Graph.made) == 4
    graphed.release()
    run(graphed, 7)
    assert len(Graph.made) == 4
    run(graphed, 1)
    assert len(Graph.made) == 5


@pytest.mark.parametrize(
    "problem", ["CUDA out of memory", "CUDA error: operation not permitted when stream is capturing"]
)
def test_a_network_that_cannot_be_captured_goes_on_without(graphed: Any, problem: str) -> None:
    graphed.problems.append(problem)
    with pytest.warns(UserWarning, match="no CUDA graphs"):
        run(graphed, 8)
    assert torch.equal(run(graphed, 20), torch.full((2, 3, 4, 4), 2.0))
    assert len(Graph.made) == 1


def test_a_fault_while_capturing_is_a_fault(graphed: Any) -> None:
    graphed.problems.append("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(graphed, 8)
