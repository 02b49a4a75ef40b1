"""How many images go through a device together: as many as make it faster, and no more than it has memory for.

A first guess from the free memory; then sizes are doubled for as long as a doubling gives at least 5 % more images for
each second that the device works. What counts is where the throughput stops growing, not where the memory ends: beyond
that, batches only take memory and delay results. A batch that does not fit halves the size; after a while the double is
tried again, because memory is often short only for as long as another program holds it.

Nothing here knows a device, a thread or a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

__all__ = ["BatchSize", "BatchSizes", "first_guess"]

MOST = 256  # images; on GPUs of today the throughput of detectors stops growing long before
_GUESSED_AT_MOST = 16
_INPUTS_AN_IMAGE = 40  # float32 inputs that an image's feature maps take: generous, a first guess should fit
_SHARE = 2  # the guess takes 1 / 2 of the free memory
_GAIN = 1.05  # a doubling that gives less is not worth its memory
_WARMING = 1  # batches of a new size that are not measured: kernels are chosen, memory is reserved
_MEASURED = 3  # batches whose median is a size's throughput
_REGROW_AFTER = 32  # batches at a size that memory had forced
_REGROW_LATEST = 4096


def first_guess(free_memory: int, network: tuple[int, int], most: int = MOST) -> int:
    """A power of two from 1 to 16: images whose batch should fit into half of the free memory.

    Args:
        free_memory: bytes.
        network: height and width of the network's input, in pixels.
        most: larger guesses are lowered to this.
    """
    height, width = network
    fitting = free_memory // _SHARE // (height * width * 3 * 4 * _INPUTS_AN_IMAGE)
    return _power_below(max(1, min(fitting, _GUESSED_AT_MOST, most)))


def _power_below(number: int) -> int:
    return 1 << (number.bit_length() - 1)


@dataclass(slots=True)
class BatchSize:
    """The size of one shape's batches, from what is told of those that ran.

    Args:
        size: images in the next batch.
        most: it never grows above.
        settled: whether `size` is known to be where throughput stops growing; then it is not searched.
    """

    size: int
    most: int = MOST
    settled: bool = False
    _goal: int = field(init=False)  # what the search found; memory may hold `size` below it for a time
    _best: tuple[float, int] = field(default=(0.0, 0), init=False)  # images a second, size
    _rates: list[float] = field(default_factory=list, init=False)
    _batches: int = field(default=0, init=False)  # of the present size
    _regrown: bool = field(default=False, init=False)  # `size` is one that had not fitted earlier
    _patience: int = field(default=_REGROW_AFTER, init=False)  # batches until the double is tried again

    def __post_init__(self) -> None:
        """A settled size is its own goal."""
        self._goal = self.size

    @property
    def found(self) -> int | None:
        """The size at which throughput stops growing; None until it has been found."""
        return self._goal if self.settled else None

    def ran(self, images: int, seconds: float) -> None:
        """A batch went through the device, which worked so long at it. Smaller ones than `size` tell nothing."""
        if images != self.size:
            return
        self._batches += 1
        if self.size < self._goal:
            self._regrow()
        elif not self.settled and self._batches > _WARMING:
            self._rates.append(images / max(seconds, 1e-9))
            if len(self._rates) == _MEASURED:
                self._judge(median(self._rates))

    def did_not_fit(self, images: int) -> None:
        """A batch of so many images found too little memory: half of that from now on, more again later."""
        if images > self.size or self.size == 1:
            return  # it was launched before the size was lowered; and less than one image is none
        if self._regrown and self._batches == 0:
            self._patience = min(2 * self._patience, _REGROW_LATEST)
        self._goal = max(self._goal, self.size)
        self._change(max(1, images // 2))

    def _regrow(self) -> None:
        if self._batches >= self._patience:
            self._change(min(2 * self.size, self._goal))
            self._regrown = True

    def _judge(self, rate: float) -> None:
        best, size = self._best
        if rate < _GAIN * best:
            self._settle(size)
        elif 2 * self.size > self.most:
            self._settle(self.size)
        else:
            self._best = rate, self.size
            self._change(2 * self.size)
            self._goal = self.size

    def _settle(self, size: int) -> None:
        self.settled, self._goal = True, size
        self._change(size)

    def _change(self, size: int) -> None:
        self.size, self._batches, self._regrown = size, 0, False
        self._rates.clear()


class BatchSizes:
    """A `BatchSize` for each network shape.

    Args:
        fixed: as many images for every shape, whatever is measured (memory may still lower it); None: searched for.
        known: sizes that an earlier run found, by network height and width.
        most: images that a batch may have.
    """

    def __init__(
        self, fixed: int | None = None, known: Mapping[tuple[int, int], int] | None = None, most: int = MOST
    ) -> None:
        self._fixed, self._known, self._most = fixed, dict(known or {}), most
        self._sizes: dict[tuple[int, int], BatchSize] = {}

    def of(self, network: tuple[int, int], free_memory: Callable[[], int]) -> BatchSize:
        """That of one shape; a new one of which nothing is known begins from the free memory, in bytes."""
        if network not in self._sizes:
            size = self._fixed or self._known.get(network)
            if size is None:
                self._sizes[network] = BatchSize(first_guess(free_memory(), network, self._most), self._most)
            else:
                self._sizes[network] = BatchSize(min(size, self._most), self._most, settled=True)
        return self._sizes[network]

    def found(self) -> dict[tuple[int, int], int]:
        """What is worth remembering: where throughput stopped growing, by network height and width."""
        if self._fixed is not None:
            return {}
        own = {network: size.found for network, size in self._sizes.items()}
        return {**self._known, **{network: size for network, size in own.items() if size is not None}}
