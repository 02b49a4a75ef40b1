"""A disk that fills up: exit code 6, nothing acknowledged lost, and the same command completes once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_runs import documents, journal, summary, write_card, write_photos

from boxmill.cli import run_command
from boxmill.store import Manifest, load, verify

COUNT = 120


class SmallDisk:
    """A tmpfs of so many kilobytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode != 0:
            pytest.skip(f"needs a small file system, and mount failed: {done.stderr.strip()}")

    def grow(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(self.folder)], check=True)

    def fill(self, leave: int) -> None:
        """Leaves so many kilobytes."""
        free = os.statvfs(self.folder)
        (self.folder / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize - 1024 * leave))

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    if os.geteuid() != 0:
        pytest.skip("needs a small file system, and only root may mount one")
    disks = []

    def make(size: int) -> SmallDisk:
        disks.append(SmallDisk(tmp_path / f"disk{len(disks)}", size))
        return disks[-1]

    yield make
    for disk in disks:
        disk.unmount()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("source") / "photos", COUNT)


@pytest.fixture(scope="module")
def command(photos: Path) -> list[str]:
    card = write_card(photos.parent)
    return ["run", str(photos), "--runtime", "fake", "-w", str(card), "--workers", "2", "--conf", "0.1"]


@pytest.fixture(scope="module")
def reference(command: list[str], photos: Path) -> dict[str, bytes]:
    """The JSON files of a run that nothing disturbs."""
    assert run_command([*command, "--project", str(photos.parent / "runs")]) == 0
    return documents(photos.parent / "runs/photos")


def assert_complete(run: Path, reference: dict[str, bytes]) -> None:
    assert documents(run) == reference
    assert (summary(run)["status"], summary(run)["processed"]) == ("finished", COUNT)
    assert verify(run) == []
    computed = [record["i"] for record in journal(run)]
    assert len(computed) == len(set(computed)) == COUNT


def test_a_disk_that_fills_up_in_the_middle(
    small_disk: Callable[[int], SmallDisk], command: list[str], reference: dict[str, bytes], capfd
) -> None:
    disk = small_disk(1024)
    command = [*command, "--project", str(disk.folder)]
    run = disk.folder / "photos"
    assert run_command(command) == 6
    err = capfd.readouterr().err
    assert "disk full" in err
    assert f"what was acknowledged is kept in {run}; the same command goes on from there" in err
    assert "make room and give the same command again" in err
    assert "Traceback" not in err
    kept = {record["i"]: record for record in journal(run)}
    assert 0 < len(kept) < COUNT
    assert load(run, Manifest(run).total).finished() == len(kept)

    assert run_command(command) == 6  # still full: the same again, and nothing is lost by trying
    err = capfd.readouterr().err
    assert "disk full" in err
    assert "Traceback" not in err
    assert {record["i"]: record for record in journal(run)}.items() >= kept.items()

    disk.grow(16 * 1024)
    assert run_command(command) == 0
    err = capfd.readouterr().err
    assert f"resuming {run}: " in err
    assert {record["i"]: record for record in journal(run)}.items() >= kept.items()
    assert [path.name for path in disk.folder.iterdir()] == ["photos"]
    assert_complete(run, reference)


@pytest.mark.parametrize("left", [0, 4, 12, 20, 40], ids=lambda left: f"{left} KiB left")
def test_a_disk_that_is_full_from_the_start(
    left: int, small_disk: Callable[[int], SmallDisk], command: list[str], reference: dict[str, bytes], capfd
) -> None:
    disk = small_disk(1024)
    disk.fill(leave=left)
    command = [*command, "--project", str(disk.folder / "runs")]
    assert run_command(command) == 6
    err = capfd.readouterr().err
    assert "disk full" in err
    assert "Traceback" not in err
    disk.grow(16 * 1024)
    assert run_command(command) == 0
    assert [path.name for path in (disk.folder / "runs").iterdir()] == ["photos"]
    assert_complete(disk.folder / "runs/photos", reference)
