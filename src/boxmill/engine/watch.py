"""One worker under watch: what it reports, what it may, and why it ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from boxmill.engine.clock import TimeTable
from boxmill.engine.memory import default_memory_limit, resident
from boxmill.engine.process import WorkerProcess
from boxmill.engine.protocol import deliver
from boxmill.engine.worker import DEVICE_FAULT
from boxmill.errors import BoxmillError

__all__ = ["Limits", "Watch"]

_GRACE = 10.0  # seconds from a worker's bye to its exit, for libraries that hang while they are torn down
_LONGEST_STEP = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may take before it is killed."""

    image_timeout: float = 60.0  # seconds for one image, from reading it to its outcome
    start_timeout: float = 600.0  # seconds until the network is loaded
    memory: int = field(default_factory=default_memory_limit)  # bytes resident


class Watch:
    """Receives the reports of one worker (it is a `boxmill.engine.protocol.Reports`) and enforces its limits."""

    def __init__(
        self,
        process: WorkerProcess,
        suspects: Sequence[int],
        limits: Limits,
        on_ready: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.process = process
        self.suspects = frozenset(suspects)  # the worker takes these alone
        self.running: dict[int, float] = {}  # inputs under way and when they started, oldest first
        self.ended = self.failed = 0  # inputs with an outcome, durable or not; how many of those are failures
        self.durable = 0
        self.begun = False
        self.table: TimeTable | None = None
        self.gone: tuple[BoxmillError | None] | None = None  # what it said with its bye
        self.resident = self.peak_memory = 0  # bytes
        self.verdict: str | None = None  # why it was killed, if from here
        self._limits, self._on_ready = limits, on_ready
        self._now, self._seen = 0.0, monotonic()  # seconds of watching; when that was last moved on
        self._said_bye = 0.0

    def ready(self, facts: Mapping[str, Any]) -> None:
        """See Reports."""
        self.begun = True
        self._on_ready(facts)

    def start(self, index: int) -> None:
        """See Reports."""
        self.running[index] = self._now

    def end(self, index: int, failed: bool) -> None:
        """See Reports."""
        self.running.pop(index, None)
        self.ended += 1
        self.failed += failed

    def leave(self, index: int) -> None:
        """See Reports."""
        self.running.pop(index, None)

    def kept(self, count: int) -> None:
        """See Reports."""
        self.durable += count

    def times(self, table: TimeTable) -> None:
        """See Reports."""
        self.table = table

    def bye(self, error: BoxmillError | None) -> None:
        """See Reports."""
        self.gone, self._said_bye = (error,), self._now

    def step(self, seconds: float) -> bool:
        """Watches for up to `seconds`; returns whether the worker lives. A dead one's reports have all been heard."""
        self.process.wait(seconds)
        alive = self.process.returncode is None
        self._advance()
        self._listen()
        if alive and self.verdict is None:
            self._judge()
        return alive

    def kill(self, verdict: str) -> None:
        """Ends the worker for a reason."""
        self.verdict = verdict
        self.process.kill()

    @property
    def cause(self) -> str:
        """Why it died: timeout, memory, device, crashed. The kernel's out-of-memory killer is known by its SIGKILL."""
        if self.verdict is not None:
            return self.verdict
        if self.process.returncode == DEVICE_FAULT:
            return "device"
        killed = self.process.returncode == -signal.SIGKILL
        return "memory" if killed and 2 * self.resident > self._limits.memory else "crashed"

    def _advance(self) -> None:
        """Time during which the supervisor itself was stopped or starved is not held against the worker."""
        now = monotonic()
        self._now += min(now - self._seen, _LONGEST_STEP)
        self._seen = now

    def _listen(self) -> None:
        try:
            for line in self.process.lines():
                deliver(line, self)
        except ValueError:  # not a report: its memory is damaged, nothing it says can be believed
            self.kill("crashed")

    def _judge(self) -> None:
        if self.gone is not None:
            if self._now - self._said_bye > _GRACE:
                self.kill("timeout")
            return
        self.resident = resident(self.process.pid) or self.resident  # 0: it is dying right now
        self.peak_memory = max(self.peak_memory, self.resident)
        if self.resident > self._limits.memory:
            self.kill("memory")
        elif self.running:
            if self._now - next(iter(self.running.values())) > self._limits.image_timeout:
                self.kill("timeout")
        elif not self.begun and self._now > self._limits.start_timeout:
            self.kill("timeout")
