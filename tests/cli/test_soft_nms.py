"""`boxmill run --nms soft`: decayed scores in the results, told in run.json, and another run than one without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import documents, leave_unfinished, summary

import boxmill
from boxmill.cli import run_command
from boxmill.store import verify

CARDS = Path(__file__).parents[1] / "cards"


def start(source: Path, model: list[str], *flags: str, name: str) -> Path:
    assert run_command(["run", str(source), *model, "--quiet", "--name", name, *flags]) == 0
    return Path("runs") / name


def objects(run: Path) -> dict[str, list[dict[str, Any]]]:
    return {key: json.loads(document)["objects"] for key, document in documents(run).items()}


@pytest.mark.parametrize("nms", ["soft", "soft-gaussian"])
def test_objects_have_decayed_scores_and_overlap(photos: Path, fake: list[str], nms: str) -> None:
    hard, soft = start(photos, fake, name="hard"), start(photos, fake, "--nms", nms, name="soft")
    assert verify(soft) == []
    more = 0
    for key, found in objects(soft).items():
        scores = [one["confidence"] for one in found]
        assert scores == sorted(scores, reverse=True)
        assert min(scores, default=1) > 0.25
        more += len(found) - len(objects(hard)[key])
    assert more != 0
    assert documents(soft) != documents(hard)


def test_run_json_says_which(photos: Path, fake: list[str]) -> None:
    for nms, iou in (("hard", 0.45), ("soft", 0.45), ("soft-gaussian", None)):
        run = start(photos, fake, "--nms", nms, name=nms)
        header = json.loads((run / "run.json").read_bytes())
        assert (header["settings"]["nms"], header["settings"]["iou"]) == (nms, iou)
        assert summary(run)["settings"]["nms"] == nms


def test_python_gives_the_same_objects(photos: Path, fake: list[str], tmp_path: Path) -> None:
    soft = objects(start(photos, fake, "--nms", "soft", name="soft"))
    options: dict[str, Any] = {"runtime": "fake", "nms": "soft"}
    outcomes = {one.key: one.result for one in boxmill.run(photos, fake[-1], project=None, **options)}
    with boxmill.load(fake[-1], **options) as model:
        for key, result in outcomes.items():
            again = model.predict(photos / key)
            assert again.scores.tobytes() == result.scores.tobytes()
            assert again.boxes.tobytes() == result.boxes.tobytes()
            assert [one["class_id"] for one in soft[f"{key}.json"]] == result.classes.tolist()
            assert [one["confidence"] for one in soft[f"{key}.json"]] == pytest.approx(result.scores.tolist(), abs=1e-6)


def test_another_nms_is_another_run(photos: Path, fake: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    run = start(photos, fake, "--nms", "soft", name="photos")
    leave_unfinished(run, 3)
    assert run_command(["run", str(photos), *fake]) == 2
    assert 'nms: "soft" -> "hard"' in capfd.readouterr().err
    start(photos, fake, "--nms", "soft", "--resume", "photos", name="photos")
    assert verify(run) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--nms", "soft-gaussian", "--iou", "0.5"], "--iou 0.5: --nms soft-gaussian has no threshold"),
        (["--nms", "linear"], "linear"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    photos: Path, fake: list[str], flags: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", str(photos), *fake, *flags]) == 2
    assert said in capfd.readouterr().err
    assert not Path("runs").exists()


def test_a_real_detector(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for path in sorted((assets / "photos/train128").glob("*.jpg"))[:8]:
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    model = ["-w", str(assets / "models/yolox_nano_416.onnx"), "--card", str(CARDS / "yolox_nano_416.yaml")]
    hard = objects(start(tmp_path / "photos", model, "--conf", "0.1", name="hard"))
    soft = objects(start(tmp_path / "photos", model, "--conf", "0.1", "--nms", "soft", name="soft"))
    decayed = 0
    for key, found in soft.items():
        assert found[:1] == hard[key][:1]  # nothing decays the best object of an image
        decayed += len({one["confidence"] for one in found} - {one["confidence"] for one in hard[key]})
    assert decayed > 0
