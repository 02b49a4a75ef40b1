"""From pressing Enter to the first result on disk, and what importing costs.

python bench/startup.py [--rounds 5] [--write]        needs BOXMILL_ASSETS (YOLOX-nano and 128 photographs)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import environment, write_section

CARD = Path(__file__).parent.parent / "tests/cards/yolox_nano_416.yaml"
TARGET = 2.5  # seconds to the first result


def first_result(assets: Path) -> tuple[float, dict[str, float]]:
    """Seconds until the first JSON file stands there, and the run's own account of its start."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "boxmill", "run", str(assets / "photos/train128"), "--project", folder]
        command += ["-w", str(assets / "models/yolox_nano_416.onnx"), "--card", str(CARD), "--quiet"]
        results = Path(folder) / "train128/json"
        start = time.perf_counter()
        process = subprocess.Popen(command)
        while not (results.is_dir() and any(name.endswith(".json") for name in os.listdir(results))):
            if process.poll() not in (None, 0):
                sys.exit(f"boxmill failed with exit code {process.returncode}")
            time.sleep(0.002)
        seconds = time.perf_counter() - start
        process.wait()
        return seconds, json.loads((results.parent / "summary.json").read_bytes())["startup"]


def import_seconds(package: str) -> float:
    """Seconds that a fresh interpreter spends on importing `package` when it has numpy already."""
    code = f"import numpy, time; start = time.perf_counter()\nimport {package}\nprint(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def measure(rounds: int, assets: Path) -> list[str]:
    starts = [first_result(assets) for _ in range(rounds)]
    first = statistics.median(seconds for seconds, _ in starts)
    lines = [
        f"- Start to first result on disk, YOLOX-nano: {first:.2f} s (target {TARGET} s: "
        f"{'met' if first < TARGET else 'missed'}), median of {rounds}",
        *(f"  - {name}: {statistics.median(times[name] for _, times in starts):.2f} s" for name in starts[0][1]),
    ]
    for package in ("boxmill", "boxmill.post"):
        beyond = statistics.median(import_seconds(package) for _ in range(rounds))
        lines.append(f"- `import {package}` beyond numpy: {beyond * 1e3:.1f} ms (target 40 ms)")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="refresh the section of bench/RESULTS.md")
    options = parser.parse_args()
    if "BOXMILL_ASSETS" not in os.environ:
        sys.exit("needs real weights and photographs: set BOXMILL_ASSETS to their folder")
    body = "\n".join(measure(options.rounds, Path(os.environ["BOXMILL_ASSETS"])))
    print(body)
    if options.write:
        write_section("startup", f"## Start\n\n{body}\n\n{environment()}")


if __name__ == "__main__":
    main()
