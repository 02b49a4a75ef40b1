"""`boxmill run --dump-heads`: the heads that a run's boxes come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from taggers import CARD as CARD_OF_TAGGER
from taggers import make_tagger, write_labels, write_tagger

from boxmill.cli import run_command
from boxmill.post import Postprocessor
from boxmill.store import read_dump, read_dump_header, walk_dumps


def test_the_dumps_give_the_boxes_of_the_run(photos: Path, fake: list[str], runs: Path, capfd) -> None:
    assert run_command(["run", str(photos), *fake, "--dump-heads", "--conf", "0.05", "--workers", "2"]) == 0
    run = runs / "photos"
    head = read_dump_header(run).head
    dumps = [read_dump(run, path) for path in walk_dumps(run)]
    assert [dump.key for dump in dumps] == [f"{number:03}.png" for number in range(6)]
    assert not list(run.rglob("*.tmp"))
    for dump in dumps:
        (found,) = Postprocessor(head, conf=0.05)(dump.raw, dump.geometry.network, [dump.geometry])
        objects = json.loads((run / f"json/{dump.key}.json").read_bytes())["objects"]
        assert len(objects) > 0
        assert [one["class_id"] for one in objects] == found.classes.tolist()
        assert [one["bbox"] for one in objects] == np.round(found.boxes.astype(np.float64), 2).tolist()
    said = capfd.readouterr().err
    assert "some megabytes an image" in said
    assert "heads: 6 images" in said


def test_nothing_is_dumped_unasked(photos: Path, fake: list[str], runs: Path) -> None:
    assert run_command(["run", str(photos), *fake]) == 0
    assert not list(runs.glob("*/heads*"))


def test_a_tagger_has_no_heads_to_replay(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights, card = write_tagger(tmp_path / "tagger.onnx", make_tagger(64)), tmp_path / "tagger.yaml"
    write_labels(tmp_path / "labels_zh.json", 64)
    card.write_text(CARD_OF_TAGGER, encoding="utf-8")
    assert run_command(["run", str(photos), "-w", str(weights), "--card", str(card), "--dump-heads"]) == 2
    assert "--dump-heads: a tagger finds no boxes" in capfd.readouterr().err
