"""`python -m boxmill` is `boxmill`."""

from __future__ import annotations

from boxmill.cli import main

if __name__ == "__main__":
    main()
