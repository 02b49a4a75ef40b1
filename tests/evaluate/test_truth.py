"""Ground truth in three forms; what is none is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judged_runs import coco, write_coco

from boxmill.errors import SourceError
from boxmill.evaluate import read_truth

VOC = """<annotation><filename>a.jpg</filename><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>狗</name><difficult>1</difficult>
<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>60</ymax></bndbox></object>
<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2.5</xmax><ymax>2</ymax></bndbox></object>
</annotation>"""


def test_coco_is_read_in_the_order_of_ids(tmp_path: Path) -> None:
    document = coco(
        {"sub\\a.jpg": [(1, 2, 11, 22, 5)], "b.jpg": [], "c.jpg": [(0, 0, 4, 4, 90)]}, {90: "z", 5: "狗"}, [2]
    )
    document["images"][0]["id"], document["annotations"][0]["image_id"] = 7, 7
    document["annotations"][0]["area"] = 33.5
    del document["annotations"][1]["area"], document["images"][1]["width"]
    document["annotations"] += [{"image_id": 8, "category_id": 5, "bbox": [0, 0, 1, 1]}]
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    truth = read_truth(path)
    assert (truth.kind, truth.categories, truth.ids) == ("COCO", ("狗", "z"), (5, 90))
    assert [image.name for image in truth.images] == ["b.jpg", "c.jpg", "sub/a.jpg"]
    assert [image.size for image in truth.images] == [None, (200, 100), (200, 100)]
    a = truth.images[2]
    assert (a.boxes.tolist(), a.categories.tolist(), a.crowd.tolist()) == ([[1, 2, 11, 22]], [0], [False])
    assert a.object_areas().tolist() == [33.5]
    assert (truth.images[1].crowd.tolist(), truth.images[1].object_areas().tolist()) == ([True], [16.0])
    assert truth.objects == 2
    assert "1 objects of the ground truth name an image or a category that it does not list" in truth.remarks


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.pop("categories"), "no COCO ground truth"),
        (lambda document: document["annotations"][0].pop("bbox"), "missing required field `bbox`"),
        (lambda document: document["images"].append(document["images"][0]), "image id 1 appears twice"),
        (lambda document: document["categories"].append(document["categories"][0]), "category id 5 appears twice"),
    ],
)
def test_what_is_no_coco_file_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    document = coco({"a.jpg": [(1, 2, 11, 22, 5)]}, {5: "cat"})
    change(document)
    (tmp_path / "gt.json").write_text(json.dumps(document))
    with pytest.raises(SourceError, match=said):
        read_truth(tmp_path / "gt.json")


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    (tmp_path / "Annotations/sub").mkdir(parents=True)
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations/sub/a.xml").write_text(VOC, encoding="utf-8")
    truth = read_truth(tmp_path)
    (image,) = truth.images
    assert (truth.kind, truth.categories, truth.stems) == ("VOC", ("cat", "狗"), True)
    assert (image.name, image.size) == ("sub/a", (200, 100))
    assert image.boxes.tolist() == [[10, 20, 50, 60], [0, 0, 2.5, 2]]
    assert image.categories.tolist() == [1, 0]
    assert truth.remarks == ["1 objects are marked difficult; they count like all others, as COCO knows no such mark"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation>", "not valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "document type declaration"),
        ("<svg/>", "expected VOC's <annotation>, found <svg>"),
        ("<annotation><object><name>a</name></object></annotation>", "expected a bndbox"),
        (VOC.replace("<name>cat</name>", ""), "an object has no name"),
    ],
)
def test_what_is_no_voc_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=said):
        read_truth(tmp_path)


def test_yolo_text_is_in_shares_of_the_image(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    (labels / "val").mkdir(parents=True)
    (labels / "val/a.txt").write_text("1 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.5\n")
    (labels / "val/b.txt").write_text("")
    (tmp_path / "data.yaml").write_text("names: {0: cat, 1: 狗}", encoding="utf-8")
    truth = read_truth(tmp_path)
    assert (truth.kind, truth.categories, truth.ids, truth.relative) == ("YOLO", ("cat", "狗"), (0, 1), True)
    assert [image.name for image in truth.images] == ["val/a", "val/b"]
    image = truth.images[0].in_pixels((200, 100))
    assert image.boxes.tolist() == [pytest.approx([80, 30, 120, 70]), pytest.approx([20, 20, 60, 60])]
    assert image.object_areas().tolist() == pytest.approx([1600, 1600])
    assert image.categories.tolist() == [1, 0]


def test_yolo_text_without_names_holds_class_ids(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("7 0.5 0.5 0.2 0.4\n2 0.5 0.5 0.2 0.4\n")
    truth = read_truth(tmp_path)
    assert (truth.categories, truth.ids) == ((), (2, 7))
    assert truth.images[0].categories.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cat 0.5 0.5 0.2 0.4", "a.txt: line 1: expected class cx cy w h, got 'cat"),
        ("0 0.5 0.5 0.2", "expected class cx cy w h"),
        ("0 0.5 0.5 0.2 0.4 0.9", "results with scores"),
        ("0 0.5 0.5 0.2 nan", "expected class cx cy w h"),
        ("-1 0.5 0.5 0.2 0.2", "expected class cx cy w h"),
        ("2 0.5 0.5 0.2 0.2", "class 2, but there are 2 names"),
    ],
)
def test_what_is_no_yolo_text_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(SourceError, match=said):
        read_truth(tmp_path)


def test_what_is_no_ground_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no \.xml and no \.txt files; expected a COCO JSON file"):
        read_truth(tmp_path)
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_truth(tmp_path / "gt.json")
    (tmp_path / "a.txt").touch()
    with pytest.raises(SourceError, match="give the folder that the files are in"):
        read_truth(tmp_path / "a.txt")
    (tmp_path / "a.xml").touch()
    with pytest.raises(SourceError, match=r"both \.xml and \.txt files"):
        read_truth(tmp_path)
    (tmp_path / "a.xml").unlink()
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="expected UTF-8"):
        read_truth(tmp_path)


def test_a_coco_file_may_have_no_objects(tmp_path: Path) -> None:
    assert read_truth(write_coco(tmp_path / "gt.json", {"a.jpg": []}, {1: "cat"})).objects == 0
