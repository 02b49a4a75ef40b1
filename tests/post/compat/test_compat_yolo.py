"""The non_max_suppression of three projects: exact by default, the original's answer where asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from post import heads

from boxmill.errors import UsageError
from boxmill.post import reference
from boxmill.post.compat import ultralytics, yolov5, yolov9
from boxmill.types import HeadSpec

Array = npt.NDArray[Any]
PROJECTS = {"yolov5": yolov5, "yolov9": yolov9, "ultralytics": ultralytics}
OPTIONS = [
    {},
    {"conf_thres": 0.001, "multi_label": True},
    {"agnostic": True, "iou_thres": 0.3},
    {"classes": [0, 2], "max_det": 3},
    {"classes": [1, 99, -1], "multi_label": True, "max_det": 5},
    {"classes": []},
    {"conf_thres": 1.0},
]


def prediction(
    project: str, kind: Any = heads.uniform, seed: int = 0, shape: tuple[int, int, int] = (2, 40, 3)
) -> Array:
    """(B, 4 + C, A), or (B, A, 5 + C) for yolov5."""
    rng = np.random.default_rng(seed)
    rows = np.stack([kind(rng, shape[1], shape[2]) for _ in range(shape[0])])  # (B, 5 + C, A)
    if project == "yolov5":
        return np.ascontiguousarray(rows.transpose(0, 2, 1))
    return np.delete(rows, 4, axis=1)


def expected(project: str, image: Array, options: dict[str, Any]) -> Array:
    """One image by the reference, as the table that the projects return."""
    options = {"conf_thres": 0.25, "iou_thres": 0.45} | options
    classes = options.get("classes")
    chosen = reference.Options(
        conf=options["conf_thres"],
        iou=options["iou_thres"],
        max_det=options.get("max_det", 300),
        classes=None if classes is None else tuple(classes),
        agnostic=options.get("agnostic", False),
        multi_label=options.get("multi_label", False),
    )
    head = HeadSpec("yolov5" if project == "yolov5" else "yolo")
    found = reference.postprocess(image.astype(np.float32), head, (1, 1), chosen)
    return np.column_stack([found.boxes, found.scores, found.classes]).astype(np.float32)


def with_masks(project: str, raw: Array, count: int, seed: int = 9) -> Array:
    axis = 2 if project == "yolov5" else 1
    shape = list(raw.shape)
    shape[axis] = count
    return np.concatenate([raw, np.random.default_rng(seed).normal(size=shape).astype(raw.dtype)], axis=axis)


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("kind", heads.KINDS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_exact_equals_the_reference(project: str, kind: Any, options: dict[str, Any], dtype: str) -> None:
    with np.errstate(over="ignore"):
        raw = prediction(project, kind).astype(dtype)
    before = raw.copy()
    found = PROJECTS[project].non_max_suppression(raw, **options)
    assert len(found) == 2
    for image, table in zip(raw, found, strict=True):
        assert table.dtype == np.float32
        assert np.array_equal(table, expected(project, image, options))
    assert raw.tobytes() == before.tobytes()


@pytest.mark.parametrize("project", PROJECTS)
def test_float64_gives_float64(project: str) -> None:
    raw = prediction(project)
    for like_original in (False, True):
        tables = PROJECTS[project].non_max_suppression(raw.astype(np.float64), like_original=like_original)
        for image, table in zip(raw, tables, strict=True):
            assert table.dtype == np.float64
            assert np.array_equal(table, expected(project, image, {}))


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("options", OPTIONS)
def test_like_original_agrees_on_ordinary_heads(project: str, options: dict[str, Any]) -> None:
    """No IoU near a threshold, few classes: the offsets change nothing."""
    raw = prediction(project, heads.uniform, seed=3)
    exact = PROJECTS[project].non_max_suppression(raw, **options)
    theirs = PROJECTS[project].non_max_suppression(raw, **options, like_original=True)
    assert all(np.array_equal(one, other) for one, other in zip(exact, theirs, strict=True))


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("like_original", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_masks_follow_their_boxes(project: str, like_original: bool, multi_label: bool) -> None:
    plain = prediction(project, seed=5)
    raw = with_masks(project, plain, 4)
    size = {"nc": 3} if project == "ultralytics" else {"nm": 4}
    options = {"multi_label": multi_label, "like_original": like_original}
    tables = PROJECTS[project].non_max_suppression(raw, **size, **options)
    _, anchors = ultralytics.non_max_suppression(plain, return_idxs=True, **options) if project != "yolov5" else (0, [])
    for i, (image, table) in enumerate(zip(raw, tables, strict=True)):
        assert table.shape[1] == 10
        assert np.array_equal(table[:, :6], expected(project, plain[i], options))
        if project == "yolov5":
            scaled = image[:, 8:] * image[:, 4:5]  # as the original does
            assert all((scaled == row).all(axis=1).any() for row in table[:, 6:])
        else:
            assert np.array_equal(table[:, 6:], image[7:, anchors[i]].T)


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("like_original", [False, True])
def test_known_objects_take_part(project: str, like_original: bool) -> None:
    """An object of score 1 suppresses the prediction of its class and leaves that of another class alone."""
    raw = np.zeros((2, 7, 3) if project != "yolov5" else (2, 3, 8), np.float32)
    rows = raw if project != "yolov5" else raw.transpose(0, 2, 1)
    rows[:, :4] = np.float32([50, 50, 20, 20])[:, None]
    rows[:, 4:] = 0.9 if project == "yolov5" else 0
    rows[:, -3:] = 0
    rows[:, -2, 0] = rows[:, -1, 1] = 0.8  # classes 1 and 2
    labels = [np.float32([[1, 51, 50, 20, 20]]), []]
    first, second = PROJECTS[project].non_max_suppression(raw, labels=labels, like_original=like_original)
    assert first[:, 5].tolist() == [1, 2]
    assert first[0].tolist() == [41, 40, 61, 60, 1, 1]
    assert second[:, 5].tolist() == [1, 2]
    assert second[:, 4].max() < 0.9


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("kind", [list, tuple])
def test_the_first_of_a_list_is_the_head(project: str, kind: Any) -> None:
    raw = prediction(project)
    found = PROJECTS[project].non_max_suppression(kind([raw, None]))
    assert all(np.array_equal(table, expected(project, image, {})) for image, table in zip(raw, found, strict=True))


def test_dual_head_of_yolov9() -> None:
    auxiliary, main = prediction("yolov9", seed=1), prediction("yolov9", seed=2)
    for given, meant in ((([auxiliary, main], "features"), main), ([auxiliary, main], auxiliary), (main, main)):
        found = yolov9.non_max_suppression(given)
        assert all(
            np.array_equal(table, expected("yolov9", image, {})) for image, table in zip(meant, found, strict=True)
        )


@pytest.mark.parametrize("like_original", [False, True])
def test_anchors_of_the_rows(like_original: bool) -> None:
    raw = prediction("ultralytics", seed=4)
    tables, anchors = ultralytics.non_max_suppression(raw, return_idxs=True, like_original=like_original)
    for image, table, kept in zip(raw, tables, anchors, strict=True):
        assert kept.dtype == np.int64
        assert np.array_equal(image[4:, kept].max(axis=0), table[:, 4])
    tables, anchors = ultralytics.non_max_suppression(raw, 1.0, return_idxs=True, like_original=like_original)
    assert [table.shape for table in tables] == [(0, 6)] * 2
    assert [kept.shape for kept in anchors] == [(0,)] * 2


@pytest.mark.parametrize("classes", [2, [2], np.array([2]), (2.0,), np.int64(2)])
def test_classes_in_every_form(classes: Any) -> None:
    raw = prediction("ultralytics", seed=6)
    found = ultralytics.non_max_suppression(raw, classes=classes)
    assert np.array_equal(found[0], expected("ultralytics", raw[0], {"classes": [2]}))
    assert len(found[0])


def test_max_nms_limits_the_candidates() -> None:
    raw = prediction("ultralytics", seed=6)
    for like_original in (False, True):
        few, _ = ultralytics.non_max_suppression(raw, max_nms=3, iou_thres=1.0, like_original=like_original)
        assert np.array_equal(few, expected("ultralytics", raw[0], {"iou_thres": 1.0})[:3])


def test_no_separation_means_agnostic() -> None:
    raw = prediction("ultralytics", seed=7)
    for like_original in (False, True):
        found = ultralytics.non_max_suppression(raw, max_wh=0, like_original=like_original)
        assert np.array_equal(found[0], expected("ultralytics", raw[0], {"agnostic": True}))


def test_end_to_end_heads() -> None:
    rows = np.float32([[0, 0, 9, 9, 0.9, 1], [0, 0, 9, 9, 0.2, 1], [0, 0, 9, 9, 0.5, 0], [0, 0, 9, 9, 0.8, 1]])
    raw = np.stack([rows, rows * np.float32([1, 1, 1, 1, 0, 1])])
    tables, kept = ultralytics.non_max_suppression(raw, return_idxs=True)
    assert np.array_equal(tables[0], rows[[0, 2, 3]])  # no NMS, no sorting
    assert [each.tolist() for each in kept] == [[0, 2, 3], []]
    assert np.array_equal(ultralytics.non_max_suppression(raw, classes=[1], max_det=1)[0], rows[:1])
    wide = np.concatenate([raw, raw], axis=2).astype(np.float16)
    found = ultralytics.non_max_suppression(wide, end2end=True)[0]
    assert found.dtype == np.float32
    assert np.array_equal(found, wide[0, [0, 2, 3]].astype(np.float32))


def head_of(rows: list[list[float]], classes: list[int], count: int) -> Array:
    """(1, 4 + count, len(rows)): centre, size and score of each anchor in its class."""
    raw = np.zeros((1, 4 + count, len(rows)), np.float32)
    raw[0, :4] = np.float32(rows)[:, :4].T
    raw[0, 4 + np.array(classes), np.arange(len(rows))] = np.float32(rows)[:, 4]
    return raw


def test_offsets_make_classes_collide_beyond_7680_pixels() -> None:
    raw = head_of([[8000, 8000, 40, 40, 0.9], [320, 320, 40, 40, 0.8]], [0, 1], 2)
    assert len(yolov9.non_max_suppression(raw)[0]) == 2
    assert len(yolov9.non_max_suppression(raw, like_original=True)[0]) == 1
    assert len(ultralytics.non_max_suppression(raw, like_original=True, max_wh=20000)[0]) == 2


def test_offsets_round_to_whole_pixels_beyond_1092_classes() -> None:
    """IoU 0.36; in class 1400 the boxes span x 10 to 12 and 11 to 12, IoU 0.5."""
    raw = head_of([[10.75, 10, 1.5, 8, 0.9], [11.45, 10, 1.5, 8, 0.8]], [1400, 1400], 1401)
    assert len(yolov9.non_max_suppression(raw)[0]) == 2
    assert len(yolov9.non_max_suppression(raw, like_original=True)[0]) == 1


def test_float16_is_thresholded_in_float16_by_the_originals() -> None:
    """0.3 is 0.30004883 in float16: greater than 0.3 itself, not than 0.3 in float16."""
    raw = head_of([[10, 10, 4, 4, 0.3]], [0], 1).astype(np.float16)
    assert len(yolov9.non_max_suppression(raw, 0.3)[0]) == 1
    assert len(yolov9.non_max_suppression(raw, 0.3, like_original=True)[0]) == 0


def test_nan_coordinates() -> None:
    raw = head_of([[np.nan, 10, 4, 4, 0.9], [10, 10, 4, 4, 0.8]], [0, 0], 1)
    assert yolov9.non_max_suppression(raw)[0][:, 4].tolist() == [np.float32(0.8)]
    assert len(yolov9.non_max_suppression(raw, like_original=True)[0]) == 2


@pytest.mark.parametrize("project", PROJECTS)
def test_no_images_and_no_anchors(project: str) -> None:
    raw = prediction(project)
    assert PROJECTS[project].non_max_suppression(raw[:0]) == []
    empty = raw[:, :0] if project == "yolov5" else raw[:, :, :0]
    for like_original in (False, True):
        found = PROJECTS[project].non_max_suppression(empty, like_original=like_original)
        assert [table.shape for table in found] == [(0, 6)] * 2


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda raw: raw.tolist(), {}, "prediction must be a torch tensor or a numpy array, got list"),
        (lambda raw: raw.astype(int), {}, "prediction must be floating point, got int64"),
        (lambda raw: raw[0], {}, r"prediction must have shape \(images, rows, columns\)"),
        (lambda raw: raw[:, :4, :4], {}, r"classes \+ masks"),
        (lambda raw: raw, {"conf_thres": -0.1}, "conf must be between 0 and 1"),
        (lambda raw: raw, {"iou_thres": 1.1}, "iou must be between 0 and 1"),
        (lambda raw: raw, {"max_det": 0}, "max_det must be 1 or more"),
        (lambda raw: raw, {"labels": [[]]}, "labels must be given for each of 2 images, got 1"),
        (lambda raw: raw, {"labels": [np.zeros((1, 6), "f"), []]}, r"must be \(m, 5\)"),
        (lambda raw: raw, {"labels": [np.full((1, 5), 3, "f"), []]}, r"classes 0 to 2, got \[3\]"),
    ],
)
def test_refusals(project: str, change: Any, options: dict[str, Any], said: str) -> None:
    raw = change(prediction(project))
    with pytest.raises(UsageError, match=said):
        PROJECTS[project].non_max_suppression([raw] if isinstance(raw, list) else raw, **options)


def test_ultralytics_refusals() -> None:
    raw = prediction("ultralytics")
    with pytest.raises(UsageError, match="rotated boxes are not supported"):
        ultralytics.non_max_suppression(raw, rotated=True)
    with pytest.raises(UsageError, match="end-to-end"):
        ultralytics.non_max_suppression(raw[:, :, :5], end2end=True)
    with pytest.raises(UsageError, match="conf must be between 0 and 1, got 2"):
        ultralytics.non_max_suppression(raw[:, :, :6], 2)
    with pytest.raises(UsageError, match="-5 masks an anchor"):
        ultralytics.non_max_suppression(raw, nc=8)
