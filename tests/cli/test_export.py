"""`boxmill export`, and what `boxmill run` writes beside its JSON, as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import boxmill, documents, leave_unfinished, summary, write_photos

from boxmill.cli import run_command
from boxmill.store import RunLock, verify

CARDS = Path(__file__).parents[1] / "cards"


def results(run: Path) -> bytes:
    return (run / "exports/jsonl/results.jsonl").read_bytes()


def start(photos: Path, fake: list[str], *flags: str, name: str = "photos") -> Path:
    assert run_command(["run", str(photos), *fake, "--quiet", "--name", name, *flags]) == 0
    return photos.parent / "runs" / name


def exported(run: Path, *flags: str) -> bytes:
    assert run_command(["export", str(run), "--format", "jsonl", "--quiet", *flags]) == 0
    return results(run)


@pytest.mark.parametrize(
    "limits",
    [
        (),
        ("--max-nms", "8", "--max-det", "5"),
        ("--nms", "soft", "--iou", "0.1"),
        ("--nms", "soft-gaussian", "--max-nms", "40", "--max-det", "5"),
    ],
)
def test_what_is_kept_low_and_exported_high_is_the_run_at_high(
    photos: Path, fake: list[str], limits: tuple[str, ...]
) -> None:
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    flags = (*limits, "--allow-failed", "1")
    plain = start(photos, fake, *flags, name="plain")
    kept = start(photos, fake, *flags, "--keep-conf", "0.05", name="kept")
    assert exported(kept) == exported(kept, "--conf", "0.25") == exported(plain)
    assert documents(kept) == documents(plain)
    assert exported(kept, "--conf", "0.05") == exported(start(photos, fake, *flags, "--conf", "0.05", name="low"))
    assert exported(kept, "--conf", "0.6") == exported(plain, "--conf", "0.6")
    for field in ("objects", "empty", "truncated", "classes", "processed", "failed", "results"):
        assert summary(kept)[field] == summary(plain)[field]
    assert summary(kept)["settings"]["keep_conf"] == 0.05
    assert verify(kept) == []


def test_results_jsonl_shows_what_is_above_conf(photos: Path, fake: list[str]) -> None:
    plain = start(photos, fake, "--no-image-json", name="plain")
    kept = start(photos, fake, "--no-image-json", "--keep-conf", "0.05", name="kept")
    assert (kept / "results.jsonl").read_bytes() == (plain / "results.jsonl").read_bytes() == exported(kept)


def test_a_real_detector_gives_the_same_bytes(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for path in sorted((assets / "photos/train128").glob("*.jpg"))[:8]:
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    model = ["-w", str(assets / "models/yolox_nano_416.onnx"), "--card", str(CARDS / "yolox_nano_416.yaml")]
    plain = start(tmp_path / "photos", model, name="plain")
    kept = start(tmp_path / "photos", model, "--keep-conf", "0.05", "--lang", "en", name="kept")
    assert exported(kept, "--conf", "0.25") == exported(plain)
    assert summary(kept)["objects"] == summary(plain)["objects"] > 10
    assert len(exported(kept, "--conf", "0.05")) > len(exported(kept))
    assert run_command(["export", str(kept), "-f", "coco", "--coco-ids", "91", "--quiet"]) == 0


def test_another_keep_conf_is_another_run(photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    run = start(photos, fake, "--keep-conf", "0.05")
    leave_unfinished(run, 3)
    assert run_command(["run", str(photos), *fake]) == 2
    assert "keep_conf: 0.05 -> 0.25" in capfd.readouterr().err
    start(photos, fake, "--keep-conf", "0.05", "--resume", "photos")
    assert verify(run) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--conf", "0.3", "--keep-conf", "0.4"], "--keep-conf: expected a number from 0 to --conf (0.3), got 0.4"),
        (["--keep-conf", "-0.1"], "--keep-conf"),
        (["--save-conf"], "give --save-txt too"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    photos: Path, fake: list[str], runs: Path, flags: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", str(photos), *fake, *flags]) == 2
    assert said in capfd.readouterr().err
    assert not runs.exists()


def test_export_says_what_it_wrote_and_where(photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run = start(photos, fake, "--allow-failed", "1")
    assert run_command(["export", str(run), "-f", "yolo", "--out", "dataset"]) == 0
    out, err = capfd.readouterr()
    assert out == f"{photos.parent / 'dataset'}\n"
    assert "6 images, 1 failed" in err
    assert "left out" in err
    assert sorted(path.name for path in (photos.parent / "dataset").iterdir()) == [
        "data.yaml", "export.json", "images", "labels",
    ]  # fmt: skip
    marker = json.loads((photos.parent / "dataset/export.json").read_bytes())
    assert (marker["format"], marker["conf"], marker["run"]) == ("yolo", 0.25, str(run))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "-f", "csv"], "is no run"),
        (["runs/photos", "-f", "csv", "--conf", "0.1"], "kept only what scores above 0.25; give 0.25 or more"),
        (["runs/photos", "-f", "csv", "--out", "photos"], "no export wrote"),
        (["runs/photos", "-f", "csv", "--save-conf"], "--save-conf is for --format yolo"),
        (["runs/photos", "-f", "csv", "--coco-ids", "91"], "--coco-ids is for --format coco"),
        (["runs/photos", "-f", "csv", "--images", "photos"], "--images is for --format yolo or labelme"),
        (["runs/photos", "-f", "voc", "--url-prefix", "x"], "--url-prefix is for --format labelstudio"),
        (["runs/photos", "-f", "coco", "--coco-ids", "80"], "not COCO's 80"),
        (["runs/photos", "-f", "parquet"], "boxmill export --help"),
        (["runs/photos"], "boxmill export --help"),
    ],
)
def test_mistakes_get_one_sentence(
    photos: Path, fake: list[str], arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    start(photos, fake)
    capfd.readouterr()
    assert run_command(["export", *arguments]) == 2
    out, err = capfd.readouterr()
    assert said in err
    assert out == ""


def test_a_run_under_way_is_not_exported(photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    run = start(photos, fake)
    with RunLock(run):
        assert run_command(["export", str(run), "-f", "csv"]) == 2
    assert "held by process" in capfd.readouterr().err


def test_an_unfinished_run_is_exported_as_far_as_it_is(
    photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run = start(photos, fake)
    leave_unfinished(run, 4)
    assert run_command(["export", str(run), "-f", "jsonl"]) == 0
    assert "2 images are not in it: the run is not finished" in capfd.readouterr().err
    assert len(results(run).splitlines()) == 4


def test_text_crops_and_whole_pixels_are_written_during_the_run(
    photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run = start(photos, fake, "--save-txt", "--save-conf", "--save-crop", "--int-boxes", "--json-names", "stem")
    assert sorted(documents(run)) == [f"{number:03}.json" for number in range(6)]
    crops = sorted(path.relative_to(run / "crops").as_posix() for path in (run / "crops").rglob("*.jpg"))
    expected = []
    for name, data in documents(run).items():
        objects = json.loads(data)["objects"]
        assert all(type(side) is int for row in objects for side in row["bbox"])
        expected += [f"{row['label']}/{Path(name).stem}.png-{n}.jpg" for n, row in enumerate(objects)]
    assert crops == sorted(expected)
    assert len(crops) > 10
    assert run_command(["export", str(run), "-f", "yolo", "--save-conf", "--quiet"]) == 0
    for path in (run / "exports/yolo/labels").iterdir():
        assert (run / "labels" / path.name).read_bytes() == path.read_bytes()
    capfd.readouterr()
    assert run_command(["doctor", str(run), "--verify"]) == 0
    assert "nothing is wrong" in capfd.readouterr().out
    (run / "json/003.json").unlink()
    assert run_command(["doctor", str(run), "--verify"]) == 0
    assert "note: json/003.json: missing" in capfd.readouterr().out


def test_crops_show_what_is_shown_and_not_what_is_kept(photos: Path, fake: list[str]) -> None:
    run = start(photos, fake, "--save-crop", "--keep-conf", "0.05")
    assert len(list((run / "crops").rglob("*.jpg"))) == summary(run)["objects"]


def test_a_resume_mends_text_files(photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--save-txt", "--json-names", "stem")
    run = start(photos, fake, *flags)
    labels = {path.name: path.read_bytes() for path in (run / "labels").iterdir()}
    assert len(labels) == 6
    leave_unfinished(run, 4)
    (run / "labels/000.txt").unlink()
    (run / "labels/001.txt").write_bytes(b"")  # as a loss of power leaves it, or an image without objects
    capfd.readouterr()
    assert run_command(["run", str(photos), *fake, *flags]) == 0
    assert "label files were rebuilt" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in (run / "labels").iterdir()} == labels
    assert sorted(documents(run)) == [f"{number:03}.json" for number in range(6)]


def test_text_files_can_be_asked_for_later(photos: Path, fake: list[str]) -> None:
    run = start(photos, fake)
    start(photos, fake, "--save-txt", "--resume", "photos")
    assert len(list((run / "labels").iterdir())) == 6


@pytest.mark.parametrize("flags", [("--json-names", "stem"), ("--save-txt",)])
def test_stems_that_meet_end_before_anything_is_written(
    photos: Path, fake: list[str], runs: Path, flags: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    (photos / "000.jpg").write_bytes((photos / "000.png").read_bytes())
    assert run_command(["run", str(photos), *fake, *flags]) == 2
    err = capfd.readouterr().err
    assert "'000.jpg' and '000.png'" in err
    assert flags[0] in err
    assert not list(runs.glob("*"))


def test_added_images_whose_stems_meet_are_refused(
    photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run = start(photos, fake, "--json-names", "stem")
    (photos / "000.jpg").write_bytes((photos / "000.png").read_bytes())
    assert run_command(["run", str(photos), *fake, "--json-names", "stem", "--add"]) == 2
    assert "'000.png' and '000.jpg'" in capfd.readouterr().err
    assert [path.name for path in run.glob("manifest-*")] == ["manifest-0.jsonl"]


def test_how_files_are_written_must_not_change_half_way(
    photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run = start(photos, fake)
    leave_unfinished(run, 3)
    assert run_command(["run", str(photos), *fake, "--json-names", "stem", "--int-boxes"]) == 2
    err = capfd.readouterr().err
    assert 'json_names: null -> "stem"' in err
    assert "int_boxes: null -> true" in err


def test_the_command_works_as_a_process(photos: Path, fake: list[str], tmp_path: Path) -> None:
    run = start(write_photos(tmp_path / "照片", 2), fake, name="照片")
    process = boxmill("export", str(run), "--format", "csv", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (0, str(run / "exports/csv")), err
    with boxmill("export", "--help", cwd=tmp_path) as help_process:
        text = help_process.communicate(timeout=60)[0]
    assert all(word in text for word in ("--coco-ids", "--url-prefix", "megadetector", "boxmill export runs/photos"))
