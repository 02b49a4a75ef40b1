"""Segments: what damage costs, what sealing promises, what recovery keeps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcomes import failed, found, same

from boxmill.errors import OutputError
from boxmill.store.contents import Contents
from boxmill.store.frames import Damaged, FrameReader, frame, parse_frame
from boxmill.store.journal import SEGMENT_RECORDS, Entry, Journal, next_epoch, read_footer, recover, scan, segments
from boxmill.store.records import Attempt, Record
from boxmill.types import Outcome

FRAMES = [[found(0), failed(1)], [found(2)], [found(3, 0), found(4), failed(5)], [found(6, 1)]]
OUTCOMES = [outcome for group in FRAMES for outcome in group]


def write(directory: Path, groups: list[list[Outcome]], *, close: bool = True, writer: int = 1) -> str:
    """One segment; returns its path."""
    journal = Journal(directory, 1, writer)
    for group in groups:
        journal.commit([Entry.of(outcome) for outcome in group])
    if close:
        journal.close()
    return segments(directory)[-1].path


def read(path: str) -> tuple[list[Record], str | None]:
    with scan(path) as records:
        found_records = [record for _, record in records]
    return found_records, records.problem


def ends() -> list[int]:
    """Offsets behind each frame of FRAMES."""
    sizes = [len(frame(b"".join(Entry.of(outcome).line for outcome in group))) for group in FRAMES]
    return [sum(sizes[: place + 1]) for place in range(len(sizes))]


@pytest.fixture(scope="module")
def unsealed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return Path(write(Path(folder), FRAMES, close=False)).read_bytes()


@pytest.fixture(scope="module")
def sealed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return Path(write(Path(folder), FRAMES)).read_bytes()


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def expected_before(offset: int) -> list[Outcome]:
    """Outcomes of the frames that end at or before an offset."""
    whole = sum(end <= offset for end in ends())
    return [outcome for group in FRAMES[:whole] for outcome in group]


def assert_reads(data: bytes, outcomes: list[Outcome], folder: Path) -> str | None:
    path = folder / "seg-1-1-0.jsonl.open"
    path.write_bytes(data)
    records, problem = read(str(path))
    assert len(records) == len(outcomes)
    assert all(same(record.outcome(), outcome) for record, outcome in zip(records, outcomes, strict=True))
    return problem


def test_a_cut_at_any_byte_costs_only_the_frames_behind_it(unsealed: bytes, scratch: Path) -> None:
    assert ends()[-1] == len(unsealed)
    for offset in range(len(unsealed) + 1):
        problem = assert_reads(unsealed[:offset], expected_before(offset), scratch)
        assert (problem is None) == (offset in [0, *ends()])


def test_a_flipped_bit_at_any_byte_costs_only_the_frames_from_there_on(unsealed: bytes, scratch: Path) -> None:
    for offset in range(len(unsealed)):
        damaged = bytearray(unsealed)
        damaged[offset] ^= 1 << (offset * 5 % 8)
        assert assert_reads(bytes(damaged), expected_before(offset), scratch) is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_never_yields_a_wrong_record(unsealed: bytes, scratch: Path, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(unsealed) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=40))
    keep = data.draw(st.booleans())
    damaged = unsealed[:offset] + junk + (unsealed[offset + len(junk) :] if keep else b"")
    same_until = next((i for i, (a, b) in enumerate(zip(damaged, unsealed, strict=False)) if a != b), len(damaged))
    assert_reads(damaged, expected_before(min(same_until, len(unsealed))), scratch)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_recovery_keeps_what_is_whole_and_seals_it(unsealed: bytes, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(unsealed)))
    junk = data.draw(st.binary(max_size=30))
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/journal")
        path = f"{folder}/journal/seg-3-1-0.jsonl"
        Path(path + ".open").write_bytes(unsealed[:offset] + junk)
        recover(folder)
        outcomes = expected_before(offset)
        assert os.listdir(f"{folder}/journal") == (["seg-3-1-0.jsonl"] if outcomes else [])
        if outcomes:
            records, problem = read(path)
            assert problem is None
            assert [record.i for record in records] == [outcome.index for outcome in outcomes]
            assert read_footer(path).count == len(outcomes)
        assert recover(folder) == []


def test_a_sealed_segment_detects_every_flipped_bit(sealed: bytes, scratch: Path) -> None:
    footer_at = ends()[-1]
    for offset in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[offset] ^= 1 << (offset * 3 % 8)
        path = scratch / "seg-1-1-0.jsonl"
        path.write_bytes(damaged)
        if offset >= footer_at:
            with pytest.raises(Damaged):
                read_footer(path)
        _, problem = read(str(path))
        assert problem is not None


def test_a_shortened_or_lengthened_sealed_segment_has_no_footer(sealed: bytes, scratch: Path) -> None:
    path = scratch / "seg-1-1-0.jsonl"
    for data in [sealed[:-1], sealed[: ends()[-1]], sealed[: ends()[0]], b"", sealed + b"x", sealed + sealed[-50:]]:
        path.write_bytes(data)
        with pytest.raises(Damaged):
            read_footer(path)


def test_frames_behind_a_footer_are_refused(sealed: bytes, scratch: Path) -> None:
    assert "more follows" in (assert_reads(sealed + frame(Entry.of(found(9)).line), OUTCOMES, scratch) or "")


def test_a_whole_frame_with_foreign_content_stops_the_reading(unsealed: bytes, scratch: Path) -> None:
    path = scratch / "seg-1-1-0.jsonl.open"
    path.write_bytes(unsealed + frame(b'{"v":2}\n'))
    with scan(path) as records:
        assert [record.i for _, record in records] == list(range(7))
    assert (records.end, records.footer) == (len(unsealed), None)
    assert "Invalid enum value 2" in (records.problem or "")


def test_footer_tells_what_the_records_are(scratch: Path) -> None:
    path = write(scratch, [[failed(9, "empty"), found(3), found(5, 0)], [found(4, 15, cut=0.5), failed(10), found(9)]])
    footer = read_footer(path)
    assert footer.runs == [3, 3, 0, 9, 1, 0, 10, 1, 2]
    assert footer.codes == ["empty", "truncated"]
    assert (footer.counts.processed, footer.counts.objects, footer.counts.empty, footer.counts.truncated) == (
        4,
        21,
        1,
        1,
    )
    assert sum(footer.counts.by_class.values()) == 21
    assert footer.failures == [(10, "sub/000010.jpg", "decode", "truncated", "it ends early")]
    contents = Contents()
    with scan(path) as records:
        for _, record in records:
            contents.add_record(record)
    assert contents.footer(footer.sha256) == footer == records.footer


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["ok", "a", "b", "attempt"]))))
def test_contents_survive_their_footer(steps: list[tuple[int, str]]) -> None:
    contents, states, attempts = Contents(), {}, {}
    for step, (index, kind) in enumerate(steps):
        if kind == "attempt":
            contents.add_attempt(Attempt(index, "key", step, "crashed"))
            attempts[index] = step
            continue
        contents.add_outcome(found(index, 1) if kind == "ok" else failed(index, kind))
        states[index] = kind
        if kind != "ok":
            attempts.pop(index, None)
    footer = msgspec.json.decode(msgspec.json.encode(contents.footer("")), type=type(contents.footer("")))
    for one in (contents, Contents.of(footer)):
        indices, codes = one.final()
        names = ["ok", *one.codes]
        assert dict(zip(indices.tolist(), [names[code] for code in codes], strict=True)) == states
        assert one.attempts == attempts
        assert one.footer("").runs == footer.runs


def test_segments_roll_and_sort(scratch: Path) -> None:
    for writer in (10, 2):
        journal = Journal(scratch, 1, writer, segment_bytes=2000)
        for index in range(12):
            journal.commit([Entry.of(found(100 * writer + index, 5))])
        journal.close()
    names = [Path(segment.path).name for segment in segments(scratch)]
    count = len(names) // 2
    assert count > 2
    assert names == [f"seg-1-{writer}-{n}.jsonl" for writer in (2, 10) for n in range(count)]
    assert [record.i for name in names for record in read(f"{scratch}/journal/{name}")[0]] == [
        100 * writer + index for writer in (2, 10) for index in range(12)
    ]


def test_segments_roll_by_their_number_of_records_too(scratch: Path) -> None:
    entry = Entry.of(failed(0))
    journal = Journal(scratch, 1, 1)
    for _ in range(2):
        journal.commit([entry] * (SEGMENT_RECORDS - 1))
        journal.commit([entry] * 2)
    journal.close()
    assert [read_footer(segment.path).count for segment in segments(scratch)] == [SEGMENT_RECORDS + 1] * 2


def test_a_journal_without_entries_leaves_no_file(scratch: Path) -> None:
    Journal(scratch, 1, 0).close()
    assert segments(scratch) == []
    assert next_epoch(scratch) == 1


def test_epochs_count_on(scratch: Path) -> None:
    write(scratch, FRAMES)
    assert next_epoch(scratch) == 2


def test_recovery_of_one_writer_leaves_the_others_alone(scratch: Path) -> None:
    for writer in (0, 1, 2):
        write(scratch, FRAMES, close=False, writer=writer)
    assert [Path(one.path).name for one in recover(scratch, (1, 1))] == ["seg-1-1-0.jsonl"]
    assert [segment.sealed for segment in segments(scratch)] == [False, True, False]
    assert len(recover(scratch)) == 2


def test_recovery_after_a_kill_between_footer_and_rename(scratch: Path) -> None:
    path = write(scratch, FRAMES)
    data = Path(path).read_bytes()
    os.rename(path, path + ".open")
    (recovered,) = recover(scratch)
    assert (recovered.records, recovered.dropped, recovered.problem) == (7, 0, None)
    assert Path(path).read_bytes() == data


def test_recovery_says_what_it_cut_off(scratch: Path) -> None:
    path = write(scratch, FRAMES, close=False)
    with open(path, "ab") as file:
        file.write(b"F 100 0000")
    (recovered,) = recover(scratch)
    assert (recovered.records, recovered.dropped, recovered.problem) == (7, 10, "expected a frame's header")


def test_a_journal_that_cannot_be_made_is_an_output_error(scratch: Path) -> None:
    (scratch / "journal").write_text("")
    journal = Journal(scratch, 1, 0)
    for _ in range(2):
        with pytest.raises(OutputError, match="journal"):
            journal.commit([Entry.of(found(0))])
    journal.close()


def test_a_length_without_end_allocates_nothing(scratch: Path) -> None:
    path = scratch / "x"
    path.write_bytes(b"F 9999999999 00000000\nabc")
    with path.open("rb") as file:
        reader = FrameReader(file)
        assert list(reader) == []
    assert reader.problem == "expected 9999999999 bytes in the frame, the file ends after 3"


@given(st.binary(min_size=1))
def test_a_frame_holds_its_payload(payload: bytes) -> None:
    assert parse_frame(frame(payload)) == payload
    with pytest.raises(Damaged):
        parse_frame(frame(payload) + b"x")
