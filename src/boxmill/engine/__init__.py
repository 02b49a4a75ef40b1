"""Works a job off: the loop, its batches, its clock."""

from __future__ import annotations

from boxmill.engine.clock import STAGES, WAITS, TimeTable
from boxmill.engine.pipeline import Job, Progress, Reporter, Run, Store

__all__ = ["STAGES", "WAITS", "Job", "Progress", "Reporter", "Run", "Store", "TimeTable"]
