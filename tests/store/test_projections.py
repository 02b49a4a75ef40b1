"""What is derived from the journal can be thrown away, and a run can be checked."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from outcomes import NAMES, failed, found, name, same

from boxmill.errors import OutputError
from boxmill.store import (
    Attempt,
    Entry,
    Finding,
    Journal,
    JsonFiles,
    Manifest,
    NewInput,
    load,
    rebuild_json,
    replay,
    run_tally,
    verify,
    write_manifest,
    write_results,
)
from boxmill.store.durable import WholeFile, write_file
from boxmill.store.frames import frame
from boxmill.types import Detections, Failure, Outcome

TOTAL = 12


def outcomes() -> list[Outcome]:
    """Of all inputs but the last, in an order that is not the listing's."""
    return [failed(i) if i % 5 == 4 else found(i, i) for i in (7, 0, 2, 1, 10, 3, 5, 4, 9, 6, 8)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in two segments whose input 4 failed at first and whose input 11 is open."""
    write_manifest(tmp_path / "manifest-0.jsonl", b"/photos", (NewInput(name(i), None, 1, 2) for i in range(TOTAL)))
    files = JsonFiles(tmp_path, NAMES)
    first, second = Journal(tmp_path, 1, 1), Journal(tmp_path, 2, 1)
    first.commit([Entry.of(outcome) for outcome in (outcomes()[0], failed(1), outcomes()[1])])
    first.commit([Entry.of(Attempt(11, name(11), 1, "crashed")), Entry.of(outcomes()[2])])
    second.commit([Entry.of(outcome) for outcome in outcomes()[3:]])
    first.close()
    second.close()
    for outcome in outcomes():
        files.write(outcome)
    return tmp_path


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "json").rglob("*.json")}


def test_replay_gives_the_last_word_on_each_input_in_order(run: Path) -> None:
    records = list(replay(run, TOTAL))
    expected = sorted(outcomes(), key=lambda outcome: outcome.index)
    assert [record.i for record in records] == list(range(11))
    assert all(same(record.outcome(), outcome) for record, outcome in zip(records, expected, strict=True))
    wanted = bytes(i in (3, 8, 11) for i in range(TOTAL))
    assert [record.i for record in replay(run, TOTAL, wanted)] == [3, 8]


def test_a_record_longer_than_a_read_is_replayed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1, 1)
    journal.commit([Entry.of(found(0, 2000)), Entry.of(found(1, 1)), Entry.of(found(2, 500))])
    for record, count in zip(replay(tmp_path, 3), (2000, 1, 500), strict=True):
        assert same(record.outcome(), found(record.i, count))


def test_many_segments_are_replayed_with_few_open_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1, 1, segment_bytes=1)
    for index in reversed(range(150)):
        journal.commit([Entry.of(found(index, 0))])
    assert [record.i for record in replay(tmp_path, 150)] == list(range(150))


def test_deleted_damaged_and_outdated_json_comes_back(run: Path) -> None:
    before, json_folder = contents(run), run / "json" / "sub"
    (json_folder / "000000.jpg.json").unlink()
    (json_folder / "000002.jpg.json").write_bytes(b"")
    (json_folder / "000003.jpg.json").write_bytes(before["000003.jpg.json"][:-9])
    (json_folder / "000005.jpg.json").write_bytes(before["000006.jpg.json"])
    JsonFiles(run, NAMES).write(failed(1))  # as before the retry
    manifest = Manifest(run)
    report = rebuild_json(run, manifest, load(run, TOTAL), NAMES)
    assert (report.rebuilt, report.lost) == (5, [])
    assert contents(run) == before
    assert rebuild_json(run, manifest, load(run, TOTAL), NAMES).rebuilt == 0


def test_all_json_comes_back(run: Path) -> None:
    before = contents(run)
    for path in (run / "json").rglob("*.json"):
        path.unlink()
    assert rebuild_json(run, Manifest(run), load(run, TOTAL), NAMES).rebuilt == 11
    assert contents(run) == before


def test_what_lies_behind_damage_is_reported_lost(run: Path) -> None:
    path = run / "journal" / "seg-1-1-0.jsonl"
    data = bytearray(path.read_bytes())
    data[data.index(b'"i":2') + 4] ^= 1
    path.write_bytes(data)
    (run / "json" / "sub" / "000002.jpg.json").unlink()
    report = rebuild_json(run, Manifest(run), load(run, TOTAL), NAMES)
    assert (report.rebuilt, report.lost) == (0, [2])
    (finding, lost, *rest) = [finding for finding in verify(run) if finding.severity == "damage"]
    assert (finding.path, rest) == ("journal/seg-1-1-0.jsonl", [])
    assert "expected crc32" in finding.message
    assert lost == Finding("damage", "journal", "the record of input 2 ('sub/000002.jpg') cannot be read")


def test_the_tally_counts_what_the_outcomes_are(run: Path) -> None:
    document = run_tally(run, load(run, TOTAL), NAMES).document(NAMES)
    results = [outcome.result for outcome in outcomes()]
    found = [result for result in results if isinstance(result, Detections)]
    failures = [result for result in results if isinstance(result, Failure)]
    by_class = Counter(NAMES[class_id] for result in found for class_id in result.classes.tolist())
    assert document["processed"] == len(found)
    assert document["objects"] == sum(len(result) for result in found) == by_class.total()
    assert document["empty"] == sum(len(result) == 0 for result in found)
    assert document["truncated"] == sum(result.cut is not None for result in found)
    assert document["classes"] == by_class
    assert document["failed"]["count"] == len(failures) == 2
    assert document["failed"]["by_code"] == Counter(failure.code for failure in failures)
    assert [row["image"] for row in document["failed"]["first"]] == [failure.key for failure in failures]
    assert [row["image"] for row in document["results"]] == sorted(row.key for row in outcomes())


def test_results_are_one_document_a_line_in_order(run: Path) -> None:
    write_results(run, TOTAL, NAMES)
    lines = [json.loads(line) for line in (run / "results.jsonl").read_bytes().splitlines()]
    assert lines == [json.loads(data) for _, data in sorted(contents(run).items())]
    assert not (run / "results.jsonl.tmp").exists()


def test_a_whole_run_has_nothing_to_note_but_what_is_open(run: Path) -> None:
    assert verify(run) == [Finding("note", "journal", "1 of 12 inputs have no outcome yet")]


def test_verification_finds_what_is_wrong(run: Path) -> None:
    def messages() -> str:
        return "\n".join(f"{finding.severity} {finding.path}: {finding.message}" for finding in verify(run))

    (run / "json" / "sub" / "000003.jpg.json").unlink()
    assert "note json/sub/000003.jpg.json: missing" in messages()
    assert "json/" not in "".join(finding.path for finding in verify(run, json_files=False))
    journal = Journal(run, 3, 1)
    journal.commit([Entry.of(found(11, key="other.jpg"))])
    assert "note journal/seg-3-1-0.jsonl.open: not sealed; 1 records" in messages()
    assert "damage journal: input 11 is 'sub/000011.jpg', its record 'other.jpg'" in messages()
    with (run / "journal" / "seg-3-1-0.jsonl.open").open("ab") as file:
        file.write(b"F 1")
    assert "note journal/seg-3-1-0.jsonl.open: expected a frame's header, at byte" in messages()
    manifest = run / "manifest-0.jsonl"
    data = manifest.read_bytes()
    manifest.write_bytes(data.replace(b'"size":1', b'"size":2', 1))
    assert "damage manifest: manifest-0.jsonl: expected crc32" in messages()
    manifest.write_bytes(data[:-5])
    assert "damage manifest:" in messages()


def test_verification_finds_a_footer_that_lies(run: Path) -> None:
    journal = run / "journal"
    (journal / "seg-4-1-0.jsonl").write_bytes(_other_body(journal / "seg-2-1-0.jsonl"))
    (journal / "seg-2-1-0.jsonl").unlink()
    (finding,) = [finding for finding in verify(run) if finding.severity == "damage"]
    assert finding.message == "the footer does not tell what the records are"
    path = journal / "seg-4-1-0.jsonl"
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"F ", 100)])
    assert "sealed, but without a footer" in [finding.message for finding in verify(run)]


def _other_body(path: Path) -> bytes:
    """A sealed segment whose only frame was exchanged for another whole one of the same length."""
    data = path.read_bytes()
    head, _, rest = data.partition(b"\n")
    length = int(head.split()[1])
    body = rest[:length].replace(b"1920,1080", b"1920,1081")
    return frame(body) + rest[length:]


def test_a_run_that_lost_everything_is_reported_briefly(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest-0.jsonl", b"/photos", (NewInput(name(i), None, 1, 2) for i in range(300)))
    journal = Journal(tmp_path, 1, 1)
    journal.commit([Entry.of(found(i, 0)) for i in range(300)])
    journal.close()
    findings = verify(tmp_path)
    assert len(findings) == 101
    assert findings[-1] == Finding("note", "json", "and 200 more")


def test_durable_files_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_file(path, b"old", durable=True)
    with pytest.raises(ZeroDivisionError):
        _write_half(path)
    assert path.read_bytes() == b"old"
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x.json"]
    with pytest.raises(OutputError, match="No such file") as raised:
        write_file(tmp_path / "none" / "x", b"")
    assert raised.value.errno == 2


def _write_half(path: Path) -> None:
    with WholeFile(path, durable=True) as file:
        file.write(b"n")
        raise ZeroDivisionError


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    os.symlink("/dev/full", tmp_path / "x.tmp")
    with pytest.raises(OutputError, match="disk full") as raised:
        write_file(tmp_path / "x", b"1")
    assert raised.value.errno == 28
    assert os.listdir(tmp_path) == []
