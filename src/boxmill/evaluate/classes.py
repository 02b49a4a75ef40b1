"""Which class of a model each category of the ground truth is: by name, never by the order of a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from boxmill.errors import SourceError, UsageError
from boxmill.evaluate.truth import Truth
from boxmill.labels import translate

__all__ = ["ClassMap", "map_classes", "read_class_map"]


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Categories of the ground truth, and the classes they are."""

    how: str  # for people: "by name", …
    classes: tuple[int | None, ...]  # class id of each category; None: its objects are left out
    pairs: tuple[tuple[str, str], ...]  # "id name" of category and class, for each category that is a class
    left_out: tuple[str, ...]  # categories that are no class
    unused: tuple[str, ...]  # classes that are no category: what a run says of them is left out

    @property
    def used(self) -> tuple[int, ...]:
        """The class ids that are evaluated, ascending."""
        return tuple(sorted({one for one in self.classes if one is not None}))


def read_class_map(path: Path) -> dict[str, str | None]:
    """A JSON file {"category of the ground truth": "class of the model", …}; null leaves a category out.

    Raises:
        SourceError: it cannot be read or is no such file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str | None])
    except OSError as error:
        raise SourceError(f"--class-map {str(path)!r} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SourceError(f'--class-map {str(path)!r}: expected {{"category": "class"}}: {error}') from error


def map_classes(truth: Truth, names: Sequence[str], given: Mapping[str, str | None] | None = None) -> ClassMap:
    """Finds the class of each category.

    By `given` where there is one; else by name: exactly, then without regard to case, then by the category's Chinese
    name where the ground truth has one, then with COCO's names in the other language. Ground truth that has no names
    (YOLO text without data.yaml) holds class ids.

    Args:
        truth: ground truth.
        names: of the model's classes, by id.
        given: class name of each category; several may be one class, None leaves a category out.

    Raises:
        UsageError: a category that has objects is no class of the model, or `given` does not fit; both lists are shown.
    """
    if not truth.categories:
        how, classes = "by id: the ground truth has no names", [one if one < len(names) else None for one in truth.ids]
    elif given is not None:
        how, classes = "as --class-map says", _by_map(truth, names, given)
    else:
        how, classes = _by_name(truth, names)
    titles = truth.categories or tuple("" for _ in truth.ids)
    shown = [f"{number} {title}".strip() for number, title in zip(truth.ids, titles, strict=True)]
    if given is None:
        _refuse_missing(truth, shown, classes, names)
    used = set(classes)
    return ClassMap(
        how,
        tuple(classes),
        tuple((text, f"{one} {names[one]}") for text, one in zip(shown, classes, strict=True) if one is not None),
        tuple(text for text, one in zip(shown, classes, strict=True) if one is None),
        tuple(f"{number} {name}" for number, name in enumerate(names) if number not in used),
    )


def _by_name(truth: Truth, names: Sequence[str]) -> tuple[str, list[int | None]]:
    other = [translate(tuple(names), lang) or () for lang in ("en", "zh")]
    exact = [_places(names)]
    folded = [_places([name.casefold() for name in names])]
    foreign = [_places([name.casefold() for name in one]) for one in other]
    result: list[int | None] = []
    translated = False
    for category, chinese in zip(truth.categories, truth.names_zh or ("",) * len(truth.categories), strict=True):
        found = _first(exact, category.strip())
        found = _first(folded, category.strip().casefold()) if found is None else found
        found = _first(exact, chinese.strip()) if found is None else found
        if found is None:
            found = _first(foreign, category.strip().casefold())
            translated |= found is not None
        result.append(found)
    return "by name, COCO's 80 in two languages" if translated else "by name", result


def _places(names: Sequence[str]) -> dict[str, int]:
    """The class of each name that exactly one class has."""
    counts = Counter(names)
    return {name: place for place, name in enumerate(names) if counts[name] == 1}


def _first(tables: Sequence[Mapping[str, int]], name: str) -> int | None:
    return next((table[name] for table in tables if name in table), None)


def _by_map(truth: Truth, names: Sequence[str], given: Mapping[str, str | None]) -> list[int | None]:
    unknown = [name for name in given if name not in truth.categories]
    wrong = [name for name in given.values() if name is not None and name not in names]
    missing = [name for name in truth.categories if name not in given]
    if unknown or wrong or missing:
        problem = (
            f"{unknown[0]!r} is no category" if unknown else
            f"{wrong[0]!r} is no class" if wrong else f"category {missing[0]!r} is missing; null leaves it out"
        )  # fmt: skip
        raise UsageError(f"--class-map: {problem}\n{_lists(truth.categories, names)}")
    chosen = [given[name] for name in truth.categories]
    return [None if name is None else list(names).index(name) for name in chosen]


def _refuse_missing(truth: Truth, shown: Sequence[str], classes: Sequence[int | None], names: Sequence[str]) -> None:
    seen = {int(place) for image in truth.images for place in image.categories}
    missing = [text for place, text in enumerate(shown) if classes[place] is None and place in seen]
    if missing:
        raise UsageError(
            f"categories of the ground truth that are no class of the model: {', '.join(missing)}\n"
            f"{_lists(shown, names)}\ngive --class-map FILE: a JSON object from each category to a class, or to null"
        )
    if all(one is None for one in classes):
        raise UsageError(f"no category of the ground truth is a class of the model\n{_lists(shown, names)}")


def _lists(categories: Sequence[str], names: Sequence[str]) -> str:
    return f"ground truth: {', '.join(categories)}\nmodel: {', '.join(names)}"
