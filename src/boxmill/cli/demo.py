"""`boxmill demo`: what boxmill can be shown with, made here."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

from cyclopts import App, Parameter

from boxmill.errors import UsageError

demo = App(name="demo", help="Make synthetic scenes with exact ground truth.")


@demo.command
def scenes(
    folder: Path,
    /,
    *,
    images: int = 24,
    size: str = "640x640",
    kind: Literal["single", "shop", "crowd", "aerial", "jumble", "medley", "scatter"] = "shop",
    seed: int = 0,
    split: Literal["train", "held-out"] = "held-out",
    glyphs: Literal["known", "unseen", "all"] | None = None,
    workers: int | None = None,
    font: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write synthetic photographs of everyday things, and their ground truth as a COCO file.

    Examples:

        boxmill demo scenes shop --images 867 --size 1920x1080

        boxmill demo scenes crowd --kind crowd --seed 7

    Written: 000000.jpg and so on, and ground_truth.coco.json with names in English and Chinese. The same command gives
    the same bytes. Things are drawn from the system's font Noto Color Emoji. Exit codes: 0 written, 2 usage, 3 no font,
    6 something cannot be written.

    Parameters
    ----------
    folder
        A new or an empty folder.
    images
        How many.
    size
        Width x height in pixels, such as 1920x1080.
    kind
        single: one thing among clutter. shop: 5 to 15 things on shelves. crowd: hundreds of people, animals and
        vehicles. aerial: hundreds of small vehicles and people from above. To train on, jumble: dozens of
        things of every kind and size; medley: a few, up to very large ones, among much that is none of them;
        scatter: hundreds of small ones on any ground.
    seed
        Another seed, other scenes.
    split
        train: as a detector is trained on. held-out: with backgrounds, light and viewpoints that training never has.
    glyphs
        held-out: known shows things as training does, unseen only as training never does, all both. Default: all.
    workers
        Processes. Default: one for each core.
    font
        File of the font, or what `boxmill demo glyphs` made of it. Default: where the system has it.
    quiet
        Print nothing but errors.
    """
    from boxmill.demo.glyphs import load_atlas
    from boxmill.demo.scenes import KINDS, SceneSpec, check
    from boxmill.demo.writing import GROUND_TRUTH, Job, write_scenes
    from boxmill.settings import available_cpus

    width, height = _size(size)
    spec = SceneSpec(KINDS[kind], width, height, split, glyphs or ("known" if split == "train" else "all"))
    check(spec, seed)
    job = Job(folder, spec, seed, images, available_cpus() if workers is None else workers)
    started = perf_counter()
    things = write_scenes(job, load_atlas(font), _Lines(images, quiet).observe)
    if not quiet:
        spent = perf_counter() - started
        print(f"{images} scenes with {things} things in {spent:.1f} s: {folder / GROUND_TRUTH}", file=sys.stderr)
    return 0


@demo.command
def glyphs(
    target: Path,
    /,
    *,
    font: Path | None = None,
) -> int:
    """Write the glyphs of the font Noto Color Emoji that scenes need into one file, for machines without the font.

    Examples:

        boxmill demo glyphs glyphs.npz

        boxmill demo scenes shop --font glyphs.npz

    Scenes from the file are the bytes that they are from the font. Exit codes: 0 written, 2 usage, 3 no font, 6 it
    cannot be written.

    Parameters
    ----------
    target
        The file to write, ending in .npz. A file that is there is replaced.
    font
        File of the font. Default: where the system has it.
    """
    from boxmill.demo.glyphs import sheet
    from boxmill.store import write_file

    if target.suffix != ".npz":
        raise UsageError(f"expected a file to write that ends in .npz, got {str(target)!r}")
    write_file(target, sheet(font))
    return 0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.strip())
    if match is None:
        raise UsageError(f"--size: expected width x height in pixels, such as 1920x1080, got {text!r}")
    return int(match[1]), int(match[2])


class _Lines:
    """A line every few seconds."""

    def __init__(self, total: int, quiet: bool) -> None:
        self._total, self._quiet, self._last = total, quiet, perf_counter()

    def observe(self, done: int) -> None:
        if not self._quiet and perf_counter() - self._last >= 5:
            self._last = perf_counter()
            print(f"{done}/{self._total}", file=sys.stderr)
