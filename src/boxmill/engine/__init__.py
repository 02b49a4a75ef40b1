"""Works a job off: the loop, its batches, its clock."""

from __future__ import annotations

from boxmill.engine.clock import STAGES, WAITS, TimeTable
from boxmill.engine.memory import keep_freed_memory
from boxmill.engine.pipeline import Items, Job, Progress, Run, Store

__all__ = ["STAGES", "WAITS", "Items", "Job", "Progress", "Run", "Store", "TimeTable", "keep_freed_memory"]
