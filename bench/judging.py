"""What bench/accuracy.py and bench/demo_detector.py share: scenes with ground truth, and boxmill's own commands.

Everything goes through the command line as users have it: `demo scenes`, `run` and `eval`, each with --json where there
is one. bench/compare.py, which wants to be seen at work, has only the names of files from here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench"
TRUTH = "ground_truth.coco.json"
PACKAGES = ("numpy", "opencv-python-headless", "openvino", "hotcoco")
AT_ONCE = 2  # evaluations, each on one core


def parser(description: str | None, sets: Iterable[str]) -> argparse.ArgumentParser:
    """For a script that judges on several sets of images."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--images", type=int, help="of each set, to try it; default: all")
    made.add_argument("--only", choices=tuple(sets), action="append", help="may be given several times")
    made.add_argument("--write", action="store_true", help="refresh the section of RESULTS.md")
    return made


def boxmill(*arguments: object) -> Any:
    """One command; what it prints as JSON, or None where it prints nothing."""
    program = [sys.executable, "-c", "import sys; from boxmill.cli import main; sys.exit(main())"]
    command = [*program, *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"boxmill {' '.join(command[3:])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout) if done.stdout else None


@dataclass(frozen=True)
class Scenes:
    """Held-out scenes of one kind."""

    kind: str
    images: int
    size: str = "640x640"
    glyphs: str = "all"
    seed: int = 0

    def folder(self) -> Path:
        """Where they lie; made at first use. The name changes with the code that draws them."""
        code = hashlib.sha256()
        for path in sorted((ROOT / "src/boxmill/demo").glob("*.py")):
            code.update(path.read_bytes())
        name = f"{self.kind}-{self.glyphs}-{self.size}-seed{self.seed}-{self.images}-{code.hexdigest()[:8]}"
        folder = WORK / "scenes" / name
        if not (folder / TRUTH).exists():  # it is written last
            shutil.rmtree(folder, ignore_errors=True)
            print(f"making {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
            wanted = ("--kind", self.kind, "--images", self.images, "--size", self.size, "--seed", self.seed)
            boxmill("demo", "scenes", folder, *wanted, "--split", "held-out", "--glyphs", self.glyphs)
        return folder


@dataclass(frozen=True)
class Run:
    """A finished run."""

    directory: Path
    summary: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The effective ones: precision, rect, …"""
        settings: dict[str, Any] = self.summary["settings"]
        return settings


class Project:
    """An empty folder of runs."""

    def __init__(self, name: str) -> None:
        self.folder = WORK / name
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, name: str, source: Path, weights: Path, *options: object) -> Run:
        """One `boxmill run`, in which every image must succeed."""
        place = ("--project", self.folder, "--name", name, "--no-image-json")
        summary = boxmill("run", source, "--weights", weights, *place, *options, "--json")
        if summary["processed"] != summary["total_images"]:
            raise SystemExit(f"boxmill run {name}: some images failed: {summary['failed']}")
        return Run(self.folder / summary["run"], summary)


def evaluations(commands: list[tuple[object, ...]]) -> list[dict[str, Any]]:
    """What `boxmill eval` says to each list of arguments, in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda arguments: boxmill("eval", *arguments, "--json"), commands))
