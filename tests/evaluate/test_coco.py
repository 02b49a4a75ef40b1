"""COCO's numbers against the published ones and against the COCO API; the bootstrap against repeated images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged_runs import Object, Row, coco, write_run

from boxmill.evaluate import coco_numbers, confront, open_run, read_truth
from boxmill.evaluate.bootstrap import bootstrap, draw_images, matched, resampled
from boxmill.evaluate.coco import NUMBERS
from boxmill.labels import COCO80_EN, COCO80_ZH
from boxmill.store.exports.coco import COCO91

pytest.importorskip("hotcoco", reason="average precision needs hotcoco (the test extra has it)")
# the COCO API's own demonstration, `python pycocoDemo`: what it prints for these detections
PUBLISHED = (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564)
CATEGORIES = {3: "cat", 7: "dog", 8: "cow", 9: "bird"}
CLASSES = ("cow", "bird", "dog", "cat")


def oracle(document: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[list[float], Any]:
    """The COCO API's twelve numbers and its precision."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = document
    truth.createIndex()
    done = COCOeval(truth, truth.loadRes(rows) if rows else COCO(), "bbox")
    done.evaluate()
    done.accumulate()
    done.summarize()
    return [float(value) for value in done.stats], done.eval["precision"]


def random_objects(rng: np.random.Generator, image: int) -> tuple[list[Object], list[Row]]:
    """Objects in whole pixels, and detections near some of them, with tied scores."""
    objects: list[Object] = []
    found: list[Row] = []
    for _ in range(rng.integers(0, 9)):
        x, y, w, h = (int(one) for one in rng.integers((0, 0, 1, 1), (90, 40, 110, 60)))
        objects.append((x, y, x + w, y + h, int(rng.choice([3, 7, 8]))))
        for _ in range(rng.integers(0, 4)):
            dx, dy = (int(one) for one in rng.integers(-6, 7, 2))
            score = int(rng.integers(1, 12)) / 16  # exact in float32
            found.append((x + dx, y + dy, x + w + dx, y + h, score, int(rng.integers(0, 4))))
    return objects, found


def random_scene(seed: int, count: int = 14) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    rng = np.random.default_rng(seed)
    made = {f"{image:02}.jpg": random_objects(rng, image) for image in range(count)}
    total = sum(len(objects) for objects, _ in made.values())
    crowds = [number for number in range(1, total + 1) if rng.random() < 0.12]
    document = coco({name: objects for name, (objects, _) in made.items()}, CATEGORIES, crowds)
    for annotation in document["annotations"]:
        annotation["area"] *= float(rng.choice([0.5, 1.0]))  # of a mask
    return document, {name: found for name, (_, found) in made.items()}


def results(found: dict[str, list[Row]], weights: list[int] | None = None) -> list[dict[str, Any]]:
    ids = {name: number for number, name in CATEGORIES.items()}
    rows, image_id = [], 0
    for place, objects in enumerate(found.values()):
        for _ in range(1 if weights is None else weights[place]):
            image_id += 1
            for x1, y1, x2, y2, score, label in sorted(objects, key=lambda row: -row[4]):
                one = {"image_id": image_id, "category_id": ids[CLASSES[label]], "score": score}
                rows.append(one | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
    return rows


def scene_of(tmp_path: Path, document: dict[str, Any], found: dict[str, Any], name: str = "run") -> Any:
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return confront(read_truth(path), open_run(write_run(tmp_path / name, found, CLASSES)))


@pytest.mark.parametrize("seed", range(6))
def test_numbers_are_those_of_the_coco_api(tmp_path: Path, seed: int) -> None:
    document, found = random_scene(seed)
    numbers = coco_numbers(scene_of(tmp_path, document, found))
    values, precision = oracle(document, results(found))
    # classes stand in another order than categories, so means are added up in another order
    assert [-1.0 if value is None else value for value in numbers.values] == pytest.approx(values, abs=1e-14)
    by_name = {CLASSES[one.class_id]: one for one in numbers.classes}
    for place, name in enumerate(CATEGORIES.values()):
        mine = precision[:, :, place, 0, 2]
        assert by_name[name].ap == (pytest.approx(mine.mean(), abs=1e-12) if mine.max() > -1 else None)
        assert by_name[name].ap50 == (pytest.approx(mine[0].mean(), abs=1e-12) if mine.max() > -1 else None)
    assert by_name["bird"].objects == 0


def test_a_run_that_found_nothing_has_an_average_precision_of_nought(tmp_path: Path) -> None:
    document, found = random_scene(0)
    numbers = coco_numbers(scene_of(tmp_path, document, {name: [] for name in found}))
    assert numbers.values[0] == 0
    assert len(NUMBERS) == len(numbers.values) == 12


@pytest.mark.parametrize("hundredth", ["absent", "failed", "empty"])
@pytest.mark.parametrize("names", [COCO80_EN, COCO80_ZH])
def test_published_numbers(assets: Path, tmp_path: Path, names: tuple[str, ...], hundredth: str) -> None:
    """All twelve, whatever became of the image that the detections do not have."""
    folder = assets / "map-parity"
    document = json.loads((folder / "instances_val2014_100.json").read_bytes())
    keys = {image["id"]: image["file_name"] for image in document["images"]}
    found: dict[str, list[Row]] = {}
    for one in json.loads((folder / "instances_val2014_fakebbox100_results.json").read_bytes()):
        x, y, w, h = one["bbox"]
        row = (x, y, x + w, y + h, one["score"], COCO91.index(one["category_id"]))
        found.setdefault(keys[one["image_id"]], []).append(row)
    assert len(found) == 99
    (missing,) = keys.values() - found.keys()
    rest: dict[str, dict[str, list[Row] | None]] = {"absent": {}, "failed": {missing: None}, "empty": {missing: []}}
    run = open_run(write_run(tmp_path / "run", {**found, **rest[hundredth]}, names, size=(640, 480)))
    scene = confront(read_truth(folder / "instances_val2014_100.json"), run)
    assert len(scene.views) == 100
    assert sum(int(view.crowd.sum()) for view in scene.views) == 9
    assert scene.without_result() == ({} if hundredth == "empty" else {hundredth: 1})
    assert tuple(round(value or 0.0, 3) for value in coco_numbers(scene).values) == PUBLISHED
    # the trap: without that image, average precision would look better
    document["images"] = [image for image in document["images"] if image["file_name"] != missing]
    (tmp_path / "99.json").write_text(json.dumps(document))
    fewer = coco_numbers(confront(read_truth(tmp_path / "99.json"), run)).values[0]
    assert fewer == pytest.approx(0.507, abs=5e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_is_a_data_set_with_images_repeated(tmp_path: Path, seed: int) -> None:
    document, found = random_scene(seed, 20)
    run = matched(scene_of(tmp_path, document, found))
    weights = draw_images(20, 4, seed)
    assert weights.sum(axis=1).tolist() == [20] * 4
    drawn = resampled(run, weights)
    for row, (ap, ap50) in zip(weights.tolist(), drawn.tolist(), strict=True):
        repeated = {**document, "images": [], "annotations": []}
        for image, count in zip(document["images"], row, strict=True):
            for _ in range(count):
                number = len(repeated["images"]) + 1
                repeated["images"].append({**image, "id": number})
                for one in document["annotations"]:
                    if one["image_id"] == image["id"]:
                        place = len(repeated["annotations"]) + 1
                        repeated["annotations"].append({**one, "id": place, "image_id": number})
        values, _ = oracle(repeated, results(found, row))
        # equal scores within an image stand in another order when the image is repeated; scores here are tied a lot
        assert ap == pytest.approx(values[0], abs=0.004)
        assert ap50 == pytest.approx(values[1], abs=0.004)


def test_without_ties_a_draw_is_exact(tmp_path: Path) -> None:
    document, found = random_scene(5, 20)
    rng = np.random.default_rng(5)
    untied = {
        name: [(*row[:4], float(np.float32(rng.random())), row[5]) for row in rows] for name, rows in found.items()
    }
    run = matched(scene_of(tmp_path, document, untied))
    ones = np.ones((1, 20), np.int64)
    values, _ = oracle(document, results(untied))
    assert resampled(run, ones)[0].tolist() == pytest.approx(values[:2], abs=1e-12)
    twice = resampled(run, 2 * ones)[0]
    assert twice.tolist() == pytest.approx(values[:2], abs=1e-12)


def test_the_interval_of_a_difference(tmp_path: Path) -> None:
    document, found = random_scene(2, 24)
    a = scene_of(tmp_path, document, found, "a")
    b = scene_of(tmp_path, document, {name: rows[::2] for name, rows in found.items()}, "b")
    ap, ap50 = bootstrap(a, b, 200, 7)
    first, second = coco_numbers(a).values, coco_numbers(b).values
    assert ap.value == pytest.approx((second[0] or 0.0) - (first[0] or 0.0), abs=1e-12)
    assert ap50.value == pytest.approx((second[1] or 0.0) - (first[1] or 0.0), abs=1e-12)
    assert ap.low < ap.value < ap.high < 0.0
    assert bootstrap(a, b, 200, 7) == (ap, ap50)
    assert bootstrap(a, b, 200, 8) != (ap, ap50)
    same, _ = bootstrap(a, a, 50, 0)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_class_that_a_draw_does_not_have_is_left_out_of_its_mean(tmp_path: Path) -> None:
    document = coco({"a.jpg": [(0, 0, 10, 10, 3)], "b.jpg": [(0, 0, 10, 10, 7)]}, CATEGORIES)
    run = matched(scene_of(tmp_path, document, {"a.jpg": [(0, 0, 10, 10, 0.9, 3)], "b.jpg": []}))
    assert resampled(run, np.array([[1, 1], [2, 0], [0, 2], [0, 0]]))[:3, 0].tolist() == [0.5, 1.0, 0.0]
    assert np.isnan(resampled(run, np.array([[0, 0]]))).all()
