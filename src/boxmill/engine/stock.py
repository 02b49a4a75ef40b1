"""What lies between the threads that decode and the one that feeds a device: images, and batches that came back.

Bounded in pixels: nobody decodes while more is decoded or launched than the bound says, but for one image a thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from boxmill.runtimes.device import Landed
from boxmill.types import EncodedItem, Frame, Geometry

__all__ = ["Decoded", "Returned", "Stock"]

_PATIENCE = 2.0  # seconds after which an image of a rare shape goes in a batch that is not full


@dataclass(slots=True, eq=False)
class Decoded:
    """One image that waits for the device, or is there."""

    item: EncodedItem
    held: Any  # its pixels as `DeviceRuntime.hold` gave them
    geometry: Geometry
    times: dict[str, float]  # milliseconds by stage
    frame: Frame | None  # where something wants the pixels afterwards
    since: float = 0.0  # monotonic seconds at which it began to wait
    tries: int = 0  # that ended for want of memory although it was alone

    @property
    def pixels(self) -> int:
        """Of the source image."""
        return self.geometry.source[0] * self.geometry.source[1]


@dataclass(frozen=True, slots=True)
class Returned:
    """One batch that came back from the device."""

    images: Sequence[Decoded]
    landed: Landed


class Stock:
    """See the module. Any thread may call anything.

    Args:
        most_pixels: of source images, decoded and not back from the device.
        reserve: whether there is an input to decode, which is then kept for the caller. After False, `inputs_came` has
            to be called when that changes.
    """

    def __init__(self, most_pixels: int, reserve: Callable[[], bool] = lambda: True) -> None:
        self._most, self._reserve = most_pixels, reserve
        self._change = threading.Condition()  # guards all below
        self._waiting: dict[tuple[int, int], deque[Decoded]] = {}  # by network shape
        self._returned: deque[Returned] = deque()
        self._pixels = 0
        self._decoding = 0  # threads that may add an image
        self._no_more_inputs = self._over = False

    def claim(self) -> Returned | bool:
        """Waits for work: a batch to finish, True to decode one input (then `decoded` follows), False to end."""
        with self._change:
            while True:
                if self._returned:
                    return self._returned.popleft()
                if self._over:
                    return False
                if not self._no_more_inputs and self._pixels < self._most and self._reserve():
                    self._decoding += 1
                    return True
                self._change.wait()

    def decoded(self, image: Decoded | None) -> None:
        """What came of a `claim`; None: the input failed, or there was none."""
        with self._change:
            self._decoding -= 1
            if image is not None:
                image.since = monotonic()
                self._waiting.setdefault(image.geometry.network, deque()).append(image)
                self._pixels += image.pixels
            self._change.notify_all()

    def suspect(self, image: Decoded) -> None:
        """An image that its taker decoded, and launches: it counts as if it had been taken from here."""
        with self._change:
            self._pixels += image.pixels

    def inputs_came(self) -> None:
        """Where `reserve` has said that there is none, there may be one now, or will never be."""
        with self._change:
            self._change.notify_all()

    def no_more_inputs(self) -> None:
        """The list is at its end, or the run was stopped."""
        with self._change:
            self._no_more_inputs = True
            self._change.notify_all()

    def take(self, size: Callable[[tuple[int, int]], int], *, busy: bool) -> list[Decoded] | None:
        """The next batch for the device.

        A full one where there is one; another where the device has nothing to do, nobody may decode any more, or an
        image has waited long. Of several the one with the image that has waited longest.

        Args:
            size: images in a full batch of a network shape.
            busy: whether the device works. Then nothing is waited for, and the batch may be empty.

        Returns:
            Images of one shape; None at the end.
        """
        with self._change:
            while True:
                if network := self._choose(size, busy=busy):
                    waiting = self._waiting[network]
                    return [waiting.popleft() for _ in range(min(size(network), len(waiting)))]
                if busy:
                    return []
                if self._over or (self._no_more_inputs and self._decoding == 0):
                    return None
                self._change.wait()

    def _choose(self, size: Callable[[tuple[int, int]], int], *, busy: bool) -> tuple[int, int] | None:
        late = monotonic() - _PATIENCE
        pressing = not busy or self._pixels >= self._most
        fit = {
            network: waiting[0].since
            for network, waiting in self._waiting.items()
            if waiting and (pressing or len(waiting) >= size(network) or waiting[0].since < late)
        }
        full = {network: since for network, since in fit.items() if len(self._waiting[network]) >= size(network)}
        chosen = full if full and min(fit.values()) >= late else fit
        return min(chosen, key=chosen.__getitem__, default=None)

    def left(self, images: Sequence[Decoded]) -> None:
        """They do not come back from the device: each has its outcome."""
        with self._change:
            self._pixels -= sum(image.pixels for image in images)
            self._change.notify_all()

    def came_back(self, batch: Returned) -> None:
        """To be finished by whoever claims it."""
        with self._change:
            self._pixels -= sum(image.pixels for image in batch.images)
            self._returned.append(batch)
            self._change.notify_all()

    def returned(self) -> Returned | None:
        """One that came back, if there is one; does not wait."""
        with self._change:
            return self._returned.popleft() if self._returned else None

    def end(self) -> None:
        """Nothing will come back any more; whoever waits ends when what came back is finished."""
        with self._change:
            self._over = True
            self._change.notify_all()
