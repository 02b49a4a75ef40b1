"""One file of measured results, a section for each benchmark: bench/RESULTS.md.

write_section("nms", table)      # replaces what stands between <!-- nms:begin --> and <!-- nms:end -->
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

PATH = Path(__file__).with_name("RESULTS.md")
TITLE = """# Measured results

Each section is written by the script it names. Compare ratios within one table, never times across tables.
"""
PACKAGES = ("numpy", "opencv-python-headless", "openvino", "onnxruntime", "torch", "torchvision", "ultralytics")


def write_section(name: str, body: str) -> None:
    """Creates or replaces the section `name` of RESULTS.md; the other sections stay as they are."""
    text = PATH.read_text(encoding="utf-8") if PATH.exists() else TITLE
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    old = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = old.sub(lambda _: section, text) if old.search(text) else f"{text.rstrip()}\n\n{section}\n"
    PATH.write_text(text, encoding="utf-8")


def publish(name: str, body: str, write: bool) -> None:
    """Prints a section, and refreshes it in RESULTS.md where that is wanted."""
    print(body)
    if write:
        write_section(name, body)


def verdict_table(title: str, verdicts: Iterable[tuple[str, str, bool]]) -> Iterator[str]:
    """Markdown lines of (what, measured against wanted, met)."""
    yield f"| {title} | measured, wanted | |"
    yield "|---|---|---|"
    for what, figures, met in verdicts:
        yield f"| {what} | {figures} | {'met' if met else 'MISSED'} |"


def environment(packages: Iterable[str] = PACKAGES) -> str:
    """Markdown lines: processor, system, versions (of those `packages` that are installed), command and commit."""
    versions = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return "\n".join(
        [
            f"- Machine: {_processor()}, {platform.system()}",
            f"- Versions: {', '.join(versions)}",
            f"- Command: `python {' '.join([_relative(sys.argv[0]), *sys.argv[1:]])}` at commit {_commit()}",
        ]
    )


def _processor() -> str:
    fields: dict[str, list[str]] = {}
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), []).append(value.strip())
    if "model name" not in fields:
        return f"{platform.processor() or 'unknown processor'} ({platform.machine()})"
    name, family, model = (fields.get(key, ["?"])[0] for key in ("model name", "cpu family", "model"))
    return f"{name} (family {family}, model {model}), {len(fields['model name'])} cores, {platform.machine()}"


def _relative(script: str) -> str:
    return Path(script).resolve().relative_to(PATH.parent.parent).as_posix()


def _commit() -> str:
    command = ["git", "-C", str(PATH.parent), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
