"""What an export is made from: a run's results at one threshold, read from the journal as often as a format needs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from boxmill.errors import UsageError
from boxmill.store.manifest import Input, Manifest
from boxmill.store.replay import replay
from boxmill.store.run_header import RunHeader
from boxmill.store.views import seen
from boxmill.types import Outcome

__all__ = ["ExportOptions", "RunResults"]

CocoIds = Literal["80", "91", "class"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What can be chosen of an export; each format takes what concerns it."""

    conf: float | None = None  # objects that score above this; None: what the run shows
    coco_ids: CocoIds | None = None  # None: class id + 1
    save_conf: bool = False  # yolo: the score at the end of each line
    images: str | None = None  # folder where the images are now; None: where they were
    url_prefix: str = "/data/local-files/?d="  # labelstudio: what an image's path is appended to


@dataclass(frozen=True, slots=True)
class RunResults:
    """A run as an export sees it."""

    directory: str
    header: RunHeader
    options: ExportOptions
    manifest: Manifest

    @classmethod
    def of(cls, directory: str, header: RunHeader, options: ExportOptions) -> RunResults:
        """Opens a run's results.

        Raises:
            UsageError: `options.conf` is below what the journal kept.
            OutputError: the manifest is damaged.
        """
        conf, keep = options.conf, header.keep_conf
        if conf is not None and (math.isnan(conf) or (header.task == "detect" and not 0 <= conf <= 1)):
            raise UsageError(f"--conf: expected a number from 0 to 1, got {conf:g}")
        if conf is not None and keep is not None and not conf >= keep:
            raise UsageError(
                f"--conf {conf:g}: the run kept only what scores above {keep:g}; give {keep:g} or more, "
                "or run again with a lower --keep-conf"
            )
        root = None if options.images is None else os.fsencode(os.path.abspath(options.images))
        return cls(directory, header, options, Manifest(directory, root))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, by id."""
        return self.header.names

    @property
    def conf(self) -> float | None:
        """The threshold of this export."""
        return self.header.conf if self.options.conf is None else self.options.conf

    def outcomes(self) -> Iterator[Outcome]:
        """The outcome of each finished input, in the order of the listing, one at a time.

        Raises:
            OutputError: the journal cannot be read.
        """
        for record in replay(self.directory, self.manifest.total):
            yield seen(record.outcome(), self.conf)

    def located(self) -> Iterator[tuple[Outcome, Input]]:
        """The same, with where each image lies."""
        outcomes = self.outcomes()
        outcome = next(outcomes, None)
        for entry in self.manifest:
            if outcome is not None and outcome.index == entry.index:
                yield outcome, entry
                outcome = next(outcomes, None)
