"""What is kept of a run: per-image JSON while it goes on, the summary at its end."""

from __future__ import annotations

from boxmill.store.documents import pretty
from boxmill.store.run_store import RunStore, create_run_directory

__all__ = ["RunStore", "create_run_directory", "pretty"]
