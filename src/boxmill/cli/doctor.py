"""`boxmill doctor`: what is in a run, and whether it is as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from boxmill.errors import UsageError


def doctor(path: Path, /, *, verify: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Look into a run's folder.

    Examples:

        boxmill doctor runs/photos --verify

    Exit codes: 0 nothing is wrong, 6 something is damaged, 2 the folder is no run.

    Parameters
    ----------
    path
        The run's folder, such as runs/photos.
    verify
        Read everything: every frame and checksum of the journal, one record for each input, every JSON file.
    """
    from boxmill.store import MAX_JSON_FILES, JsonStyle, Manifest, load
    from boxmill.store import verify as check

    if not (path / "run.json").is_file():
        raise UsageError(f"{str(path)!r} is no run: it holds no run.json; expected a folder such as runs/photos")
    manifest = Manifest(path)
    states = load(path, manifest.total)
    done = states.finished()
    print(f"{path}: {done} of {manifest.total} images are done, {states.tally().failed} of them failed")
    if not verify:
        return 0
    header = json.loads((path / "run.json").read_bytes())
    asked, style = header.get("image_json"), JsonStyle(stems=header.get("json_names") == "stem")
    wanted = manifest.total <= MAX_JSON_FILES if asked is None else asked
    findings = check(path, json_files=wanted or (path / "json").is_dir(), style=style)
    for finding in findings:
        print(f"{finding.severity}: {finding.path}: {finding.message}")
    damaged = sum(finding.severity == "damage" for finding in findings)
    print(
        f"{damaged} damaged, {len(findings) - damaged} that the next resume mends" if findings else "nothing is wrong"
    )
    return 6 if damaged else 0
