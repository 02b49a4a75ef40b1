"""Every export, read back by somebody else: what went in comes out, Chinese labels intact."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import yaml
from exported_runs import HEIGHT, NAMES, WIDTH, detected, failed, tagged, write_run

from boxmill.coco80 import COCO80_EN, COCO80_ZH
from boxmill.errors import OutputError, UsageError
from boxmill.store import seen
from boxmill.store.exports import FORMATS, ExportOptions, export, folder
from boxmill.store.exports.coco import COCO91, category_ids
from boxmill.store.exports.numbers import exact
from boxmill.store.exports.xml_text import legal
from boxmill.types import Detections, Outcome

KEYS = ("a.png", "images/sub/深 人.png", "bad.jpg", "empty.png", "sub/a#1.png")
COUNTS = {0: 5, 1: 3, 3: 0, 4: 7}


def outcomes() -> list[Outcome]:
    return [failed(key, i) if i == 2 else detected(key, i, COUNTS[i]) for i, key in enumerate(KEYS)]


def ok() -> list[tuple[Outcome, Detections]]:
    return [(one, one.result) for one in outcomes() if isinstance(one.result, Detections)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, outcomes())


def load_json(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def test_nine_digits_are_a_float32() -> None:
    values = np.random.default_rng(0).integers(0, 2**31 - 2**23, 2000).astype(np.uint32).view(np.float32)
    assert np.array_equal(np.float32(exact(values)), values)


def test_coco_is_loaded_by_pycocotools_as_truth_and_as_results(run: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is what reads COCO files here")
    folder = Path(export(run, "coco").path)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(folder / "instances.json"))
        results = truth.loadRes(str(folder / "results.json"))
    assert [truth.cats[number]["name"] for number in (1, 2, 3)] == list(NAMES)
    assert {number: image["file_name"] for number, image in truth.imgs.items()} == {
        i + 1: key for i, key in enumerate(KEYS) if i != 2
    }
    assert all((image["width"], image["height"]) == (WIDTH, HEIGHT) for image in truth.imgs.values())
    for loaded in (truth, results):
        for outcome, found in ok():
            rows = loaded.loadAnns(loaded.getAnnIds(imgIds=[outcome.index + 1]))
            boxes = np.array([row["bbox"] for row in rows]).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            np.testing.assert_allclose(boxes, found.boxes, rtol=1e-6, atol=1e-6)
            assert [np.float32(row["score"]) for row in rows] == found.scores.tolist()
            assert [row["category_id"] - 1 for row in rows] == found.classes.tolist()
            sizes = found.boxes[:, 2:].astype(np.float64) - found.boxes[:, :2]
            np.testing.assert_allclose([row["area"] for row in rows], sizes.prod(1), rtol=1e-6)
    (failure,) = load_json(folder / "instances.json")["failures"]
    assert failure == {
        "id": 3, "file_name": "bad.jpg", "stage": "decode", "code": "truncated", "message": "it ends early, 末尾",
    }  # fmt: skip


def test_coco_ids_are_what_is_asked_for() -> None:
    assert category_ids(("a", "b"), None) == (1, 2)
    assert category_ids(("a", "b"), "class") == (0, 1)
    for names in (COCO80_EN, COCO80_ZH):
        assert category_ids(names, "80") == tuple(range(1, 81))
        by_name = dict(zip(COCO80_EN, category_ids(names, "91"), strict=True))
        known = {"person": 1, "stop sign": 13, "backpack": 27, "wine glass": 46, "dining table": 67, "toothbrush": 90}
        assert {name: by_name[name] for name in known} == known
    assert len(set(COCO91)) == 80
    for choice in ("80", "91"):
        with pytest.raises(UsageError, match="not COCO's 80"):
            category_ids(COCO80_EN[::-1], choice)


def test_yolo_labels_lie_where_trainers_look_for_them(run: Path) -> None:
    written = export(run, "yolo")
    folder = Path(written.path)
    card = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert card == {"path": str(folder), "train": "images", "val": "images", "names": dict(enumerate(NAMES))}
    links = sorted(path.relative_to(folder).as_posix() for path in (folder / "images").rglob("*") if path.is_symlink())
    assert links == ["images/a.png", "images/empty.png", "images/images_/sub/深 人.png", "images/sub/a#1.png"]
    for outcome, found in ok():
        image = folder / "images" / outcome.key.replace("images/", "images_/")
        assert image.read_bytes() == (run.parent / "photos" / outcome.key).read_bytes()
        before, _, behind = str(image).rpartition("/images/")
        label = Path(f"{before}/labels/{behind}").with_suffix(".txt")
        rows = np.array([line.split() for line in label.read_text().splitlines()], float).reshape(-1, 5)
        assert rows[:, 0].tolist() == found.classes.tolist()
        centres, sizes = rows[:, 1:3] * (WIDTH, HEIGHT), rows[:, 3:] * (WIDTH, HEIGHT)
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
        np.testing.assert_allclose(boxes, found.boxes, atol=2e-6)
    assert (folder / "labels/empty.txt").read_bytes() == b""
    assert not (folder / "labels/bad.txt").exists()
    assert any("1 images failed" in remark for remark in written.remarks)


def test_yolo_scores_are_there_on_request_and_images_may_have_moved(run: Path) -> None:
    (run.parent / "photos").rename(run.parent / "moved")
    folder = Path(export(run, "yolo", options=ExportOptions(save_conf=True)).path)
    assert not (folder / "images").exists()
    rows = [line.split() for line in (folder / "labels/a.txt").read_text().splitlines()]
    assert [float(row[5]) for row in rows] == pytest.approx(ok()[0][1].scores.tolist(), abs=1e-6)
    written = export(run, "yolo", options=ExportOptions(images=str(run.parent / "moved")))
    assert (folder / "images/a.png").is_file()
    assert not any("no files" in remark for remark in written.remarks)


def test_voc_counts_pixels_from_one_and_holds_any_name(run: Path) -> None:
    folder = Path(export(run, "voc").path)
    for outcome, found in ok():
        path = folder / "Annotations" / outcome.key.replace(".png", ".xml")
        root = ElementTree.parse(path).getroot()
        assert root.findtext("filename") == outcome.key.rpartition("/")[2]
        assert (root.findtext("size/width"), root.findtext("size/height")) == (str(WIDTH), str(HEIGHT))
        names = [one.findtext("name") for one in root.iter("object")]
        assert names == [legal(NAMES[c]) for c in found.classes.tolist()]
        corners = [[int(one.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
                   for one in root.iter("object")]  # fmt: skip
        for (x1, y1, x2, y2), box in zip(corners, found.boxes.tolist(), strict=True):
            assert 1 <= x1 <= x2 <= WIDTH
            assert 1 <= y1 <= y2 <= HEIGHT
            assert abs(x1 - 1 - box[0]) <= 1
            assert abs(y2 - box[3]) <= 1
    assert not (folder / "Annotations/bad.xml").exists()


def test_labelme_finds_the_images_in_place(run: Path) -> None:
    folder = Path(export(run, "labelme", out=run.parent / "elsewhere/deep").path)
    for outcome, found in ok():
        path = folder / "annotations" / outcome.key.replace(".png", ".json")
        document = load_json(path)
        assert os.path.samefile(path.parent / document["imagePath"], run.parent / "photos" / outcome.key)
        assert (document["imageWidth"], document["imageHeight"]) == (WIDTH, HEIGHT)
        assert [shape["label"] for shape in document["shapes"]] == [NAMES[c] for c in found.classes.tolist()]
        points = np.float32([shape["points"] for shape in document["shapes"]]).reshape(-1, 4)
        assert np.array_equal(points, found.boxes)
        assert all(shape["shape_type"] == "rectangle" for shape in document["shapes"])


def test_labelstudio_has_percent_and_an_interface_with_every_label(run: Path) -> None:
    folder = Path(export(run, "labelstudio", options=ExportOptions(url_prefix="https://x/?f=")).path)
    tasks = load_json(folder / "tasks.json")
    assert [unquote(task["data"]["image"].removeprefix("https://x/?f=")) for task in tasks] == list(KEYS)
    assert tasks[2]["data"]["failure"]["code"] == "truncated"
    assert tasks[2]["predictions"] == []
    for outcome, found in ok():
        regions = tasks[outcome.index]["predictions"][0]["result"]
        assert [one["value"]["rectanglelabels"] for one in regions] == [
            [legal(NAMES[c])] for c in found.classes.tolist()
        ]
        values = np.array([[one["value"][k] for k in ("x", "y", "width", "height")] for one in regions]).reshape(-1, 4)
        boxes = values / 100 * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, found.boxes, atol=1e-5)
        assert all((one["original_width"], one["original_height"]) == (WIDTH, HEIGHT) for one in regions)
    config = (folder / "config.xml").read_text(encoding="utf-8")
    labels = ElementTree.fromstring(config).findall("RectangleLabels/Label")
    assert [one.get("value") for one in labels] == [legal(name) for name in NAMES]


def test_megadetector_results_keep_the_documented_rules(run: Path) -> None:
    results = load_json(Path(export(run, "megadetector").path) / "results.json")
    assert results["info"] == {"format_version": "1.6", "detector": "net.onnx"}
    assert results["detection_categories"] == {"0": NAMES[0], "1": NAMES[1], "2": NAMES[2]}
    assert [image["file"] for image in results["images"]] == list(KEYS)
    assert results["images"][2] == {
        "file": "bad.jpg", "failure": "decode: truncated: it ends early, 末尾", "detections": None,
    }  # fmt: skip
    for outcome, found in ok():
        image = results["images"][outcome.index]
        assert "failure" not in image
        boxes = np.array([one["bbox"] for one in image["detections"]]).reshape(-1, 4) * ([WIDTH, HEIGHT] * 2)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, found.boxes, atol=1e-5)
        assert [one["category"] for one in image["detections"]] == [str(c) for c in found.classes.tolist()]
        assert all(isinstance(one["conf"], float) for one in image["detections"])


def test_megadetector_s_own_validator_has_nothing_to_say(run: Path) -> None:
    tool = pytest.importorskip(
        "megadetector.postprocessing.validate_batch_results", reason="the package megadetector is not installed"
    )
    options = tool.ValidateBatchResultsOptions()
    options.check_image_existence, options.relative_path_base = False, None
    path = Path(export(run, "megadetector").path) / "results.json"
    said = tool.validate_batch_results(str(path), options)["validation_results"]
    assert (said["errors"], said["warnings"]) == ([], [])


def test_csv_has_a_row_for_each_object_and_failure(run: Path) -> None:
    with open(Path(export(run, "csv").path) / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows if row["image"] == "empty.png"] == ["empty"]
    (bad,) = [row for row in rows if row["image"] == "bad.jpg"]
    assert (bad["status"], bad["stage"], bad["code"], bad["message"]) == (
        "failed", "decode", "truncated", "it ends early, 末尾",
    )  # fmt: skip
    for outcome, found in ok():
        mine = [row for row in rows if row["image"] == outcome.key and row["status"] == "object"]
        assert [row["label"] for row in mine] == [NAMES[c] for c in found.classes.tolist()]
        boxes = np.float32([[float(row[side]) for side in ("x1", "y1", "x2", "y2")] for row in mine]).reshape(-1, 4)
        assert np.array_equal(boxes, found.boxes)
        assert [np.float32(row["confidence"]) for row in mine] == found.scores.tolist()
        assert all((row["width"], row["height"], row["truncated"]) == (str(WIDTH), str(HEIGHT), "0") for row in mine)


def test_a_threshold_above_the_run_s_shows_less_and_one_below_is_refused(run: Path) -> None:
    written = export(run, "jsonl", options=ExportOptions(conf=0.6))
    lines = [json.loads(line) for line in (Path(written.path) / "results.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == list(KEYS)
    for outcome, found in ok():
        shown = seen(outcome, 0.6).result
        assert 0 <= len(shown) <= len(found)
        assert len(lines[outcome.index]["objects"]) == len(shown)
    assert lines[2]["failure"]["code"] == "truncated"
    for conf in (0.09, -1.0, 1.5, float("nan")):
        with pytest.raises(UsageError, match="--conf"):
            export(run, "jsonl", options=ExportOptions(conf=conf))


@pytest.mark.parametrize("kind", [name for name in FORMATS if name in ("yolo", "voc", "labelme")])
def test_images_that_would_share_a_file_are_refused(tmp_path: Path, kind: str) -> None:
    run = write_run(tmp_path, [detected("sub/a.jpg", 0, 1), detected("b.jpg", 1, 1), detected("sub/a.png", 2, 1)])
    with pytest.raises(UsageError, match=r"'sub/a\.jpg' and 'sub/a\.png'"):
        export(run, kind)
    assert [path.name for path in (run / "exports").iterdir()] == []
    export(run, "csv")


@pytest.mark.parametrize("kind", list(FORMATS))
def test_the_same_export_again_gives_the_same_bytes_and_leaves_nothing_behind(run: Path, kind: str) -> None:
    def tree() -> dict[str, bytes]:
        folder = run / "exports"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    export(run, kind, options=ExportOptions(conf=0.5))
    export(run, kind)
    first = tree()
    export(run, kind)
    assert tree() == first
    assert [path.name for path in (run / "exports").iterdir()] == [kind]


def test_what_no_export_wrote_stays(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    export(run, "csv", mine)  # empty: fine
    (mine / "notes.txt").write_text("important")
    with pytest.raises(UsageError, match=r"1 more files than the export in it wrote, such as 'notes.txt'"):
        export(run, "csv", mine)
    assert (mine / "notes.txt").read_text() == "important"
    foreign = tmp_path / "photos"
    with pytest.raises(UsageError, match="no export wrote"):
        export(run, "csv", foreign)
    assert (foreign / "a.png").is_file()
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(UsageError, match="is a file"):
        export(run, "csv", tmp_path / "table.csv")
    (tmp_path / "link").symlink_to(mine)
    with pytest.raises(UsageError, match="is a file"):
        export(run, "csv", tmp_path / "link")


def test_an_export_that_fails_leaves_the_earlier_one(run: Path) -> None:
    path = Path(export(run, "coco").path)
    before = (path / "instances.json").read_bytes()
    with pytest.raises(UsageError, match="not COCO's 80"):
        export(run, "coco", options=ExportOptions(coco_ids="91"))
    assert (path / "instances.json").read_bytes() == before
    assert [one.name for one in (run / "exports").iterdir()] == ["coco"]


def test_what_a_killed_export_left_is_cleared(run: Path) -> None:
    for name in (".csv.boxmill-partial", ".csv.boxmill-old"):
        (run / "exports" / name / "deep").mkdir(parents=True)
        (run / "exports" / name / "deep/file").write_text("half")
    export(run, "csv")
    assert [path.name for path in (run / "exports").iterdir()] == ["csv"]


def test_more_files_than_are_synchronised_alone_are_replaced_too(tmp_path: Path) -> None:
    run = write_run(tmp_path, [detected(f"{i:03}.png", i, 2) for i in range(folder._SYNCED_ALONE + 3)])
    for _ in range(2):
        path = Path(export(run, "voc").path)
        assert len(list((path / "Annotations").iterdir())) == folder._SYNCED_ALONE + 3


def test_a_run_that_is_not_finished_says_so(tmp_path: Path) -> None:
    written = export(write_run(tmp_path, outcomes(), total=9), "jsonl")
    assert (written.done, written.failed, written.left) == (4, 1, 4)
    assert any("4 images are not in it" in remark for remark in written.remarks)


def test_tags_go_where_they_can_and_are_refused_elsewhere(tmp_path: Path) -> None:
    given = [tagged("a.png", 0, 3), failed("b.png", 1), tagged("c.png", 2, 0)]
    run = write_run(tmp_path, given, task="tag", conf=None, keep_conf=None)
    with open(Path(export(run, "csv").path) / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["status"], row["label"]) for row in rows] == [
        *(("a.png", "tag", name) for name in NAMES), ("b.png", "failed", ""), ("c.png", "empty", ""),
    ]  # fmt: skip
    tasks = load_json(Path(export(run, "labelstudio").path) / "tasks.json")
    assert tasks[0]["predictions"][0]["result"][0]["value"] == {"choices": [legal(name) for name in NAMES]}
    assert tasks[0]["predictions"][0]["result"][0]["type"] == "choices"
    lines = (Path(export(run, "jsonl").path) / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [one["label"] for one in json.loads(lines[0])["tags"]] == list(NAMES)
    for kind in ("coco", "yolo", "voc", "labelme", "megadetector"):
        with pytest.raises(UsageError, match=r"a tagger's; formats for tags: labelstudio, csv, jsonl"):
            export(run, kind)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        export(tmp_path, "csv")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match=r"run\.json"):
        export(tmp_path, "csv")


def test_a_full_disk_is_an_output_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    export(run, "csv")
    monkeypatch.setattr(folder, "write_all", full)
    for kind in ("csv", "voc"):
        with pytest.raises(OutputError, match=r"cannot write .*disk full"):
            export(run, kind)
    assert [path.name for path in (run / "exports").iterdir()] == ["csv"]


def test_xml_text_is_what_xml_can_hold() -> None:
    text = "".join(map(chr, [*range(0x300), 0xD7FF, 0xE000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF]))
    cleaned = legal(text)
    assert len(cleaned) == len(text)
    assert ElementTree.fromstring(f"<a b={quoteattr(cleaned)}/>").get("b") == cleaned
    assert legal("人 a\tb") == "人 a\tb"
