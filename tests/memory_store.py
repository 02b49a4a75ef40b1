"""A store for tests of the loops: what ended, in memory."""

from __future__ import annotations

import threading

from boxmill.types import Outcome

__all__ = ["Memory"]


class Memory:
    """A store that remembers."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.lock = threading.Lock()

    def add(self, outcome: Outcome) -> None:
        with self.lock:
            assert outcome.key not in self.outcomes, "an input ended twice"
            self.outcomes[outcome.key] = outcome
