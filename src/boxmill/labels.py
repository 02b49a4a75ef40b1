"""Names of classes: read from files, in English or Chinese, and chosen on the command line."""

from __future__ import annotations

import difflib
import json
import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from boxmill.coco80 import COCO80_EN, COCO80_ZH
from boxmill.errors import ModelError, UsageError
from boxmill.textfile import parse_yaml, read_text

__all__ = [
    "COCO80_EN",
    "COCO80_ZH",
    "COCO91_EN",
    "COCO91_ZH",
    "Language",
    "NamesByLanguage",
    "label_names",
    "load_labels",
    "names_beside",
    "parse_classes",
    "translate",
]

Language = Literal["en", "zh"]

_LIMIT = 4 << 20  # bytes of a label file; 20,000 names take about 300 kB

# Numbers below 91 that are no id of an object category in COCO's annotation files.
_GAPS = frozenset({0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


def _by_category_id(names: tuple[str, ...]) -> tuple[str, ...]:
    following = iter(names)
    return tuple("N/A" if index in _GAPS else next(following) for index in range(91))


# By COCO's own category ids 1 to 90, as the original DETR and torchvision's detectors count.
COCO91_EN: tuple[str, ...] = _by_category_id(COCO80_EN)
COCO91_ZH: tuple[str, ...] = _by_category_id(COCO80_ZH)

# What Darknet's list of COCO's classes calls them, and lists made from it.
_OTHER_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}

_Names = tuple[str, ...]
NamesByLanguage = Mapping[Language, _Names]  # one list of classes, by id, in each language
_BUILT_IN: dict[str, NamesByLanguage] = {
    "coco80": {"en": COCO80_EN, "zh": COCO80_ZH},
    "coco91": {"en": COCO91_EN, "zh": COCO91_ZH},
}


def load_labels(path: Path) -> tuple[str, ...]:
    """The names by class id in a label file.

    `.json` holds {"0": "人"} or a list; `.yaml` and `.yml` hold a list, {0: name}, or YOLO's data file with `names`;
    anything else is plain text with one name a line. All are UTF-8, with or without a byte order mark.

    Raises:
        ModelError: the file cannot be read or is not UTF-8, an id is missing or repeated, a name is empty or not text.
    """
    path = Path(path)
    text = read_text(path, _LIMIT)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _names(_parse_json(text, path), path)
    if suffix in (".yaml", ".yml"):
        return _names(parse_yaml(text, path), path)
    return _names_in_lines(text, path)


def label_names(reference: tuple[str, ...] | Path | Literal["coco80", "coco91"] | None) -> tuple[str, ...] | None:
    """What a model card's `labels` stands for: the names themselves, a label file, or a built-in list.

    `coco80` counts COCO's classes 0 to 79; `coco91` has them at COCO's category ids, 1 to 90, with "N/A" between.

    Raises:
        ModelError: see load_labels.
    """
    if isinstance(reference, Path):
        return load_labels(reference)
    return _BUILT_IN[reference]["en"] if isinstance(reference, str) else reference


def translate(names: tuple[str, ...], lang: Language, more: Sequence[NamesByLanguage] = ()) -> tuple[str, ...] | None:
    """The same classes named in `lang` when `names` are a whole known list in either language; None otherwise.

    Known are the built-in lists and `more`.
    Differences of spelling do not matter: case, underscores, and the names that Darknet's list has from Pascal VOC
    (`sofa` is COCO's `couch`). Parts of a list are not translated: a list of animals may have another `mouse`.
    """
    known = _known(names, more)
    return None if known is None else known[lang]


def names_beside(path: Path, lang: Language) -> Path | None:
    """The label file for `lang` (labels_zh.json, labels_en.json) in the folder of `path`; None: there is none."""
    beside = path.with_name(f"labels_{lang}.json")
    return beside if beside.is_file() else None


def _known(names: _Names, more: Sequence[NamesByLanguage]) -> NamesByLanguage | None:
    """The list that `names` are, in whatever spelling."""
    plain = tuple(_plain(name) for name in names)
    for known in (*_BUILT_IN.values(), *more):
        if any(len(one) == len(plain) and tuple(map(_plain, one)) == plain for one in known.values()):
            return known
    return None


def _plain(name: str) -> str:
    """A name as it is compared."""
    plain = name.casefold().replace("_", " ")
    return _OTHER_NAMES.get(plain, plain)


def parse_classes(
    wanted: Sequence[str], names: tuple[str, ...], more: Sequence[NamesByLanguage] = ()
) -> tuple[int, ...]:
    """The class ids that `wanted` asks for, ascending, each once.

    A whole number is an id, even where a class is named by a number. Anything else is a name, compared first exactly
    and then without regard to case; for COCO's 80 classes, and for those of `more`, both English and Chinese are
    understood. A name that several classes carry stands for all of them.

    Raises:
        UsageError: an id is out of range, or no class has the name.
    """
    known = _known(names, more)
    languages = (names,) if known is None else (names, *known.values())
    chosen: set[int] = set()
    for text in (text.strip() for text in wanted):
        if re.fullmatch(r"[+-]?\d+", text):
            chosen.add(_class_id(text, names))
        else:
            chosen.update(_class_ids(text, languages))
    return tuple(sorted(chosen))


def _class_id(text: str, names: tuple[str, ...]) -> int:
    # Ids have few digits; int() refuses texts of more than 4300 with a message of its own.
    if len(text) > 9 or not 0 <= int(text) < len(names):
        raise UsageError(f"class id {text[:20]}: the model has {len(names)} classes, expected 0 to {len(names) - 1}")
    return int(text)


def _class_ids(text: str, languages: tuple[tuple[str, ...], ...]) -> set[int]:
    every = [(name, index) for names in languages for index, name in enumerate(names)]
    found = {index for name, index in every if name == text}
    found = found or {index for name, index in every if name.casefold() == text.casefold()}
    if not found:
        by_folded = {name.casefold(): name for name, _ in every}
        near = difflib.get_close_matches(text.casefold(), by_folded, n=1, cutoff=0.0)
        raise UsageError(f"class {text!r}: the model has no class of that name; the nearest is {by_folded[near[0]]!r}")
    return found


def _parse_json(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ValueError(f"key {twice[:40]!r} appears twice")
        return mapping

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # ValueError: JSONDecodeError, a key twice, a number of 5,000 digits
        raise ModelError(f"{path}: not valid JSON: {error}") from error


def _names_in_lines(text: str, path: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in text.rstrip().split("\n")]
    for number, line in enumerate(lines, 1):
        if not line:
            what = "the file has no names" if len(lines) == 1 else f"line {number} is empty"
            raise ModelError(f"{path}: {what}; expected one name a line, for class 0, 1, 2, …")
    return tuple(lines)


def _names(value: Any, path: Path) -> tuple[str, ...]:
    """Names from parsed JSON or YAML: a list, a mapping of ids, or either of them under `names`."""
    if isinstance(value, dict) and "names" in value:
        value = value["names"]
    if isinstance(value, dict):
        value = _in_order(value, path)
    if not isinstance(value, list):
        raise ModelError(f"{path}: expected a list of names or a mapping of ids to names, got {_kind(value)}")
    if not value:
        raise ModelError(f"{path}: expected at least one name, the list is empty")
    for index, name in enumerate(value):
        if not isinstance(name, str):
            raise ModelError(f"{path}: class {index}: expected a name, got {_kind(name)}; write it in quotes")
        if not name.strip():
            raise ModelError(f"{path}: class {index}: expected a name, got an empty text")
    return tuple(name.strip() for name in value)


def _in_order(by_id: dict[Any, Any], path: Path) -> list[Any]:
    ordered: dict[int, Any] = {}
    for key, name in by_id.items():
        if isinstance(key, bool) or not re.fullmatch(r"\d{1,9}", str(key)):
            raise ModelError(f"{path}: expected class ids 0, 1, 2, … as keys, got {str(key)[:40]!r}")
        if int(key) in ordered:
            raise ModelError(f"{path}: id {int(key)} appears twice; expected every id once")
        ordered[int(key)] = name
    for index in range(len(ordered)):
        if index not in ordered:
            raise ModelError(f"{path}: id {index} is missing; expected the ids 0 to {len(ordered) - 1} without gaps")
    return [ordered[index] for index in range(len(ordered))]


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"{reprlib.repr(value)} ({type(value).__name__})"
