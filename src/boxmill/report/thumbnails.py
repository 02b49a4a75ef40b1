"""Small JPEGs of a run's images, read again from its source."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from boxmill.errors import ImageError
from boxmill.images import DecodeLimits, decode
from boxmill.sources import ItemReader
from boxmill.store import Manifest
from boxmill.types import EncodedItem, UInt8

__all__ = ["SIDE", "Thumbnail", "fitted", "thumbnails"]

SIDE = 340  # pixels of the longer side: sharp on the 230 CSS pixels that a card gives it
_QUALITIES = (82, 60, 40, 20)  # the first at which a JPEG fits
_MOST_BYTES = 30_000  # of one JPEG; a photograph takes 10,000 to 20,000


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture, or why there is none."""

    jpeg: bytes = b""
    problem: str = ""


def fitted(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the thumbnail of an image of this width and height; never larger than it."""
    scale = min(1.0, SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbnails(manifest: Manifest, wanted: Iterable[int], *, moved: bool) -> dict[int, Thumbnail]:
    """The wanted inputs' pictures by index; several are decoded at once.

    Args:
        manifest: the run's inputs.
        wanted: indices.
        moved: the source lies elsewhere than when it was listed, so that files are compared by size alone.
    """
    reader = ItemReader(DecodeLimits().max_bytes, moved=moved)
    made: dict[int, Future[Thumbnail]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for one in manifest.some(wanted):
            item = reader.item(one)
            if item.fetch is not None:  # a compressed archive is read forwards, by one thread
                item.fetch()
            made[one.index] = pool.submit(_thumbnail, item)
    return {index: future.result() for index, future in made.items()}


def _thumbnail(item: EncodedItem) -> Thumbnail:
    try:
        frame = decode(item.read(), item.key, fast=lambda size: fitted(size[::-1])[::-1])
    except ImageError as error:
        return Thumbnail(problem=str(error))
    except OSError as error:
        return Thumbnail(problem=error.strerror or str(error))
    except MemoryError as error:
        return Thumbnail(problem=str(error))
    height, width = frame.source
    return Thumbnail(_jpeg(frame.pixels, fitted((width, height))))


def _jpeg(pixels: UInt8, size: tuple[int, int]) -> bytes:
    import cv2

    small = cv2.cvtColor(np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)), cv2.COLOR_RGB2BGR)
    data = b""
    for quality in _QUALITIES:
        data = bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1])
        if len(data) <= _MOST_BYTES:
            break
    return data
