"""From a run's directory to its report."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

from boxmill.labels import Language, translate
from boxmill.report.facts import Facts, read_facts
from boxmill.report.findings import classes, scores
from boxmill.report.gallery import Shown, gallery
from boxmill.report.markup import Html, Labels, Words
from boxmill.report.overview import failures, headline, remarks, what_ran
from boxmill.report.page import page
from boxmill.report.sample import Picked, pick
from boxmill.report.survey import Survey, survey
from boxmill.report.thumbnails import thumbnails
from boxmill.report.timing import stage_times, throughput
from boxmill.store import Manifest, replay, write_file
from boxmill.types import Failure, Outcome

__all__ = ["ReportOptions", "Written", "write_report"]

_CHINESE = re.compile("[\u4e00-\u9fff]")
# Where a failure came before or in the decoder, there is nothing to show; and what crashed a worker may crash us.
_NOT_OPENED = frozenset({"read", "decode", "worker"})


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What can be chosen of a report."""

    lang: Literal["zh", "en", "both"] = "both"  # both: with a switch, first the language of the run's labels
    images: int = 60  # shown at most; fewer where they would make the file too large
    source: str | None = None  # folder or archive where the images are now; None: where they were


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    path: str
    size: int  # bytes
    shown: int  # images in the gallery
    missing: int  # of those, the ones whose picture could not be read


def write_report(
    directory: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    options: ReportOptions | None = None,
) -> Written:
    """Writes one self-contained HTML file about a run; it is whole or not there.

    Args:
        directory: the run's; nobody should be writing to it.
        output: the file; None: `<run>/report.html`.
        options: languages, and how many images are shown.

    Raises:
        UsageError: not a run.
        OutputError: the journal cannot be read, or the file cannot be written.
    """
    chosen = options or ReportOptions()
    facts = read_facts(directory)
    root = None if chosen.source is None else os.fsencode(os.path.abspath(chosen.source))
    manifest = Manifest(directory, root)
    seen = survey(directory, manifest.total, len(facts.header.names))
    picked = pick(seen, chosen.images)
    images = _images(directory, manifest, picked, moved=root is not None)
    path = os.path.join(directory, "report.html") if output is None else os.fspath(output)
    document = _document(_words(chosen, facts), facts, manifest, seen, (picked, images)).encode()
    write_file(path, document)
    missing = sum(one.thumbnail is not None and not one.thumbnail.jpeg for one in images.values())
    return Written(path, len(document), len(images), missing)


def _words(chosen: ReportOptions, facts: Facts) -> Words:
    if chosen.lang != "both":
        return Words((chosen.lang,))
    chinese = any(_CHINESE.search(name) for name in facts.header.names)
    return Words(("zh", "en") if chinese else ("en", "zh"))


def _document(
    words: Words, facts: Facts, manifest: Manifest, seen: Survey, shown: tuple[list[Picked], dict[int, Shown]]
) -> Html:
    labels = Labels(words, _named(facts, "en"), _named(facts, "zh"))
    parts = [
        headline(words, facts, seen),
        remarks(words, facts, seen),
        stage_times(words, facts),
        throughput(words, seen),
        scores(words, facts, seen),
        classes(words, labels, seen),
        failures(words, seen),
        what_ran(words, facts, manifest),
        gallery(words, labels, *shown),
    ]
    return page(words, facts.name, parts, f"boxmill {facts.run.versions.get('boxmill', '')}".strip())


def _named(facts: Facts, language: Language) -> tuple[str, ...]:
    return translate(facts.header.names, language) or facts.header.names


def _images(
    directory: str | os.PathLike[str], manifest: Manifest, picked: list[Picked], *, moved: bool
) -> dict[int, Shown]:
    wanted = bytearray(manifest.total)
    for one in picked:
        for index in one.indices:
            wanted[index] = 1
    outcomes = {record.i: record.seen() for record in replay(directory, manifest.total, wanted)} if any(wanted) else {}
    opened = [index for index, outcome in outcomes.items() if _may_be_opened(outcome)]
    pictures = thumbnails(manifest, opened, moved=moved)
    return {index: Shown(outcome, pictures.get(index)) for index, outcome in outcomes.items()}


def _may_be_opened(outcome: Outcome) -> bool:
    return not (isinstance(outcome.result, Failure) and outcome.result.stage in _NOT_OPENED)
