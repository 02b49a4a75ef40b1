"""Which image is which input, and which category is which class: never by the order of a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judged_runs import NAMES, write_coco

from boxmill.errors import SourceError, UsageError
from boxmill.evaluate import map_classes, pair_images, read_class_map, read_truth
from boxmill.labels import COCO80_EN, COCO80_ZH
from boxmill.store.exports.coco import COCO91


@pytest.mark.parametrize(
    ("names", "keys", "inputs"),
    [
        (["a.jpg", "b.jpg"], ["b.jpg", "a.jpg"], (1, 0)),
        (["val2017/a.jpg"], ["a.jpg"], (0,)),
        (["a.jpg"], ["val2017/a.jpg"], (0,)),
        (["data/a/1.jpg", "data/b/1.jpg"], ["b/1.jpg", "a/1.jpg"], (1, 0)),
        (["a.jpg"], ["sub/a.jpg", "a.jpg"], (1,)),  # the whole path wins
        (["x/a.jpg"], ["photos.zip!/a.jpg"], (0,)),
        (["a.jpg"], ["ext/0123456789abcdef-a.jpg"], (0,)),
        (["./a.jpg"], ["a.jpg"], (0,)),
        (["100%.jpg"], ["100%25.jpg"], (0,)),  # keys are percent-encoded
        (["a.jpg"], ["a.png"], (None,)),
        (["a.jpg"], [], (None,)),
        (["clip.mp4#000123"], ["clip.mp4#000123"], (0,)),
    ],
)
def test_images_are_matched_by_path(names: list[str], keys: list[str], inputs: tuple[int | None, ...]) -> None:
    pairs = pair_images(names, keys, stems=False)
    assert pairs.inputs == inputs
    assert pairs.ambiguous == ()
    assert pairs.unused == len(keys) - sum(one is not None for one in inputs)


def test_nothing_is_guessed_where_several_would_fit() -> None:
    several_inputs = pair_images(["1.jpg", "2.jpg"], ["a/1.jpg", "b/1.jpg", "b/2.jpg"], stems=False)
    assert (several_inputs.inputs, several_inputs.ambiguous) == ((None, 2), ("1.jpg",))
    several_names = pair_images(["a/1.jpg", "b/1.jpg"], ["1.jpg"], stems=False)
    assert (several_names.inputs, several_names.ambiguous) == ((None, None), ("a/1.jpg", "b/1.jpg"))
    assert pair_images(["a.jpg", "x/b.jpg"], ["a.jpg", "y/b.jpg"], stems=False).whole == 1
    by_elimination = pair_images(["a/1.jpg", "c/1.jpg"], ["a/1.jpg", "b/1.jpg"], stems=False)
    assert by_elimination.inputs == (0, 1)


def test_label_files_are_named_after_images_without_suffix() -> None:
    assert pair_images(["val/a", "b.c"], ["a.jpg", "b.c.png"], stems=True).inputs == (0, 1)
    assert pair_images(["a"], ["a.jpg", "a.png"], stems=True).ambiguous == ("a",)


def truth_of(tmp_path: Path, categories: dict[int, str], used: list[int]) -> Path:
    return write_coco(tmp_path / "gt.json", {"a.jpg": [(0, 0, 9, 9, one) for one in used]}, categories)


def test_classes_are_matched_by_name_not_by_number(tmp_path: Path) -> None:
    truth = read_truth(truth_of(tmp_path, dict(zip(COCO91, COCO80_EN, strict=True)), [1, 90]))
    found = map_classes(truth, COCO80_EN)
    assert found.how == "by name"
    assert found.classes == tuple(range(80))
    assert found.pairs[12] == ("14 parking meter", "12 parking meter")
    chinese = map_classes(truth, COCO80_ZH)
    assert chinese.classes == tuple(range(80))
    assert chinese.how == "by name, COCO's 80 in two languages"
    assert chinese.pairs[0] == ("1 person", "0 人")


def test_chinese_names_of_the_ground_truth_are_names_too(tmp_path: Path) -> None:
    path = truth_of(tmp_path, {1: "cat", 2: "dog", 3: "cow"}, [1, 2, 3])
    document = json.loads(path.read_text(encoding="utf-8"))
    document["categories"][1]["name_zh"] = " 狗"
    document["categories"][2]["name_zh"] = "cat"  # what is called so in English comes first
    path.write_text(json.dumps(document), encoding="utf-8")
    found = map_classes(read_truth(path), ("cat", "狗", "cow"))
    assert (found.how, found.classes) == ("by name", (0, 1, 2))
    with pytest.raises(UsageError, match="2 dog"):
        map_classes(read_truth(path), ("cat", "Hund", "cow"))


def test_letters_may_differ_in_case_and_classes_may_be_left_over(tmp_path: Path) -> None:
    truth = read_truth(truth_of(tmp_path, {4: "COW", 2: "Cat", 9: "unused"}, [4]))
    found = map_classes(truth, NAMES)
    assert (found.classes, found.used) == ((0, 2, None), (0, 2))
    assert found.left_out == ("9 unused",)
    assert found.unused == ("1 狗",)


def test_a_category_that_is_no_class_is_an_error_with_both_lists(tmp_path: Path) -> None:
    truth = read_truth(truth_of(tmp_path, {1: "cat", 2: "horse"}, [1, 2]))
    with pytest.raises(UsageError) as caught:
        map_classes(truth, NAMES)
    assert "no class of the model: 2 horse\nground truth: 1 cat, 2 horse\nmodel: cat, 狗, cow" in str(caught.value)
    assert "--class-map" in str(caught.value)
    with pytest.raises(UsageError, match="no category of the ground truth is a class"):
        map_classes(read_truth(truth_of(tmp_path, {1: "horse"}, [])), NAMES)


def test_a_map_may_join_categories_and_leave_some_out(tmp_path: Path) -> None:
    truth = read_truth(truth_of(tmp_path, {1: "tabby", 2: "tiger", 3: "horse"}, [1, 2, 3]))
    (tmp_path / "map.json").write_text('{"tabby": "cat", "tiger": "cat", "horse": null}')
    found = map_classes(truth, NAMES, read_class_map(tmp_path / "map.json"))
    assert (found.classes, found.used, found.left_out) == ((0, 0, None), (0,), ("3 horse",))
    for given, said in (
        ({"tabby": "cat", "tiger": "cat"}, "category 'horse' is missing"),
        ({"tabby": "cat", "tiger": "cat", "horse": "hen"}, "'hen' is no class"),
        ({"tabby": "cat", "tiger": "cat", "horse": None, "x": None}, "'x' is no category"),
    ):
        with pytest.raises(UsageError, match=said):
            map_classes(truth, NAMES, given)
    (tmp_path / "map.json").write_text("[]")
    with pytest.raises(SourceError, match="expected"):
        read_class_map(tmp_path / "map.json")
    with pytest.raises(SourceError, match="cannot be read"):
        read_class_map(tmp_path / "none.json")


def test_ground_truth_without_names_is_matched_by_id(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("2 0.5 0.5 0.2 0.4\n")
    found = map_classes(read_truth(tmp_path), NAMES)
    assert (found.how, found.classes) == ("by id: the ground truth has no names", (2,))
    assert found.pairs == (("2", "2 cow"),)
    (tmp_path / "a.txt").write_text("3 0.5 0.5 0.2 0.4\n")
    with pytest.raises(UsageError, match="no class of the model: 3"):
        map_classes(read_truth(tmp_path), NAMES)
