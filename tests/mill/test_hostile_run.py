"""A run over thousands of malformed files with some good photographs among them: each ends as it must, nothing else."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from small_runs import summary, write_card

from boxmill.cli import run_command

sys.path.insert(0, str(Path(__file__).parent.parent / "images"))
from hostile_outcomes import digest

TABLE = Path(__file__).parent.parent / "images/hostile.tsv"
MOST_MEMORY = 3 << 29  # 1.5 GiB


def run(tmp_path: Path, name: str, paths: list[Path]) -> tuple[Path, list[dict[str, object]]]:
    """The run's directory, and the documents of its images in the order of `paths`."""
    source = tmp_path / f"{name}.txt"
    source.write_text("\n".join(map(str, paths)), encoding="utf-8")
    command = ["run", str(source), "--runtime", "fake", "--weights", str(write_card(tmp_path))]
    command += ["--project", str(tmp_path / "runs"), "--allow-failed", "100%", "--quiet", "--no-image-json"]
    assert run_command(command) == 0
    directory = tmp_path / "runs" / name
    lines = (directory / "results.jsonl").read_text(encoding="utf-8").splitlines()
    by_digest = {one["image"].split("/")[1][:16]: one for one in map(json.loads, lines)}  # ext/<hash of the path>-name
    return directory, [by_digest[hashlib.sha256(bytes(path)).hexdigest()[:16]] for path in paths]


def test_every_hostile_file_ends_as_the_table_says_and_good_photos_do_not_notice(assets: Path, tmp_path: Path) -> None:
    hostile = sorted(path for path in (assets / "hostile").rglob("*") if path.is_file())
    good = sorted((assets / "photos/train128").glob("*.jpg"))[:20]
    mixed = hostile.copy()
    for number, photo in enumerate(good):
        mixed.insert(number * len(hostile) // len(good), photo)
    directory, documents = run(tmp_path, "mixed", mixed)
    expected = dict(line.split("\t") for line in TABLE.read_text().splitlines())
    for path, document in zip(mixed, documents, strict=True):
        if path not in good:
            outcome = document["failure"]["code"] if "failure" in document else "ok"
            assert outcome == expected[digest(path.read_bytes())].split()[0], path
    _, alone = run(tmp_path, "alone", good)
    among = dict(zip(mixed, documents, strict=True))
    assert [among[path]["objects"] for path in good] == [document["objects"] for document in alone]
    told = summary(directory)
    assert told["processed"] + told["failed"]["count"] == len(hostile) + len(good)
    assert told["restarts"] == 0
    assert told["peak_memory"] < MOST_MEMORY
