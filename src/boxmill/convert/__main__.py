"""`python -m boxmill.convert CHECKPOINT TARGET`: what `cached_network` starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from boxmill.convert.cache import keep
from boxmill.errors import BoxmillError


def main(arguments: Sequence[str]) -> int:
    """Converts; returns the exit code, after the reason on stderr."""
    weights, target = map(Path, arguments)
    try:
        keep(weights, target)
    except BoxmillError as error:
        sys.stderr.write(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
