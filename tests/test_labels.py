from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from boxmill.errors import ModelError, UsageError
from boxmill.labels import (
    COCO80_EN,
    COCO80_ZH,
    COCO91_EN,
    COCO91_ZH,
    NamesByLanguage,
    label_names,
    load_labels,
    names_beside,
    parse_classes,
    translate,
)

ASSETS = os.environ.get("BOXMILL_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="BOXMILL_ASSETS is not set: no lists to compare with")


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"0": "人", "1": "car", "2": "dog"}'),
        ("a.json", '{"2": "dog", "0": "人", "1": "car"}'),
        ("a.json", '["人", "car", " dog "]'),
        ("a.JSON", '\ufeff{"names": ["人", "car", "dog"]}'),
        ("data.yaml", "train: images\nnc: 3\nnames: [人, car, dog]\n"),
        ("data.yaml", "names:\n  0: 人\n  1: car\n  2: dog\n"),
        ("data.yml", "- 人\n- car\n- dog\n"),
        ("data.yaml", "'0': 人\n'1': car\n2: dog\n"),
        ("names.txt", "人\ncar\ndog"),
        ("names.txt", "\ufeff人\r\n car \r\ndog\r\n\r\n\n"),
        ("coco.names", "人\ncar\ndog\n"),
    ],
)
def test_label_files(tmp_path: Path, name: str, text: str) -> None:
    assert load_labels(write(tmp_path, name, text)) == ("人", "car", "dog")


@pytest.mark.parametrize("name", ["a.json", "b.yaml", "c.txt"])
def test_54092_names(tmp_path: Path, name: str) -> None:
    names = tuple(f"标签{index}" for index in range(54092))
    by_id = json.dumps(dict(enumerate(names)), ensure_ascii=False)
    text = {"a.json": by_id, "b.yaml": "names:\n- " + "\n- ".join(names), "c.txt": "\n".join(names)}[name]
    assert load_labels(write(tmp_path, name, text)) == names


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", '{"0": "a", "2": "b"}', "id 1 is missing"),
        ("a.json", '{"0": "a", "0": "b"}', "key '0' appears twice"),
        ("a.json", '{"0": "a", "00": "b"}', "id 0 appears twice"),
        ("a.json", '{"person": 0}', "expected class ids .* got 'person'"),
        ("a.json", '{"-1": "a"}', "expected class ids"),
        ("a.json", '["a", 1]', r"class 1: expected a name, got 1 \(int\); write it in quotes"),
        ("a.json", '["a", ""]', "class 1: expected a name, got an empty text"),
        ("a.json", '["a", null]', "class 1: expected a name, got nothing"),
        ("a.json", '["a", ["b"]]', "class 1: expected a name, got a list"),
        ("a.json", "[]", "at least one name"),
        ("a.json", "{}", "at least one name"),
        ("a.json", "3", r"expected a list of names or a mapping .* got 3"),
        ("a.json", '["a",', "not valid JSON: .* line 1"),
        ("a.json", "[" * 100_000, "not valid JSON"),
        ("a.json", "[" + "9" * 5000 + "]", "not valid JSON"),
        ("a.yaml", "names: [no, yes]", r"class 0: expected a name, got False \(bool\); write it in quotes"),
        ("a.yaml", "{0: a, 0: b}", "line 1: not valid YAML: key '0' appears twice"),
        ("a.yaml", "{true: a}", "expected class ids"),
        ("a.yaml", "names: coco", "got 'coco'"),
        ("a.yaml", "", "got nothing"),
        ("a.yaml", "names: [a", "line 1: not valid YAML"),
        ("a.txt", "", "the file has no names"),
        ("a.txt", "\n \n", "the file has no names"),
        ("a.txt", "a\n\nb\n", "line 2 is empty"),
        ("a.txt", "a\n行人\n".encode("gbk"), "line 2: expected UTF-8, it looks like GBK; save the file as UTF-8"),
        ("a.txt", "人\n".encode("utf-16"), "the file is UTF-16"),
        ("a.txt", b"a\nb\xff\n", "line 2: expected UTF-8, byte 0xff is not valid there"),
        ("a.txt", b"a\0b", "NUL"),
        ("a.txt", b"a\n" * (3 << 20), "expected at most"),
    ],
)
def test_bad_label_files(tmp_path: Path, name: str, text: str | bytes, words: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(ModelError, match=words) as caught:
        load_labels(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_labels(tmp_path / "no.txt")


def test_labels_of_a_card(tmp_path: Path) -> None:
    assert label_names(None) is None
    assert label_names(("a",)) == ("a",)
    assert label_names("coco80") == COCO80_EN
    assert label_names("coco91") == COCO91_EN
    assert label_names(write(tmp_path, "a.txt", "x\ny")) == ("x", "y")


def test_coco_is_complete_and_unique() -> None:
    for names in (COCO80_EN, COCO80_ZH):
        assert len(names) == 80
        assert len(set(names)) == 80
        assert all(name == name.strip() and name for name in names)
    assert all(name.isascii() and name.islower() for name in COCO80_EN)
    assert all("\u4e00" <= mark <= "\u9fff" for name in COCO80_ZH for mark in name)


@pytest.mark.parametrize(
    ("index", "english", "chinese"),
    [
        (0, "person", "人"),
        (1, "bicycle", "自行车"),
        (9, "traffic light", "红绿灯"),
        (12, "parking meter", "停车计时器"),
        (24, "backpack", "双肩包"),
        (30, "skis", "双板滑雪板"),
        (31, "snowboard", "单板滑雪板"),
        (36, "skateboard", "滑板"),
        (64, "mouse", "鼠标"),
        (67, "cell phone", "手机"),
        (79, "toothbrush", "牙刷"),
    ],
)
def test_coco_pairs(index: int, english: str, chinese: str) -> None:
    assert (COCO80_EN[index], COCO80_ZH[index]) == (english, chinese)


def test_coco_by_category_id() -> None:
    for names, other in ((COCO91_EN, COCO80_EN), (COCO91_ZH, COCO80_ZH)):
        assert len(names) == 91
        assert tuple(name for name in names if name != "N/A") == other
    known = {0: "N/A", 1: "person", 12: "N/A", 13: "stop sign", 44: "bottle", 62: "chair", 67: "dining table"}
    known |= {70: "toilet", 72: "tv", 82: "refrigerator", 84: "book", 90: "toothbrush"}
    assert {index: COCO91_EN[index] for index in known} == known
    assert COCO91_ZH[90] == "牙刷"


@needs_assets
def test_coco_names_are_those_of_the_annotations() -> None:
    text = (Path(ASSETS or "") / "photos" / "train128.coco.json").read_text(encoding="utf-8")
    categories = json.loads(text)["categories"]
    assert {category["id"]: category["name"] for category in categories} == dict(enumerate(COCO80_EN))


def test_translate() -> None:
    assert translate(COCO80_EN, "zh") == COCO80_ZH
    assert translate(COCO80_ZH, "en") == COCO80_EN
    assert translate(COCO80_ZH, "zh") == COCO80_ZH
    assert translate(COCO91_EN, "zh") == COCO91_ZH
    assert translate(COCO91_ZH, "en") == COCO91_EN
    assert translate(("person",), "zh") is None
    assert translate(("cat", "mouse"), "zh") is None
    assert translate((*COCO80_EN[:79], "brush"), "zh") is None


def test_the_spelling_of_a_list_does_not_matter() -> None:
    darknet = {"airplane": "aeroplane", "couch": "sofa", "dining table": "diningtable", "tv": "tvmonitor"}
    darknet |= {"motorcycle": "motorbike", "potted plant": "pottedplant"}
    names = tuple(darknet.get(name, name) for name in COCO80_EN)
    assert len(set(names) - set(COCO80_EN)) == 6
    assert translate(names, "zh") == COCO80_ZH
    assert translate(tuple(name.title().replace(" ", "_") for name in COCO80_EN), "zh") == COCO80_ZH
    assert parse_classes(["sofa", "couch", "飞机"], names) == (4, 57)


def test_names_beside(tmp_path: Path) -> None:
    path = write(tmp_path, "labels_zh.json", '["人"]')
    assert names_beside(tmp_path / "model.onnx", "zh") == path
    assert names_beside(path, "zh") == path
    assert names_beside(path, "en") is None


@needs_assets
def test_chinese_names_differ_from_a_public_list_only_where_it_was_looked_at() -> None:
    lists = [Path(ASSETS or "") / "labels" / name for name in ("ram_tag_list.txt", "ram_tag_list_chinese.txt")]
    english, chinese = ([line.strip() for line in path.read_text(encoding="utf-8").splitlines()] for path in lists)
    public = dict(zip(english, chinese, strict=True))
    ours = dict(zip(COCO80_EN, COCO80_ZH, strict=True))
    known_errors = {"parking meter": "停车费", "snowboard": "滑雪板", "cow": "奶牛"}  # a fee, any ski, only dairy cows
    assert {name: public[name] for name in known_errors} == known_errors
    assert all(ours[name] != wrong for name, wrong in known_errors.items())
    same = {name for name in ours if public.get(name) == ours[name]}
    other_words = {
        "car", "stop sign", "bench", "sheep", "backpack", "umbrella", "sports ball", "bottle", "wine glass", "fork",
        "knife", "orange", "mouse", "vase",
    }  # fmt: skip
    assert {name for name in ours if name in public} - same - set(known_errors) == other_words


def test_classes_by_id_and_name() -> None:
    assert parse_classes(["0", "2", "person", "人"], COCO80_EN) == (0, 2)
    assert parse_classes(["雪板", "dog"], ("dog", "雪板")) == (0, 1)
    assert parse_classes(["Person", " 汽车 ", "traffic light"], COCO80_ZH) == (0, 2, 9)
    assert parse_classes(["dog"], ("dog", "cat", "dog")) == (0, 2)
    assert parse_classes(["person", "牙刷"], COCO91_EN) == (1, 90)
    assert parse_classes(["Dog"], ("dog", "Dog")) == (1,)
    assert parse_classes(["1"], ("1", "0")) == (1,)
    assert parse_classes([], COCO80_EN) == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("80", "class id 80: the model has 80 classes, expected 0 to 79"),
        ("-1", "class id -1"),
        ("9" * 5000, "class id 9999"),
        ("persn", "class 'persn': the model has no class of that name; the nearest is 'person'"),
        ("双板滑雪", "the nearest is '双板滑雪板'"),
        ("", "class ''"),
    ],
)
def test_classes_that_do_not_exist(wanted: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_classes(["person", wanted], COCO80_EN)


def test_english_names_mean_nothing_to_other_models() -> None:
    with pytest.raises(UsageError, match="the nearest is 'human'"):
        parse_classes(["人"], ("human",))


MORE: NamesByLanguage = {"en": ("shirt", "mobile phone"), "zh": ("上衣", "手机")}


def test_lists_beside_the_built_in_ones() -> None:
    assert translate(("Shirt", "mobile_phone"), "zh", (MORE,)) == ("上衣", "手机")
    assert translate(("上衣", "手机"), "en", (MORE,)) == ("shirt", "mobile phone")
    assert translate(("shirt", "mobile phone"), "zh") is None
    assert translate(("mobile phone", "shirt"), "zh", (MORE,)) is None
    assert translate(COCO80_EN, "zh", (MORE,)) == COCO80_ZH
    assert parse_classes(["手机", "SHIRT"], ("shirt", "mobile phone"), (MORE,)) == (0, 1)
    with pytest.raises(UsageError, match="no class of that name"):
        parse_classes(["手机"], ("shirt", "mobile phone"))
