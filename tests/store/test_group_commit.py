"""Group commit: nothing is reported kept that is not on disk, and nothing is kept after an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from time import time

import pytest
from outcomes import failed, found, same

from boxmill.errors import OutputError
from boxmill.store import JournalWriter, load, recover, replay
from boxmill.store.durable import sync_file
from boxmill.store.group_commit import MAX_PENDING
from boxmill.store.journal import read_footer, scan, segments

TESTS = Path(__file__).parent


def add_many(writer: JournalWriter) -> None:
    for index in range(1000):
        writer.add(found(index, 0))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}


def recorded(directory: Path) -> list[int]:
    """Indices in the order of the journal."""
    indices = []
    for segment in segments(directory):
        with scan(segment.path) as records:
            indices += [record.i for _, record in records]
    return indices


def test_records_say_when_they_were_handed_over(tmp_path: Path) -> None:
    before = time()
    writer = JournalWriter(tmp_path, 1, 1)
    writer.add(found(0))
    writer.add(failed(1))
    writer.close()
    times = [record.at for record in replay(tmp_path, 2)]
    assert all(at is not None and before - 1e-3 <= at <= time() + 1e-3 for at in times)


def test_many_threads_lose_nothing_and_keep_their_own_order(tmp_path: Path) -> None:
    kept: list[int] = []
    writer = JournalWriter(tmp_path, 1, 1, kept.append)

    def work(first: int) -> None:
        for index in range(first, 400, 4):
            writer.add(found(index) if index % 10 else failed(index))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    indices = recorded(tmp_path)
    assert sorted(indices) == list(range(400))
    assert all(own == sorted(own) for own in ([i for i in indices if i % 4 == first] for first in range(4)))
    assert sum(kept) == 400
    assert max(kept) <= MAX_PENDING
    (segment,) = segments(tmp_path)
    assert segment.sealed
    assert read_footer(segment.path).count == 400
    for record, index in zip(replay(tmp_path, 400), range(400), strict=True):
        assert same(record.outcome(), found(index) if index % 10 else failed(index))


def test_what_is_reported_kept_is_synchronised_and_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(
        "boxmill.store.journal.sync_file", lambda fd: (synced.append(os.fstat(fd).st_size), sync_file(fd))
    )
    seen = []

    def kept(count: int) -> None:
        seen.append((count, len(recorded(tmp_path)), synced[-1] == os.path.getsize(segments(tmp_path)[0].path)))

    writer = JournalWriter(tmp_path, 1, 1, kept)
    for index in range(100):
        writer.add(found(index))
    writer.close()
    total = 0
    for count, readable, on_disk in seen:
        total += count
        assert readable == total
        assert on_disk
    assert total == 100


def test_a_single_outcome_is_kept_without_further_ones(tmp_path: Path) -> None:
    done = threading.Event()
    writer = JournalWriter(tmp_path, 1, 1, lambda count: done.set())
    writer.add(found(0))
    assert done.wait(30)
    assert recorded(tmp_path) == [0]
    writer.close()


def test_no_more_than_64_outcomes_are_ever_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, added = threading.Semaphore(0), 0
    stuck = threading.Event()

    def slow(fd: int) -> None:
        stuck.set()
        gate.acquire()
        sync_file(fd)

    monkeypatch.setattr("boxmill.store.journal.sync_file", slow)
    writer = JournalWriter(tmp_path, 1, 1)

    def work() -> None:
        nonlocal added
        for index in range(200):
            writer.add(found(index, 0))
            added += 1

    thread = threading.Thread(target=work)
    thread.start()
    assert stuck.wait(30)
    thread.join(0.3)  # it stands still now
    assert thread.is_alive()
    assert added <= MAX_PENDING
    gate.release(1000)
    thread.join(30)
    writer.close()
    assert recorded(tmp_path) == list(range(200))


def test_closing_without_outcomes_writes_nothing(tmp_path: Path) -> None:
    JournalWriter(tmp_path, 1, 1).close()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_synchronisation_acknowledges_nothing_and_ends_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def broken(fd: int) -> None:
        calls.append(fd)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        sync_file(fd)

    monkeypatch.setattr("boxmill.store.journal.sync_file", broken)
    kept: list[int] = []
    writer = JournalWriter(tmp_path, 1, 1, kept.append)
    with pytest.raises(OutputError, match="Input/output error") as raised:
        add_many(writer)
    assert raised.value.errno == 5
    for _ in range(2):
        with pytest.raises(OutputError):
            writer.add(found(0))
    with pytest.raises(OutputError):
        writer.close()
    assert len(calls) == 2  # the descriptor was not used again
    assert len(kept) == 1
    assert not segments(tmp_path)[0].sealed


def test_a_defect_in_the_callback_does_not_hang_the_run(tmp_path: Path) -> None:
    def defect(count: int) -> None:
        raise BrokenPipeError("gone")

    writer = JournalWriter(tmp_path, 1, 1, defect)
    with pytest.raises(BrokenPipeError):
        add_many(writer)
    with pytest.raises(BrokenPipeError):
        writer.close()


ENDLESS = """
import itertools, os, sys
from outcomes import found
from boxmill.store import JournalWriter

writer = JournalWriter(sys.argv[1], 1, 1, lambda count: os.write(1, b"%d\\n" % count))
for index in itertools.count():
    writer.add(found(index))
"""


@pytest.mark.parametrize("groups", [1, 7, 20])
def test_a_kill_costs_nothing_acknowledged_and_at_most_64_outcomes(tmp_path: Path, groups: int) -> None:
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        kept = sum(int(process.stdout.readline()) for _ in range(groups))
        process.kill()
        kept += sum(int(line) for line in process.stdout.read().splitlines())
    recover(tmp_path)
    indices = recorded(tmp_path)
    assert indices == list(range(len(indices)))
    assert kept <= len(indices) <= kept + MAX_PENDING


FULL_DISK = """
import json, resource, sys
from outcomes import found
from boxmill.errors import OutputError
from boxmill.store import JournalWriter

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
kept = []
writer = JournalWriter(sys.argv[1], 1, 1, kept.append)
try:
    for index in range(5000):
        writer.add(found(index))
except OutputError as error:
    message = str(error)
try:
    writer.close()
except OutputError as error:
    print(json.dumps([sum(kept), message, error.errno, str(error)]))
"""


@pytest.mark.parametrize("limit", [7, 20_001, 123_456])
def test_a_full_disk_keeps_what_was_acknowledged_and_goes_on_later(tmp_path: Path, limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    kept, message, number, again = json.loads(done.stdout)
    assert message == again
    assert "nothing already written is lost" in message
    assert number == 27  # EFBIG: what a file's limit gives where a full disk gives ENOSPC
    assert segments(tmp_path)[0].path.endswith(".open")
    assert os.path.getsize(segments(tmp_path)[0].path) == limit  # a cut frame is at the end
    recover(tmp_path)
    assert recorded(tmp_path) == list(range(kept))
    states = load(tmp_path, 5000)
    assert states.finished() == kept
    writer = JournalWriter(tmp_path, 2, 1)
    for index in range(5000):
        if not states.status[index]:
            writer.add(found(index, 0))
    writer.close()
    assert sorted(recorded(tmp_path)) == list(range(5000))
    assert load(tmp_path, 5000).damage == []
